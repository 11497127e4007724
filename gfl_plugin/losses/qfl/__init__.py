"""The dense half of QFL: every logit as a negative (y = 0), loss and gradient out of one pass.

.. math:: l = \\sigma^\\beta \\zeta(x), \\qquad
    \\frac{dl}{dx} = \\sigma^\\beta \\left(\\sigma + \\beta\\,\\zeta(x)\\,(1 - \\sigma)\\right),
    \\qquad \\zeta(x) = \\log(1 + e^x)

One such pass a file: :mod:`numba_cpu` and :mod:`triton_gpu` do it in one sweep over memory, where those packages are
installed; :mod:`eager` in PyTorch's own operations, anywhere. Tests hold each against the formula.
"""

from .negatives import Negatives, negatives

__all__ = ["Negatives", "negatives"]
