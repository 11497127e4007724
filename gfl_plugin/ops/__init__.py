"""Tensor functions that do not need MMDetection: box geometry, NMS, memory pool, choice of kernels."""
