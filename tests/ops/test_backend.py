"""The choice of kernels: by default and with ``use_backend``, nested, in threads, in forked processes, in traces."""

from __future__ import annotations

import importlib
import multiprocessing
import pkgutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch
from cases import Recipe, losses_and_gradients, our_head, random_batch
from torch import Tensor
from torch.utils.data import DataLoader

import gfl_plugin.losses.qfl
from gfl_plugin.assigners import candidates
from gfl_plugin.heads import candidate_logits
from gfl_plugin.losses.qfl import dense_pass
from gfl_plugin.ops import backend, nms
from gfl_plugin.ops.backend import Kernels, choose, use_backend

FP32 = torch.zeros(3)
EVERY = ("torch", "numba", "triton")
DEFAULT = "numba" if backend.installed("numba") else "torch"  # for fp32 on a CPU
with_numba = pytest.mark.skipif(DEFAULT == "torch", reason="numba is not installed")


@pytest.fixture
def without_packages(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make imports of Numba and Triton fail."""
    for package in ("numba", "triton"):
        monkeypatch.setitem(sys.modules, package, None)
    backend.installed.cache_clear()
    yield
    monkeypatch.undo()
    backend.installed.cache_clear()


def test_without_compiled_packages_the_choice_is_pytorch(without_packages: None) -> None:
    assert choose(FP32, EVERY) == "torch"


@with_numba
def test_the_choice_depends_on_device_dtype_and_kernels() -> None:
    assert choose(FP32, EVERY) == "numba"
    assert choose(FP32, ["triton"]) == choose(FP32, []) == "torch"
    assert choose(FP32.double(), EVERY) == choose(FP32.bfloat16(), EVERY) == "torch"
    assert choose(FP32.to("meta"), EVERY) == "torch"


@with_numba
def test_the_innermost_block_applies() -> None:
    with use_backend("torch"):
        assert choose(FP32, EVERY) == "torch"
        with use_backend("numba"):
            assert choose(FP32, EVERY) == "numba"
            assert choose(FP32, ["triton"]) == "torch"  # no Numba kernel
        assert choose(FP32, EVERY) == "torch"
        with pytest.raises(KeyError), use_backend("numba"):
            raise KeyError
        assert choose(FP32, EVERY) == "torch"
    assert choose(FP32, EVERY) == "numba"


def test_it_decorates_functions() -> None:
    @use_backend("torch")
    def chosen() -> str:
        return choose(FP32, EVERY)

    assert chosen() == chosen() == "torch"
    assert choose(FP32, EVERY) == DEFAULT


@pytest.mark.parametrize("name", ["cuda", "Torch", None, 0])
def test_an_unknown_name_is_an_error(name: object) -> None:
    with pytest.raises(ValueError, match=f"backend is {name!r}; it must be one of 'torch', 'numba', 'triton'"):
        use_backend(name).__enter__()
    assert choose(FP32, EVERY) == DEFAULT


@pytest.mark.parametrize("name", ["numba", "triton"])
def test_a_package_that_is_not_installed_is_an_error(name: str, without_packages: None) -> None:
    with pytest.raises(ModuleNotFoundError, match=f'{name} is not installed; .* pip install {name}, .*"torch"'):
        use_backend(name).__enter__()
    with use_backend("torch"):
        assert choose(FP32, EVERY) == "torch"


@with_numba
@pytest.mark.parametrize("tensor", [FP32.bfloat16(), FP32.double(), FP32.to("meta")])
def test_a_tensor_that_the_backend_does_not_take_is_an_error(tensor: Tensor) -> None:
    with use_backend("numba"):
        message = rf"takes tensors of torch.float32 on cpu; this one is {tensor.dtype} on {tensor.device.type}\."
        with pytest.raises(RuntimeError, match=message):
            choose(tensor, EVERY)
        assert choose(tensor, ["triton"]) == "torch"
        with use_backend("torch"):
            assert choose(tensor, EVERY) == "torch"


def test_triton_takes_no_tensor_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "installed", lambda package: True)
    with use_backend("triton"), pytest.raises(RuntimeError, match="takes tensors of any float dtype on cuda"):
        choose(FP32, EVERY)


def test_each_thread_has_its_own_request() -> None:
    """A request has no effect in other threads, and theirs have no effect on it."""
    seen, inside, done = [], threading.Event(), threading.Event()

    def other() -> None:
        seen.append(choose(FP32, EVERY))
        with use_backend("torch"):
            inside.set()
            done.wait(30)
            seen.append(choose(FP32, EVERY))
        seen.append(choose(FP32, EVERY))

    with use_backend("torch"):
        thread = threading.Thread(target=other)
        thread.start()
        assert inside.wait(30)
    assert choose(FP32, EVERY) == DEFAULT  # while the other thread is inside its block
    done.set()
    thread.join()
    assert seen == [DEFAULT, "torch", DEFAULT]


def test_backward_uses_the_kernel_chosen_in_forward() -> None:
    """Backward outside of the block and in another thread gives the same gradients."""
    head, batch = our_head(), random_batch(Recipe())
    with use_backend("torch"):
        _, expected, _ = losses_and_gradients(head, batch)
        scores = [level.detach().clone().requires_grad_() for level in batch.cls_scores]
        losses = head.loss_by_feat(scores, batch.bbox_preds, batch.gt_instances, batch.img_metas)
    total = sum(sum(levels) for levels in losses.values())
    thread = threading.Thread(target=total.backward)
    thread.start()
    thread.join()
    assert all(torch.equal(level.grad, gradient) for level, gradient in zip(scores, expected))


def chosen_name(_: object = None) -> str:
    return choose(FP32, EVERY)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system has no fork")
def test_forked_workers_keep_the_request() -> None:
    def in_workers() -> list[str]:
        loader = DataLoader(_Chosen(), batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=30)
        return list(loader)

    with use_backend("torch"):
        assert in_workers() == ["torch", "torch"]
    assert in_workers() == [DEFAULT, DEFAULT]


class _Chosen(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> str:
        return chosen_name()


TRACED = Kernels(torch=lambda x: x * 2, numba="nowhere:kernel", triton="nowhere:kernel")


class Doubled(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return TRACED.for_tensor(x)(x)


class DoubledInside(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        with use_backend("torch"):
            return TRACED.for_tensor(x)(x)


@with_numba
@pytest.mark.parametrize("requested", [None, "torch", "numba"])
@pytest.mark.parametrize("model", [Doubled(), DoubledInside()])
def test_traces_contain_pytorch_operations_only(model: torch.nn.Module, requested: str | None) -> None:
    """The compiled kernels of this operation do not exist, so choosing one would raise an error."""
    programs = {
        "compile": lambda: torch.compile(model, backend="eager", fullgraph=True),
        "export": lambda: torch.export.export(model, (FP32,), strict=False).module(),
        "strict export": lambda: torch.export.export(model, (FP32,), strict=True).module(),
        "jit": lambda: torch.jit.trace(model, (FP32,), check_trace=False),
    }
    torch._dynamo.reset()
    for name, make in programs.items():
        if requested is None:
            result = make()(torch.ones(3))
        else:
            with use_backend(requested):
                result = make()(torch.ones(3))
        assert result.tolist() == [2.0] * 3, name


@pytest.mark.parametrize("kernels", [nms._KEEP, candidates._SEARCH, candidate_logits._ABOVE, dense_pass._SWEEP])
def test_the_kernels_of_each_operation_exist(kernels: Kernels) -> None:
    for place in filter(None, (kernels.numba, kernels.triton)):
        module, function = place.split(":")
        if backend.installed("numba" if place == kernels.numba else "triton"):
            assert callable(getattr(importlib.import_module(module), function))
        else:
            assert f"def {function}(" in pkgutil.get_data(*place_of_source(module)).decode()


def place_of_source(module: str) -> tuple[str, str]:
    package, _, name = module.rpartition(".")
    return package, f"{name}.py"


def test_no_function_has_the_name_of_a_kernel_module() -> None:
    """An attribute of the package with the name of a submodule is that submodule."""
    for module in pkgutil.iter_modules(gfl_plugin.losses.qfl.__path__):
        found = getattr(gfl_plugin.losses.qfl, module.name, None)
        assert found is None or isinstance(found, ModuleType), module.name


def test_importing_the_package_does_not_import_numba() -> None:
    """Numba is imported when its first kernel is needed."""
    program = "import sys, gfl_plugin; print(sorted({'numba', 'llvmlite'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=300)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stdout + done.stderr
