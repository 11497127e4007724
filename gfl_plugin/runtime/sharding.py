"""Sharding of weights, gradients and optimizer state over processes with PyTorch's FSDP."""

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
    """MMEngine's FSDPStrategy with :class:`FullyShardedDataParallel` and a working resume.

    On resume MMEngine passes the optimizer state to PyTorch in the argument order of PyTorch 2.0.

    Args:
        model_wrapper: config of the wrapper; :class:`FullyShardedDataParallel` by default.
        state_dict_cfg: "full", or MMEngine's dict of that type: checkpoints have the format of any other training.
        **kwargs: as MMEngine's FSDPStrategy.

    Raises:
        ValueError: if ``state_dict_cfg`` is of another type.
    """

    def __init__(
        self, *, model_wrapper: dict | None = None, state_dict_cfg: str | dict = "full", **kwargs: Any
    ) -> None:
        model_wrapper = model_wrapper or {"type": f"{SCOPE}.FullyShardedDataParallel"}
        super().__init__(model_wrapper=model_wrapper, state_dict_cfg=state_dict_cfg, **kwargs)
        if not self._is_full_state_dict():
            raise ValueError(
                f"state_dict_cfg is {state_dict_cfg!r}, of type {self.state_dict_type.name}: other runners and "
                "weights_only cannot load its checkpoints; write state_dict_cfg='full'"
            )

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load the optimizer state from a checkpoint.

        Args:
            state_dict: from :meth:`optim_state_dict`.
        """
        optimizer = self.optim_wrapper.optimizer
        own = FullyShardedDataParallel.optim_state_dict_to_load(
            model=self.model, optim=optimizer, optim_state_dict=state_dict
        )
        self.optim_wrapper.load_state_dict(own)


@MODEL_WRAPPERS.register_module()
class FullyShardedDataParallel(MMFullyShardedDataParallel):
    """MMEngine's FSDP wrapper, extended for dense detectors.

    * FSDP refuses 0-dim parameters, such as the scales of the levels in GFL, FCOS and ATSS. They are reshaped to (1,);
      in checkpoints they are 0-dim, so that all runners can exchange checkpoints.
    * MMEngine clips the gradient shards of each process by their own norm. Here they are clipped by the norm of all
      gradients.
    * Without a GPU, weights are sharded over CPU processes with gloo.

    Args:
        module: a detector.
        auto_wrap_policy: as in MMEngine. By default backbone and neck are wrapped as units. Do not wrap the head:
            detectors call its ``loss`` and ``predict`` directly, which bypasses FSDP.
        device_id: as in FSDP; ignored on a CPU.
        **kwargs: as MMEngine's wrapper.
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
        self._reshaped = _reshape_0dim(module)
        if get_device() == "cpu":
            device_id = torch.device("cpu")
        super().__init__(module, auto_wrap_policy=auto_wrap_policy, device_id=device_id, **kwargs)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the state dict, with reshaped parameters as 0-dim tensors.

        Args:
            *args: as in PyTorch.
            **kwargs: as in PyTorch.

        Returns:
            The state dict.
        """
        state = super().state_dict(*args, **kwargs)
        for name in self._reshaped & state.keys():
            state[name] = state[name].reshape(())
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Load a state dict of an unsharded model.

        Args:
            state_dict: with 0-dim parameters.
            *args: as in PyTorch.
            **kwargs: as in PyTorch.

        Returns:
            Missing and unexpected keys, as in PyTorch.
        """
        vectors = {name: state_dict[name].reshape(1) for name in self._reshaped & state_dict.keys()}
        return super().load_state_dict({**state_dict, **vectors}, *args, **kwargs)

    @staticmethod
    def set_state_dict_type(
        module: nn.Module,
        state_dict_type: StateDictType,
        state_dict_config: StateDictConfig | None = None,
        optim_state_dict_config: OptimStateDictConfig | None = None,
    ) -> StateDictSettings:
        """Set the state dict type as FSDP does; on a CPU without offloading, which crashes in PyTorch 2.13.

        Args:
            module: as in FSDP.
            state_dict_type: as in FSDP.
            state_dict_config: as in FSDP.
            optim_state_dict_config: as in FSDP.

        Returns:
            The previous settings.
        """
        configs = [state_dict_config, optim_state_dict_config]
        if get_device() == "cpu":
            configs = [replace(one, offload_to_cpu=False) if hasattr(one, "offload_to_cpu") else one for one in configs]
        return MMFullyShardedDataParallel.set_state_dict_type(module, state_dict_type, *configs)

    def train_step(self, data: dict, optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """Run a training step, with gradients clipped by the norm of all gradients.

        Args:
            data: the batch.
            optim_wrapper: the optimizer wrapper.

        Returns:
            The losses.

        Raises:
            RuntimeError: if the norm is not finite and ``clip_grad`` has ``error_if_nonfinite=True``.
        """
        if getattr(optim_wrapper, "clip_func", None) is nn.utils.clip_grad_norm_:
            optim_wrapper.clip_func = self._clip_grad_norm
        return super().train_step(data, optim_wrapper)

    def _clip_grad_norm(self, parameters: Any, max_norm: float, norm_type: float = 2.0, **settings: Any) -> Tensor:
        norm = self.clip_grad_norm_(max_norm, norm_type)
        if settings.get("error_if_nonfinite", False) and not norm.isfinite():
            raise RuntimeError(f"the norm of all gradients is {float(norm)}, and clip_grad has error_if_nonfinite=True")
        return norm


def _reshape_0dim(model: nn.Module) -> frozenset[str]:
    """Reshape 0-dim parameters to (1,); return their names."""
    names = frozenset(name for name, weight in model.named_parameters() if weight.dim() == 0)
    for name in names:
        path, _, last = name.rpartition(".")
        weight = model.get_parameter(name)
        vector = nn.Parameter(weight.detach().reshape(1), requires_grad=weight.requires_grad)
        setattr(model.get_submodule(path), last, vector)
    return names
