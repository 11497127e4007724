"""LD equals its formula, MMDetection's loss and, in its gradient, finite differences; it rejects invalid input."""

from __future__ import annotations

import math

import pytest
import torch
from cases import record
from hypothesis import given
from hypothesis import strategies as st
from mmdet.models.losses import KnowledgeDistillationKLDivLoss as MMDetLoss
from torch import Tensor

from gfl_plugin.losses import LocalizationDistillationLoss, localization_distillation_loss


def formula(student: list[float], teacher: list[float], temperature: float) -> float:
    """The loss of one row, term by term, in fp64."""
    q, p = ([math.exp(z / temperature) for z in logits] for logits in (student, teacher))
    q, p = ([value / sum(values) for value in values] for values in (q, p))
    return temperature**2 * sum(b * math.log(b / a) for a, b in zip(q, p)) / len(p)


def logits(seed: int, n: int, distance: float, rows: int = 40) -> tuple[Tensor, Tensor]:
    """Logits of a student and a teacher that differ by about ``distance``."""
    random = torch.Generator().manual_seed(seed)
    teacher = 3 * torch.randn(rows, n + 1, generator=random)
    return teacher + distance * torch.randn(rows, n + 1, generator=random), teacher


CASES = given(
    st.integers(0, 2**31), st.sampled_from([1, 8, 16]), st.sampled_from([0.01, 1.0, 10.0]),
    st.sampled_from([1.0, 2.0, 10.0]),
)  # fmt: skip


@CASES
def test_formula(seed: int, n: int, distance: float, temperature: float) -> None:
    student, teacher = logits(seed, n, distance)
    expected = [formula(a, b, temperature) for a, b in zip(student.tolist(), teacher.tolist())]
    found = localization_distillation_loss(student, teacher, temperature)
    # Python's sum cancels in fp64, too: its error is up to 1e-15 of the terms, which are up to 1.
    assert found.tolist() == pytest.approx(expected, rel=1e-6, abs=1e-14 * temperature**2)


@CASES
def test_gradient_equals_finite_differences(seed: int, n: int, distance: float, temperature: float) -> None:
    student, teacher = logits(seed, n, distance, rows=3)
    student.requires_grad_()
    localization_distillation_loss(student, teacher, temperature).sum().backward()
    largest, step = float(student.grad.abs().max()), 1e-4 * temperature
    for row, (own, other) in enumerate(zip(student.tolist(), teacher.tolist())):
        for i in range(n + 1):
            above, below = ([*own[:i], own[i] + sign * step, *own[i + 1 :]] for sign in (1, -1))
            slope = (formula(above, other, temperature) - formula(below, other, temperature)) / (2 * step)
            # The differences' own error: rounding of about 1e-16 / step, and step² of the third derivative.
            assert float(student.grad[row, i]) == pytest.approx(slope, abs=1e-6 * largest + 1e-8)


def gradient_of(loss: torch.nn.Module, student: Tensor, teacher: Tensor, **arguments) -> tuple[Tensor, Tensor]:
    student = student.clone().requires_grad_()
    value = loss(student, teacher, **arguments)
    value.sum().backward()
    return value.detach().double(), student.grad.double()


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("temperature", [1, 2, 10])
@pytest.mark.parametrize("distance", [0.1, 1.0, 10.0])
def test_equal_to_mmdetection(reduction: str, temperature: int, distance: float) -> None:
    """Equal to MMDetection's loss in fp64, and to it in fp32 up to its rounding error."""
    student, teacher = logits(0, 16, distance)
    arguments = dict(weight=torch.rand(40), avg_factor=4.0 if reduction == "mean" else None)
    settings = dict(reduction=reduction, loss_weight=0.25, T=temperature)
    double = {**arguments, "weight": arguments["weight"].double()}
    exact = gradient_of(MMDetLoss(**settings), student.double(), teacher.double(), **double)
    stock = gradient_of(MMDetLoss(**settings), student, teacher, **arguments)
    found = gradient_of(LocalizationDistillationLoss(**settings), student, teacher, **arguments)
    for name, one, as_it_is, ours in zip(("losses", "gradients, of the largest"), exact, stock, found):
        assert record(f"LD module, its loss in fp64: {name}", relative(ours, one)) <= 1e-6
        assert relative(ours, as_it_is) <= 1e-6 + 1.1 * relative(as_it_is, one)


@given(st.integers(0, 2**31), st.sampled_from([0.5, 10.0]))
def test_it_is_a_divergence(seed: int, temperature: float) -> None:
    """Positive, 0 for equal distributions, and the same if a constant is added to all logits of a row."""
    student, teacher = logits(seed, 16, 1.0)
    loss = localization_distillation_loss(student, teacher, temperature)
    assert (loss > 0).all()
    assert torch.equal(localization_distillation_loss(teacher, teacher, temperature), torch.zeros(40))
    shifted = localization_distillation_loss(student.double() + 5, teacher.double() - 7, temperature)
    assert torch.allclose(shifted, loss, rtol=1e-6, atol=0)


def test_the_teacher_gets_no_gradient() -> None:
    student, teacher = (values.requires_grad_() for values in logits(0, 8, 1.0))
    localization_distillation_loss(student, teacher, 10).sum().backward()
    assert teacher.grad is None and student.grad.abs().max() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extreme_logits_give_finite_losses_and_gradients(dtype: torch.dtype) -> None:
    largest = torch.finfo(torch.float16).max
    student = torch.tensor([[60.0, -60.0, 0.0], [largest, 0.0, -60.0]]).to(dtype).requires_grad_()
    loss = localization_distillation_loss(student, student.detach().flip(1), 1.0)
    loss.sum().backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite().all() and student.grad.isfinite().all() and student.grad.dtype == dtype


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(4), torch.zeros(4), 10), r"pred has shape \(4,\).*both must be \(N, n \+ 1\)"),
        ((torch.zeros(4, 1), torch.zeros(4, 1), 10), "n >= 1"),
        ((torch.zeros(4, 9), torch.zeros(4, 17), 10), r"pred has shape \(4, 9\) and soft_label \(4, 17\)"),
        ((torch.zeros(4, 9), torch.zeros(4, 9), 0), "T is 0; the temperature must be a number > 0"),
        ((torch.zeros(4, 9), torch.zeros(4, 9), float("nan")), "T is nan"),
        ((torch.zeros(4, 9), torch.zeros(4, 9), float("inf")), "T is inf"),
    ],
)
def test_wrong_input(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        localization_distillation_loss(*arguments)


def test_wrong_settings() -> None:
    with pytest.raises(ValueError, match="T is -1"):
        LocalizationDistillationLoss(T=-1)
    with pytest.raises(ValueError, match="reduction is 'avg'; it must be one of 'none', 'mean', 'sum'"):
        LocalizationDistillationLoss(reduction="avg")
