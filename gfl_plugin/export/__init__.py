"""Models as ONNX files: export, comparison with PyTorch, and a runner that needs neither PyTorch nor MMDetection."""
