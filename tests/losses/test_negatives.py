"""Every kernel of the pass over negatives equals the formula in double precision."""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import Chebyshev, Polynomial
from torch import Tensor

from gfl_plugin.losses.qfl import Negatives
from gfl_plugin.losses.qfl.eager import sweep as eager

PASSES = {"eager": eager}
if importlib.util.find_spec("numba"):
    from gfl_plugin.losses.qfl.numba_cpu import sweep as numba_cpu

    PASSES["numba"] = numba_cpu

DEVICES = {"triton": "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"}
if importlib.util.find_spec("triton") and (os.environ.get("TRITON_INTERPRET") == "1" or torch.cuda.is_available()):
    from gfl_plugin.losses.qfl.triton_gpu import sweep as triton_gpu

    PASSES["triton"] = triton_gpu


def swept(name: str, work: Negatives) -> tuple[Tensor, list[Tensor | None]]:
    """The results of a kernel, copied to the CPU."""
    device = DEVICES.get(name, "cpu")
    moved = Negatives(
        [level.to(device) for level in work.logits],
        work.wanted,
        work.scale.to(device),
        work.beta,
        None if work.weights is None else [weight.to(device) for weight in work.weights],
    )
    sums, gradients = PASSES[name](moved)
    return sums.cpu(), [None if gradient is None else gradient.cpu() for gradient in gradients]


def exact(logits: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """Loss and slope of each element, fp64."""
    x = logits.double()
    soft = torch.nn.functional.softplus(x, threshold=800.0)
    soft = torch.where(x > 700, x, soft)
    power = (beta * torch.nn.functional.logsigmoid(x)).exp()
    return power * soft, power * (x.sigmoid() + beta * torch.where(x > 700, 0.0, soft * torch.sigmoid(-x)))


@pytest.mark.parametrize("name", PASSES)
@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    beta=st.sampled_from([0.0, 0.002, 0.5, 1.0, 1.5, 2.0, 2.5, 3.3]),
    images=st.integers(0, 3),
    classes=st.integers(1, 9),
    sizes=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 80)), min_size=1, max_size=3),
    mean=st.sampled_from([-12.0, -4.6, 0.0, 50.0]),
    weighted=st.booleans(),
)
def test_loss_and_gradient(
    name: str,
    seed: int,
    beta: float,
    images: int,
    classes: int,
    sizes: list[tuple[int, int]],
    mean: float,
    weighted: bool,
) -> None:
    torch.manual_seed(seed)
    logits = [3 * torch.randn(images, classes, *size) + mean for size in sizes]
    weights = [(torch.rand(images, *size) - 0.3).clamp(min=0) for size in sizes] if weighted else None
    wanted = [bool(i % 3 < 2) for i in range(len(sizes))]
    sums, gradients = swept(name, Negatives(logits, wanted, torch.tensor(0.37), beta, weights))
    assert sums.shape == (len(sizes),) and sums.dtype == torch.float32
    for i, level in enumerate(logits):
        loss, slope = exact(level, beta)
        factor = 0.37 * (1.0 if weights is None else weights[i][:, None].double())
        assert float(sums[i]) == pytest.approx(float((factor * loss).sum()), rel=2e-6, abs=1e-30)
        assert (gradients[i] is not None) == wanted[i]
        if wanted[i]:
            assert gradients[i].shape == (level.numel() + 1,)
            error = gradients[i][:-1].view(level.shape).double() - factor * slope
            # A power's relative error is that of its exponent, which grows with it.
            tolerance = 2e-6 + 2e-7 * beta * level.abs()
            assert (error.abs() <= tolerance * (factor * slope).abs() + 1e-36).all()


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0, 2.5])
def test_extreme_logits(name: str, beta: float) -> None:
    """Finite logits have finite gradients, and a NaN or infinite logit makes the sum non-finite."""
    values = torch.tensor([-3.3e38, -1e4, -200.0, -88.0, 0.0, 88.0, 89.0, 200.0, 1e4, 1e30, 3.3e38])
    sums, (gradient,) = swept(name, Negatives([values.view(1, 1, 1, -1)], [True], torch.tensor(1.0), beta))
    _, slope = exact(values, beta)
    assert torch.allclose(gradient[:-1].double(), slope, rtol=1e-5, atol=1e-30)
    assert float(sums) > 3.2e38
    for bad in (math.nan, math.inf):
        level = torch.zeros(1, 1, 3, 50)
        level[0, 0, 1, 7] = bad
        sums, _ = swept(name, Negatives([level], [True], torch.tensor(1.0), beta))
        assert not sums.isfinite().any()


