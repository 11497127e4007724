"""The joint logit equals the logit of the product of two sigmoids, and so do its gradients."""

import pytest
import torch

from gfl_plugin.ops.joint_logit import joint_logit

EXTREME = torch.tensor([-1e4, -88.0, -60.0, -1.0, 0.0, 1.0, 17.0, 60.0, 88.0, 1e4])


def _maps(shape=(2, 3, 4, 5), scale=4.0):
    images, _, height, width = shape
    return scale * torch.randn(shape), scale * torch.randn(images, 1, height, width)


def _all_pairs():
    """Every extreme class logit with every extreme quality logit, as maps (1, 10, 1, 10) and (1, 1, 1, 10)."""
    size = len(EXTREME)
    return EXTREME.view(1, size, 1, 1).expand(1, size, 1, size), EXTREME.view(1, 1, 1, size)


def _slopes(a, b):
    """The slopes in fp64, with 1 - p = σ(-a) + σ(a)·σ(-b), which loses nothing where p is near 1."""
    a, b = a.double(), b.double()
    rest = (-a).sigmoid() + a.sigmoid() * (-b).sigmoid()
    return (-a).sigmoid() / rest, (-b).sigmoid() / rest


def test_equals_the_logit_of_the_product():
    a, b = _maps()
    expected = (a.double().sigmoid() * b.double().sigmoid()).logit()
    torch.testing.assert_close(joint_logit(a, b), expected.float())


def test_sigmoid_of_the_result_is_the_product_at_extreme_logits():
    a, b = _all_pairs()
    joint = joint_logit(a, b)
    assert joint.isfinite().all()
    torch.testing.assert_close(joint.sigmoid(), (a.double().sigmoid() * b.double().sigmoid()).float())


def test_gradients_equal_the_formulas():
    a, b = (value.requires_grad_() for value in _maps())
    weight = torch.randn(a.shape)
    (joint_logit(a, b) * weight).sum().backward()
    slope_a, slope_b = _slopes(a.detach(), b.detach())
    torch.testing.assert_close(a.grad, (slope_a * weight).float())
    torch.testing.assert_close(b.grad, (slope_b * weight).sum(dim=1, keepdim=True).float())


def test_gradients_are_exact_at_extreme_logits():
    a, b = (value.clone().requires_grad_() for value in _all_pairs())
    joint = joint_logit(a, b)
    slope_a, slope_b = torch.autograd.grad(joint.sum(), (a, b))
    pair_a, pair_b = _all_pairs()
    rest = pair_a.double() + pair_b.double()
    expected = torch.softmax(torch.stack([-pair_a.double(), (-pair_b.double()).expand(pair_a.shape), -rest]), dim=0)
    torch.testing.assert_close(slope_a, (expected[0] + expected[2]).float())
    torch.testing.assert_close(slope_b, (expected[1] + expected[2]).sum(dim=1, keepdim=True).float())


def test_passes_a_finite_difference_check():
    a, b = (value.double().requires_grad_() for value in _maps((2, 3, 2, 2), 2.0))
    assert torch.autograd.gradcheck(joint_logit, (a, b))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_fp32(dtype):
    a, b = (value.to(dtype) for value in _maps())
    joint = joint_logit(a, b)
    assert joint.dtype == torch.float32
    torch.testing.assert_close(joint, joint_logit(a.float(), b.float()), rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 1, 5, 4), (2, 1, 4, 4), (2, 4, 5)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"it must be \(2, 1, 4, 5\), one quality per location"):
        joint_logit(torch.zeros(2, 3, 4, 5), torch.zeros(shape))
