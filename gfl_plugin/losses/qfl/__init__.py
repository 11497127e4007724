r"""The dense part of QFL: every logit as a negative (y = 0), loss and gradient from one pass over the logits.

.. math:: l = \sigma^\beta \zeta(x), \qquad
    \frac{dl}{dx} = \sigma^\beta \left(\sigma + \beta\,\zeta(x)\,(1 - \sigma)\right),
    \qquad \zeta(x) = \log(1 + e^x)

:mod:`negatives` has the inputs and outputs of the pass, :mod:`eager`, :mod:`numba_cpu` and :mod:`triton_gpu` one kernel
each, and :mod:`dense_pass` the function that chooses a kernel.
"""

from .dense_pass import sweep_negatives
from .negatives import Negatives

__all__ = ["Negatives", "sweep_negatives"]
