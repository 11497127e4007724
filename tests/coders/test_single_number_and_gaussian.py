"""Coders and losses of box sides as Dirac deltas and as Gaussians."""

from __future__ import annotations

import pytest
import torch
from cases import build_head, head_config, our_head

from gfl_plugin.coders import DiracBBoxCoder, GaussianBBoxCoder, IntegralBBoxCoder
from gfl_plugin.losses import GaussianNLLLoss, gaussian_nll_loss


def test_dirac_decodes_the_exponential_and_inverts_encode() -> None:
    coder, points = DiracBBoxCoder(), torch.tensor([[40.0, 60.0], [8.0, 8.0]])
    boxes = torch.tensor([[10.0, 20.0, 90.0, 110.0], [3.0, 1.0, 30.0, 21.0]])
    raw = coder.encode(points, boxes, stride=8.0).log()
    assert torch.allclose(coder.decode(points, raw, stride=8.0), boxes, atol=1e-4)


def test_gaussian_gives_its_mean_and_standard_deviation() -> None:
    coder, points = GaussianBBoxCoder(), torch.zeros(1, 2)
    distance, deviation = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([0.5, 1.0, 2.0, 4.0])
    raw = torch.stack([distance.log(), 2 * deviation.log()], dim=1).view(1, 8)
    assert torch.allclose(coder.decode(points, raw), torch.tensor([[-1.0, -2.0, 3.0, 4.0]]))
    assert torch.allclose(coder.std(raw), deviation)
    assert torch.allclose(coder.sides(raw), torch.stack([distance, 2 * deviation.log()], dim=1))


@pytest.mark.parametrize("raw", [1e4, -1e4])
@pytest.mark.parametrize("coder", [DiracBBoxCoder(), GaussianBBoxCoder()])
def test_extreme_numbers_stay_finite(coder: DiracBBoxCoder, raw: float) -> None:
    numbers = torch.full((1, coder.encode_size), raw, requires_grad=True)
    coder.decode(torch.zeros(1, 2), numbers).sum().backward()
    assert torch.isfinite(numbers.grad).all()


def test_wrong_width() -> None:
    with pytest.raises(ValueError, match="is 8; DiracBBoxCoder needs 4"):
        DiracBBoxCoder().decode(torch.zeros(1, 2), torch.zeros(1, 8))
    with pytest.raises(ValueError, match="is 4; GaussianBBoxCoder needs 8"):
        GaussianBBoxCoder().decode(torch.zeros(1, 2), torch.zeros(1, 4))


def test_gaussian_loss_near_the_mean_is_the_negative_log_likelihood() -> None:
    mean, target = torch.randn(50), torch.rand(50)
    target = mean + target * 0.99  # within 1, where the loss is quadratic
    log_variance = torch.randn(50)
    expected = torch.nn.functional.gaussian_nll_loss(mean, target, log_variance.exp(), reduction="none")
    found = gaussian_nll_loss(torch.stack([mean, log_variance], dim=1), target)
    assert torch.allclose(found, expected, atol=1e-5)


def test_gaussian_loss_far_from_the_mean_is_linear() -> None:
    """It is e^-α (|d| - 1/2) + α/2, Eq. 10 of the paper."""
    pred = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    found = gaussian_nll_loss(pred, torch.tensor([5.0, 9.0]))
    assert torch.allclose(found, torch.exp(torch.tensor(-1.0)) * torch.tensor([4.5, 8.5]) + 0.5)


def test_shapes_and_reduction() -> None:
    with pytest.raises(ValueError, match=r"\(N, 2\)"):
        gaussian_nll_loss(torch.zeros(3, 3), torch.zeros(3))
    pred, target = torch.randn(6, 2), torch.rand(6)
    rows = gaussian_nll_loss(pred, target)
    assert torch.allclose(GaussianNLLLoss(loss_weight=0.5)(pred, target), rows.mean() / 2)


def test_the_best_variance_of_the_gaussian_loss_is_the_squared_error() -> None:
    """The loss at a distance d < 1 is minimal for σ² = d²."""
    log_variance = torch.zeros(1, 1, requires_grad=True)
    optimizer = torch.optim.SGD([log_variance], lr=0.5)
    for _ in range(300):
        optimizer.zero_grad()
        gaussian_nll_loss(torch.cat([torch.zeros(1, 1), log_variance], dim=1), torch.tensor([0.4])).sum().backward()
        optimizer.step()
    assert abs(float(log_variance.exp()) - 0.16) < 1e-3


def test_a_single_number_has_no_standard_deviation() -> None:
    """A Dirac delta has zero width on each side, in fp32 whatever the dtype, and other widths are refused."""
    coder = DiracBBoxCoder()
    deviation = coder.std(torch.randn(2, 5, 4, dtype=torch.bfloat16))
    assert torch.equal(deviation, torch.zeros(2, 5, 4))
    with pytest.raises(ValueError, match="last dimension of the box prediction is 8; DiracBBoxCoder needs 4"):
        coder.std(torch.zeros(3, 8))


def test_standard_deviations_end_where_the_loss_does() -> None:
    raw = torch.tensor([[0.0, 200.0, 0.0, -200.0, 0.0, 10.0, 0.0, -10.0]])
    expected = torch.tensor([[5.0, -5.0, 5.0, -5.0]]).exp()
    assert torch.allclose(GaussianBBoxCoder().std(raw), expected)


@pytest.mark.parametrize("kind", ["DiracBBoxCoder", "GaussianBBoxCoder"])
def test_boxes_start_as_large_as_priors(kind: str) -> None:
    """From a side of two strides, QFL learns the low IoUs as scores, which are the weights of the box losses."""
    head = our_head(bbox_coder=dict(type=kind), reg_max=None, loss_dfl="by_coder")
    torch.manual_seed(0)
    head.init_weights()
    numbers = head([torch.zeros(1, 8, 4, 4)] * 3)[1]
    for level in numbers:
        distance = head.bbox_coder.distances(level.permute(0, 2, 3, 1))
        assert torch.allclose(distance, torch.full_like(distance, 4.0), rtol=0.01)


def test_the_initialization_of_the_config_is_kept() -> None:
    given = dict(type="Normal", layer="Conv2d", std=0.01, bias=0.25)
    head = our_head(bbox_coder=dict(type="DiracBBoxCoder"), reg_max=None, loss_dfl="by_coder", init_cfg=given)
    head.init_weights()
    assert head.gfl_reg.bias.unique().tolist() == [0.25]


def test_distributions_start_as_mmdetections() -> None:
    assert IntegralBBoxCoder().initial_bias() is None
    assert our_head().init_cfg == build_head(head_config()).init_cfg
