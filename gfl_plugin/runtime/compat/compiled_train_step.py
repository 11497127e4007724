"""Training steps under torch.compile.

Problem: with ``compile=True`` MMEngine compiles the whole training step, including data preprocessor and optimizer. The
    first depends on image metadata, such as image ids, the second on the learning rate: both are recompiled in almost
    every step until torch.compile gives up, after minutes. Neither becomes faster by compilation.
Versions: MMEngine <= 0.10.7, MMDetection 3.3.0.
Change: both are excluded from compilation. Backbone, neck and head are compiled, forward and backward.
Not needed when: MMEngine excludes them.
"""

from __future__ import annotations

import torch


def close() -> str:
    """Exclude data preprocessor and optimizer step from compilation.

    Returns:
        What was changed; "" before PyTorch 2.1.
    """
    if not hasattr(torch, "compiler"):  # before PyTorch 2.1
        return ""
    from mmdet.models.data_preprocessors import DetDataPreprocessor
    from mmengine.optim import OptimWrapper

    DetDataPreprocessor.forward = torch._disable_dynamo(DetDataPreprocessor.forward)
    OptimWrapper.update_params = torch._disable_dynamo(OptimWrapper.update_params)
    return "data preprocessor and optimizer are excluded from torch.compile"
