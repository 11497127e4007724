"""Quality logits and their gradients equal those of softmax, sorting and two matrix products in fp64."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gfl_plugin.ops.backend import use_backend
from gfl_plugin.ops.distribution_quality import QualityLayers, Statistics, distribution_quality, eager, operation

BACKENDS = ["torch"] + ["numba"] * bool(importlib.util.find_spec("numba"))


def drawn_layers(statistics: Statistics, hidden: int) -> QualityLayers:
    inputs = 4 * statistics.size
    return QualityLayers(
        torch.randn(hidden, inputs, 1, 1), torch.randn(hidden), torch.randn(1, hidden, 1, 1), torch.randn(1)
    )


def parameters(layers: QualityLayers) -> list[Tensor]:
    return [layers.weight, layers.bias, layers.out_weight, layers.out_bias]


def gradients(logits: Tensor, layers: QualityLayers, statistics: Statistics, incoming: Tensor) -> list[Tensor]:
    """Quality logits, and the gradients of box logits and parameters."""
    inputs = [value.detach().requires_grad_() for value in (logits, *parameters(layers))]
    quality = distribution_quality(inputs[0], QualityLayers(*inputs[1:]), statistics)
    return [quality.detach(), *torch.autograd.grad(quality, inputs, incoming.to(quality.dtype))]


def exact(logits: Tensor, layers: QualityLayers, statistics: Statistics, incoming: Tensor) -> list[Tensor]:
    """As :func:`gradients`, in fp64 by sorting; the pre-activations of the hidden layer, too."""
    inputs = [value.detach().double().requires_grad_() for value in (logits, *parameters(layers))]
    box, weight, bias, out_weight, out_bias = inputs
    images, channels, height, width = box.shape
    sides = box.reshape(images, 4, channels // 4, height, width)
    largest = sides.softmax(dim=2).sort(dim=2, descending=True).values[:, :, : statistics.topk]
    numbers = [largest] if statistics.values else []
    if statistics.mean:
        numbers.append(largest.mean(dim=2, keepdim=True))
    if statistics.variance:
        numbers.append(largest.var(dim=2, unbiased=False, keepdim=True))
    told = torch.cat(numbers, dim=2).flatten(1, 2)
    before = torch.einsum("hd,bdyx->bhyx", weight[:, :, 0, 0], told) + bias[:, None, None]
    quality = (before.relu() * out_weight[0]).sum(dim=1, keepdim=True) + out_bias
    return [quality.detach(), *torch.autograd.grad(quality, inputs, incoming.double()), before.detach()]


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    bins=st.integers(2, 20),
    topk=st.integers(1, 9),
    choice=st.sampled_from([(1, 1, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1), (0, 1, 1)]),
    hidden=st.integers(1, 70),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 30), st.integers(1, 40)),
    scale=st.sampled_from([0.1, 1.0, 10.0]),
)
def test_equal_to_sorting_in_double_precision(
    backend: str,
    seed: int,
    bins: int,
    topk: int,
    choice: tuple[int, int, int],
    hidden: int,
    shape: tuple[int, int, int],
    scale: float,
) -> None:
    torch.manual_seed(seed)
    statistics = Statistics(min(topk, bins), *map(bool, choice))
    layers = drawn_layers(statistics, hidden)
    logits = scale * torch.randn(shape[0], 4 * bins, *shape[1:])
    incoming = torch.randn(shape[0], 1, *shape[1:])
    *expected, before = exact(logits, layers, statistics, incoming)
    # Where an input of the ReLU is 0 up to rounding, its slope may be 0 or 1.
    incoming = incoming * (before.abs().amin(dim=1, keepdim=True) > 1e-4)
    *expected, _ = exact(logits, layers, statistics, incoming)
    with use_backend(backend):
        found = gradients(logits, layers, statistics, incoming)
    for one, other in zip(found, expected):
        # Terms of order 1 for each hidden channel may cancel: the mean of all probabilities is constant, for example.
        assert float((one - other).abs().max()) <= 5e-6 * float(other.abs().max()) + 1e-6 * hidden


@pytest.mark.parametrize("backend", BACKENDS)
def test_equal_logits_take_one_rank_each(backend: str) -> None:
    """Of equal logits any may have a rank, but each rank is taken once, so that the sorted gradients are the same."""
    statistics = Statistics(3, values=True, mean=False)
    layers = drawn_layers(statistics, 8)
    logits = torch.tensor([2.0, 1.0, 2.0, 1.0, 1.0, -3.0]).repeat(4).view(1, 24, 1, 1).expand(1, 24, 5, 7)
    logits = logits * (1 + torch.rand(1, 1, 5, 7))
    incoming = torch.randn(1, 1, 5, 7)
    with use_backend(backend):
        quality, found, *_ = gradients(logits, layers, statistics, incoming)
    expected_quality, expected, *_ = exact(logits, layers, statistics, incoming)
    torch.testing.assert_close(quality, expected_quality.float())
    for group in ([0, 2], [1, 3, 4], [5]):
        own, other = (value.view(4, 6, 35)[:, group].sort(dim=1).values.float() for value in (found, expected))
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scale", [60.0, 1e4])
def test_large_logits_have_finite_gradients(backend: str, scale: float) -> None:
    statistics = Statistics(4)
    layers = drawn_layers(statistics, 64)
    logits = scale * (2 * torch.randint(0, 2, (2, 68, 9, 11)) - 1 + 0.1 * torch.rand(2, 68, 9, 11))
    incoming = torch.randn(2, 1, 9, 11)
    with use_backend(backend):
        found = gradients(logits, layers, statistics, incoming)
    *expected, _ = exact(logits, layers, statistics, incoming)
    for one, other in zip(found, expected):
        torch.testing.assert_close(one, other.float(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("place", ["channels_last", "every second column"])
def test_logits_in_any_memory_format(backend: str, place: str) -> None:
    statistics = Statistics(4)
    layers, logits, incoming = drawn_layers(statistics, 64), torch.randn(2, 68, 9, 12), torch.randn(2, 1, 9, 6)
    contiguous = logits[..., ::2].contiguous()
    view = contiguous.to(memory_format=torch.channels_last) if place == "channels_last" else logits[..., ::2]
    with use_backend(backend):
        for one, other in zip(
            gradients(view, layers, statistics, incoming), gradients(contiguous, layers, statistics, incoming)
        ):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_batch_without_images_has_gradients_of_zero(backend: str) -> None:
    shape = (0, 68, 3, 4)
    layers, incoming = drawn_layers(Statistics(4), 64), torch.zeros(shape[0], 1, *shape[2:])
    with use_backend(backend):
        quality, box, *of_layers = gradients(torch.zeros(shape), layers, Statistics(4), incoming)
    assert quality.shape == incoming.shape and box.shape == shape
    assert not any(gradient.any() for gradient in of_layers)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_computed_in_fp32(dtype: torch.dtype) -> None:
    statistics = Statistics(4)
    layers, logits = drawn_layers(statistics, 64), torch.randn(2, 68, 5, 6).to(dtype)
    found = distribution_quality(logits, layers, statistics)
    torch.testing.assert_close(found, distribution_quality(logits.float(), layers, statistics), rtol=1e-5, atol=1e-5)


@pytest.mark.skipif("numba" not in BACKENDS, reason="numba is not installed")
def test_the_number_of_threads_does_not_change_the_result() -> None:
    statistics = Statistics(4)
    layers, logits, incoming = drawn_layers(statistics, 64), torch.randn(3, 68, 40, 60), torch.randn(3, 1, 40, 60)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(gradients(logits, layers, statistics, incoming))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, other) for one, other in zip(*results))


def test_use_backend_chooses_the_kernel() -> None:
    logits = torch.zeros(1, 68, 2, 2)
    with use_backend("torch"):
        assert operation._QUALITY_LOGITS.for_tensor(logits) is eager.quality_logits
    if "numba" in BACKENDS:
        assert operation._QUALITY_LOGITS.for_tensor(logits) is not eager.quality_logits
        assert operation._QUALITY_LOGITS.for_tensor(logits.bfloat16()) is eager.quality_logits


def test_layers_for_other_statistics_are_refused() -> None:
    with pytest.raises(ValueError, match="has 20 input channels; .* must have 24, 6 for each side"):
        distribution_quality(torch.zeros(1, 68, 2, 2), drawn_layers(Statistics(4), 8), Statistics(5))


@pytest.mark.skipif("numba" not in BACKENDS, reason="numba is not installed")
def test_compiling_does_not_change_the_result(tmp_path: Path, root: Path) -> None:
    """The process that compiles the kernels and one that reads them from disk calculate the same."""
    program = (
        "import hashlib, torch\n"
        "from ops.test_distribution_quality import Statistics, drawn_layers, gradients\n"
        "torch.manual_seed(0)\n"
        "layers = drawn_layers(Statistics(4), 64)\n"
        "values = gradients(torch.randn(2, 68, 40, 60), layers, Statistics(4), torch.randn(2, 1, 40, 60))\n"
        "print([hashlib.sha256(value.numpy().tobytes()).hexdigest() for value in values])\n"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")]),
        "NUMBA_CACHE_DIR": str(tmp_path),
        "OMP_NUM_THREADS": "1",
    }
    printed = []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout.splitlines()[-1])
        assert list(tmp_path.rglob("*.nbc")), "nothing was compiled, so this test compares nothing"
    assert printed[0] == printed[1]
