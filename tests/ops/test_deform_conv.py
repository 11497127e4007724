"""Deformable convolution in PyTorch's operations."""

from __future__ import annotations

import sys

import pytest
import torch
import torch.nn.functional as F

from gfl_plugin.ops.deform_conv import deform_conv2d

COMPILED = getattr(sys.modules["mmcv._ext"], "__file__", None) is not None
CASES = {
    "3x3": dict(kernel=(3, 3), stride=1, padding=1, dilation=1, groups=1, deform_groups=1),
    "1x1 with offsets per channel": dict(kernel=(1, 1), stride=1, padding=0, dilation=1, groups=4, deform_groups=4),
    "unequal sides": dict(kernel=(3, 1), stride=(2, 1), padding=(1, 2), dilation=(2, 1), groups=2, deform_groups=2),
}


def tensors(case: dict, scale: float = 2.0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    kernel, groups = case["kernel"], case["groups"]
    features = torch.randn(2, 8, 9, 11, generator=generator)
    weight = torch.randn(4, 8 // groups, *kernel, generator=generator)
    sizes = {name: case[name] for name in ("stride", "padding", "dilation")}
    rows, columns = F.conv2d(features[:, : 8 // groups], weight, **sizes).shape[-2:]
    offsets = case["deform_groups"] * kernel[0] * kernel[1] * 2
    offset = scale * torch.randn(2, offsets, rows, columns, generator=generator)
    return [one.requires_grad_() for one in (features, offset, weight)]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_without_offsets_it_is_a_convolution(case: dict) -> None:
    features, offset, weight = tensors(case, scale=0.0)
    settings = {name: case[name] for name in ("stride", "padding", "dilation", "groups")}
    found = deform_conv2d(features, offset, weight, **settings, deform_groups=case["deform_groups"])
    torch.testing.assert_close(found, F.conv2d(features, weight, **settings))


@pytest.mark.skipif(not COMPILED, reason="mmcv has no compiled ops here")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_values_and_gradients_are_those_of_mmcv(case: dict) -> None:
    from mmcv.ops import deform_conv2d as reference

    settings = {name: case[name] for name in ("stride", "padding", "dilation", "groups", "deform_groups")}
    results = []
    for function in (reference, deform_conv2d):
        inputs = tensors(case)
        output = function(*inputs, *settings.values())
        incoming = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
        results.append([output, *torch.autograd.grad(output, inputs, incoming)])
    for theirs, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=2e-5)


def test_it_runs_in_bf16_autocast() -> None:
    features, offset, weight = tensors(CASES["3x3"])
    exact = deform_conv2d(features, offset, weight, padding=1)
    with torch.autocast("cpu", torch.bfloat16):
        found = deform_conv2d(features.bfloat16(), offset, weight, padding=1)
    assert found.dtype == torch.bfloat16
    assert (found.float() - exact).abs().max() < 0.02 * exact.abs().max()
    found.float().sum().backward()
    assert all(one.grad.isfinite().all() for one in (features, offset, weight))
