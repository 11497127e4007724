"""QFL with a warm-up of its exponent is, in each training step, QFL with that step's exponent."""

from __future__ import annotations

import importlib.util

import pytest
import torch
import torch._dynamo
from losses.test_quality_focal_loss import labels_and_scores, random_positives

from gfl_plugin.losses import QualityFocalLoss
from gfl_plugin.ops.backend import use_backend
from gfl_plugin.structures.class_targets import ClassTargets
from gfl_plugin.structures.ramp import at_training_step

ONE = torch.tensor(1.0)
BACKENDS = ["torch", *(["numba"] if importlib.util.find_spec("numba") else [])]


def results(loss: QualityFocalLoss, backend: str) -> list[torch.Tensor]:
    """Values and gradients of both forms of the loss on the same random input."""
    torch.manual_seed(1)
    logits = [(3 * torch.randn(2, 5, *size) - 3).requires_grad_() for size in ((9, 11), (4, 6))]
    positives, label = random_positives(2, 5, [(9, 11), (4, 6)], 7)
    with use_backend(backend):
        sums = loss.sparse(logits, ClassTargets(positives, label, torch.rand(len(label)), ONE))
        sums.sum().backward()
    rows = (3 * torch.randn(40, 5)).requires_grad_()
    mean = loss(rows, labels_and_scores(40, 5))
    mean.backward()
    return [sums.detach(), *(level.grad for level in logits), mean.detach(), rows.grad]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("beta", "first"), [(2.0, 0.0), (2.0, 1.0), (1.5, 3.0)])
def test_each_step_has_its_exponent(beta: float, first: float, backend: str) -> None:
    warm = QualityFocalLoss(beta=beta, warmup=8, first_beta=first)
    for step in (0, 1, 5, 7, 8, 1000):
        plain = QualityFocalLoss(beta=first + (beta - first) * min(step / 8, 1.0))
        with at_training_step(step):
            found = results(warm, backend)
        assert all(torch.equal(one, other) for one, other in zip(found, results(plain, backend)))


def test_outside_of_a_training_it_is_plain_qfl() -> None:
    warm, plain = QualityFocalLoss(warmup=10**6), QualityFocalLoss()
    assert all(torch.equal(one, other) for one, other in zip(results(warm, "torch"), results(plain, "torch")))


@pytest.mark.skipif("numba" not in BACKENDS, reason="numba is not installed")
def test_numba_compiles_one_kernel_for_all_exponents_but_2() -> None:
    """Exponent 2, at the end of a usual warm-up, has a kernel of its own."""
    from gfl_plugin.losses.qfl import numba_cpu

    def compiled() -> int:
        return sum(len(form.signatures) for form in numba_cpu._planes.forms)

    warm = QualityFocalLoss(warmup=8)
    counts = []
    for step in (0, 8, 1, 2, 3, 5, 7, 9):
        with at_training_step(step):
            results(warm, "numba")
        counts.append(compiled())
    assert counts[0] > 0 and counts[2:] == counts[1:2] * 6


def test_torch_compile_compiles_nothing_in_later_steps() -> None:
    """As in heads of MMDetection, whose losses are compiled with the layers."""
    warm, layer = QualityFocalLoss(warmup=12), torch.nn.Linear(5, 5)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    features, target = 3 * torch.randn(40, 5), labels_and_scores(40, 5)

    def model(features: torch.Tensor) -> torch.Tensor:
        return warm(layer(features).sin(), target)

    compiled = torch.compile(model, backend="eager")
    counts = []
    for step in range(13):
        with at_training_step(step):
            assert torch.allclose(compiled(features), model(features), rtol=1e-6)
        counts.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert counts[1] > 0 and counts[1:] == counts[1:2] * 12


def test_wrong_settings() -> None:
    with pytest.raises(ValueError, match="warmup is -3; it must be a whole number >= 0"):
        QualityFocalLoss(warmup=-3)
    with pytest.raises(ValueError, match="first_beta is -1.0; it must be a finite number >= 0"):
        QualityFocalLoss(warmup=3, first_beta=-1.0)
