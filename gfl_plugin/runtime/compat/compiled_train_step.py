"""With ``compile=True`` MMEngine compiles a whole training step, data preprocessor and optimizer among it.

The first depends on each image's metadata, such as its number, the second on the learning rate: both are compiled again
in almost every step until torch.compile gives up on them, after minutes. Neither has anything to gain, and both stay
out of the graph here. Backbone, neck and head are compiled, forward and backward.

Versions: MMEngine <= 0.10.7, MMDetection 3.3.0. Can go when they leave them out.
"""

from __future__ import annotations

import torch


def close() -> str:
    """Keep the data preprocessor and the optimizer's step out of what is compiled."""
    if not hasattr(torch, "compiler"):  # before PyTorch 2.1
        return ""
    from mmdet.models.data_preprocessors import DetDataPreprocessor
    from mmengine.optim import OptimWrapper

    DetDataPreprocessor.forward = torch.compiler.disable(DetDataPreprocessor.forward)
    OptimWrapper.update_params = torch.compiler.disable(OptimWrapper.update_params)
    return "data preprocessor and optimizer stay out of compiled graphs"
