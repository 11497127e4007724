"""Pure tensor functions without MMDetection: box geometry, NMS, buffers, and which kernel runs."""
