"""The program that runs an exported file without PyTorch. It is copied into the folder of each export."""
