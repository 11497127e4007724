"""Tensor functions that do not need MMDetection: box geometry, NMS, buffer pool, choice of kernels."""