@pytest.mark.parametrize("name", [name for name in PASSES if name != "numba"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_computed_in_fp32(name: str, dtype: torch.dtype) -> None:
    logits = (torch.randn(2, 3, 20, 30) - 4).to(dtype)
    sums, (gradient,) = swept(name, Negatives([logits], [True], torch.tensor(0.01), 2.0))
    loss, slope = exact(logits, 2.0)
    assert float(sums) == pytest.approx(0.01 * float(loss.sum()), rel=1e-5)
    assert gradient.dtype == (torch.bfloat16 if dtype == torch.bfloat16 else torch.float32)
    expected = (0.01 * slope).to(gradient.dtype)
    assert torch.allclose(gradient[:-1].view_as(logits).float(), expected.float(), rtol=1e-2)


def test_triton_kernel_in_its_interpreter(root: Path) -> None:
    """The GPU kernel passes the same cases on a CPU, in a process that enables Triton's interpreter."""
    if not importlib.util.find_spec("triton"):
        pytest.skip("Triton is not installed")
    test = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", "triton and not interpreter", __file__]
    run = subprocess.run(test, cwd=root, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.skipif("numba" not in PASSES, reason="numba is not installed")
def test_coefficients_in_the_source_are_those_of_the_interpolation() -> None:
    """The coefficients interpolate at Chebyshev nodes, rounded to fp32."""
    from gfl_plugin.ops import numba_math

    half = math.log(2) / 2
    functions = {
        "EXP": (np.exp, 6, -half, half),
        "LOG1P": (lambda x: np.log1p(x) / x, 9, 0.0, 1.0),
    }
    for name, (function, degree, low, high) in functions.items():
        series = Chebyshev.interpolate(function, degree, domain=[low, high])
        expected = series.convert(kind=Polynomial).coef[::-1]
        np.testing.assert_allclose(getattr(numba_math, name), expected, rtol=2**-23)  # one unit in the last place


@pytest.mark.skipif("numba" not in PASSES, reason="numba is not installed")
def test_pytorch_keeps_its_number_of_threads() -> None:
    """Numba's threads share OpenMP with PyTorch, whose number of threads does not change when they start.

    This is tested in a separate process, because they start once per process.
    """
    program = (
        "import torch; torch.set_num_threads(1)\n"
        "from gfl_plugin.losses.qfl import Negatives\n"
        "from gfl_plugin.losses.qfl.numba_cpu import sweep\n"
        "sweep(Negatives([torch.zeros(1, 2, 4, 4)], [True], torch.ones(()), 2.0, None))\n"
        "print('threads', torch.get_num_threads())\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=120)
    assert "threads 1" in done.stdout, done.stdout + done.stderr[-2000:]


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_the_sum_of_a_large_map_is_as_exact_as_that_of_a_small_one(name: str, beta: float) -> None:
    """Sums of 240,000 elements that are added one after the other in fp32 lose several digits."""
    level = 3 * torch.randn(1, 2, 300, 400) - 12
    sums, _ = swept(name, Negatives([level], [True], torch.tensor(1.0), beta))
    assert float(sums) == pytest.approx(float(exact(level, beta)[0].sum()), rel=2e-6)
