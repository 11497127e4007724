"""The pass over negatives on a GPU: a Triton kernel per level reads each logit once and writes its gradient."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .negatives import Negatives, Result

_BLOCK = 2048  # elements per program


@triton.jit
def _kernel(
    logits,
    gradient,
    weight,
    scale,
    sums,
    size,
    plane,  # locations per image
    volume,  # classes times locations
    beta,
    WANTED: tl.constexpr,
    WEIGHTED: tl.constexpr,
    SQUARED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    program = tl.program_id(0)
    index = program.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = index < size
    x = tl.load(logits + index, mask=inside, other=0.0).to(tl.float32)
    odds = tl.exp(-tl.abs(x))
    sum_ = 1.0 + odds
    far = 1.0 / sum_
    near = odds * far
    # log(1 + odds), corrected for the rounding of 1 + odds, so that small odds keep their digits.
    rounded = sum_ - 1.0
    log = tl.where(rounded == 0.0, odds, tl.log(sum_) * (odds / tl.where(rounded == 0.0, 1.0, rounded)))
    positive = x > 0.0
    sigma = tl.where(positive, far, near)
    rest = tl.where(positive, near, far)  # 1 - sigma
    soft = log + tl.where(positive, x, 0.0)
    if SQUARED:  # noqa: SIM108  (a compile-time constant)
        power = sigma * sigma
    else:
        power = tl.exp(beta * (tl.where(positive, 0.0, x) - log))
    loss = power * soft
    # Clamped to avoid overflow; soft * rest is already 0 at this bound.
    slope = power * (sigma + beta * tl.where(soft > 87.0, 87.0, soft) * rest)
    if WEIGHTED:
        factors = tl.load(weight + (index // volume) * plane + index % plane, mask=inside, other=0.0)
        loss = loss * factors
        slope = slope * factors
    tl.store(sums + program, tl.sum(tl.where(inside, loss, 0.0), axis=0))
    if WANTED:
        tl.store(gradient + index, (slope * tl.load(scale)).to(gradient.dtype.element_ty), mask=inside)


def sweep(work: Negatives) -> Result:
    """Loss and gradient of all logits as negatives, computed in fp32.

    Args:
        work: logits of any float dtype on a GPU with their weights, and the gradients to compute.

    Returns:
        Sums and gradients; see :data:`negatives.Result`.
    """
    sums, gradients = [], []
    for index, level in enumerate(work.logits):
        size, wanted = level.numel(), work.wanted[index]
        flat = torch.empty(size + 1, dtype=work.gradient_dtype, device=level.device) if wanted else None
        programs = triton.cdiv(size, _BLOCK)
        partial = torch.zeros(programs, dtype=torch.float32, device=level.device)
        if size:
            _, classes, height, width = level.shape
            _kernel[(programs,)](
                level,
                level if flat is None else flat,  # not used, but a pointer is needed
                level if work.weights is None else work.weights[index],
                work.scale,
                partial,
                size,
                height * width,
                classes * height * width,
                work.beta,
                WANTED=wanted,
                WEIGHTED=work.weights is not None,
                SQUARED=work.beta == 2.0,
                BLOCK=_BLOCK,
            )
        sums.append(partial.sum(dtype=torch.float64))
        gradients.append(flat)
    return work.scale * torch.stack(sums).float(), gradients
