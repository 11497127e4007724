"""Weights, gradients and optimizer state sharded over processes, by PyTorch's FSDP."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from mmengine._strategy import FSDPStrategy as MMEngineFSDPStrategy
from mmengine.device import get_device
from mmengine.model.wrappers import MMFullyShardedDataParallel
from mmengine.optim import OptimWrapper
from torch import Tensor, nn
from torch.distributed.fsdp import OptimStateDictConfig, StateDictConfig, StateDictSettings, StateDictType
from torch.distributed.fsdp.wrap import lambda_auto_wrap_policy

from ..registry import MODEL_WRAPPERS, SCOPE, STRATEGIES


@STRATEGIES.register_module()
class FSDPStrategy(MMEngineFSDPStrategy):
    """MMEngine's strategy for FSDP, with :class:`FullyShardedDataParallel`, and able to resume.

    MMEngine hands an optimizer's state to PyTorch in the order of arguments that PyTorch 2.0 had.

    Args:
        model_wrapper: config of the wrapper, :class:`FullyShardedDataParallel` by default.
        state_dict_cfg: "full", or MMEngine's dict of that type: checkpoints as of any other training.
        **kwargs: as MMEngine's FSDPStrategy.

    Raises:
        ValueError: for another ``state_dict_cfg``.
    """

    def __init__(
        self, *, model_wrapper: dict | None = None, state_dict_cfg: str | dict = "full", **kwargs: Any
    ) -> None:
        model_wrapper = model_wrapper or {"type": f"{SCOPE}.FullyShardedDataParallel"}
        super().__init__(model_wrapper=model_wrapper, state_dict_cfg=state_dict_cfg, **kwargs)
        if not self._is_full_state_dict():
            raise ValueError(
                f"state_dict_cfg is {state_dict_cfg!r}, of type {self.state_dict_type.name}: its checkpoints hold "
                "objects that only an unsafe load takes, and no other runner; write state_dict_cfg='full'"
            )

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load what :meth:`optim_state_dict` has given."""
        optimizer = self.optim_wrapper.optimizer
        own = FullyShardedDataParallel.optim_state_dict_to_load(
            model=self.model, optim=optimizer, optim_state_dict=state_dict
        )
        self.optim_wrapper.load_state_dict(own)


@MODEL_WRAPPERS.register_module()
class FullyShardedDataParallel(MMFullyShardedDataParallel):
    """MMEngine's wrapper for FSDP, able to hold a dense detector.

    * FSDP refuses parameters without a dimension, as the scales of GFL's, FCOS's and ATSS's levels are: here they are
      vectors of one, and in checkpoints what they were, so that those load with any other runner and the other way.
    * MMEngine clips each process's shards by the norm of these alone: here by the norm of all gradients.
    * Without a GPU it shards over CPUs, by gloo.

    Args:
        module: a detector.
        auto_wrap_policy: as MMEngine's. By default backbone and neck are units of their own; a head must not be, as
            detectors call its ``loss`` and ``predict``, around FSDP.
        device_id: as FSDP's; left out on a CPU.
        **kwargs: as MMEngine's.
    """

    def __init__(
        self,
        module: nn.Module,
        auto_wrap_policy: str | dict | Callable | None = None,
        device_id: int | torch.device | None = None,
        **kwargs: Any,
    ) -> None:
        if auto_wrap_policy is None:
            units = [getattr(module, name, None) for name in ("backbone", "neck")]
            auto_wrap_policy = functools.partial(
                lambda_auto_wrap_policy, lambda_fn=lambda part: any(part is unit for unit in units)
            )
        self._numbers = _give_dimensions(module)
        if get_device() == "cpu":
            device_id = torch.device("cpu")
        super().__init__(module, auto_wrap_policy=auto_wrap_policy, device_id=device_id, **kwargs)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The state dict, with numbers as numbers."""
        state = super().state_dict(*args, **kwargs)
        for name in self._numbers & state.keys():
            state[name] = state[name].reshape(())
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Load a state dict, with numbers as vectors of one."""
        vectors = {name: state_dict[name].reshape(1) for name in self._numbers & state_dict.keys()}
        return super().load_state_dict({**state_dict, **vectors}, *args, **kwargs)

    @staticmethod
    def set_state_dict_type(
        module: nn.Module,
        state_dict_type: StateDictType,
        state_dict_config: StateDictConfig | None = None,
        optim_state_dict_config: OptimStateDictConfig | None = None,
    ) -> StateDictSettings:
        """As FSDP's; tensors that are on a CPU already are not brought there, which PyTorch 2.13 does not survive."""
        configs = [state_dict_config, optim_state_dict_config]
        if get_device() == "cpu":
            configs = [replace(one, offload_to_cpu=False) if hasattr(one, "offload_to_cpu") else one for one in configs]
        return MMFullyShardedDataParallel.set_state_dict_type(module, state_dict_type, *configs)

    def train_step(self, data: dict, optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """A step, as MMEngine's, with gradients clipped by the norm of all."""
        if getattr(optim_wrapper, "clip_func", None) is nn.utils.clip_grad_norm_:
            optim_wrapper.clip_func = self._clip_grad_norm
        return super().train_step(data, optim_wrapper)

    def _clip_grad_norm(self, parameters: Any, max_norm: float, norm_type: float = 2.0, **settings: Any) -> Tensor:
        norm = self.clip_grad_norm_(max_norm, norm_type)
        if settings.get("error_if_nonfinite", False) and not norm.isfinite():
            raise RuntimeError(f"the norm of all gradients is {float(norm)}, and clip_grad has error_if_nonfinite=True")
        return norm


def _give_dimensions(model: nn.Module) -> frozenset[str]:
    """Make parameters without a dimension vectors of one; their names."""
    names = frozenset(name for name, weight in model.named_parameters() if weight.dim() == 0)
    for name in names:
        path, _, last = name.rpartition(".")
        weight = model.get_parameter(name)
        vector = nn.Parameter(weight.detach().reshape(1), requires_grad=weight.requires_grad)
        setattr(model.get_submodule(path), last, vector)
    return names
