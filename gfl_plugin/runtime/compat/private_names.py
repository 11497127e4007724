"""All private names and undocumented internals of third-party packages that this package relies on.

They may change without notice. tests/runtime/test_private_names.py checks that each name
exists in the installed versions, that no use in the code is missing here, and that docs/compat.md shows this table.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PrivateName:
    """A private or undocumented name of another package."""

    path: str  # module, class and attribute
    purpose: str  # what this package needs it for
    only_in: str = ""  # distribution without which the name does not exist; "" if it always exists


PRIVATE_NAMES = (
    # Modules
    PrivateName("mmengine._strategy", "base class of FSDPStrategy"),
    PrivateName("mmengine.runner._flexible_runner", "patch of its --resume"),
    PrivateName("mmcv._ext", "compiled ops, provided where mmcv has none"),
    PrivateName("numpy._core", "names in pickles of NumPy 2"),
    # MMEngine
    PrivateName("mmengine.config.Config._is_lazy_import", "detects new-style configs"),
    PrivateName("mmengine.config.Config._get_cfg_path", "bases named gfl_plugin::"),
    PrivateName("mmengine.config.Config._merge_a_into_b", "merges overrides with MMEngine's rules"),
    PrivateName("mmengine.registry.build_from_cfg._scope_", "config key that selects the registry of a part"),
    PrivateName("mmengine.registry.Registry._add_child", "registers the scope with the root registry"),
    PrivateName("mmengine.model.ImgDataPreprocessor._enable_normalize", "whether an exported file normalizes"),
    PrivateName("mmengine.model.ImgDataPreprocessor._channel_conversion", "order of channels of an exported file"),
    PrivateName("mmengine.runner.checkpoint._safe_torch_load", "reads checkpoints safely", "onedl-mmengine"),
    PrivateName("mmengine.runner.Runner._resume", "whether a training resumes"),
    PrivateName("mmengine.runner.Runner._load_from", "whether a training starts from weights"),
    PrivateName("mmengine.hooks.CheckpointHook._save_checkpoint_with_step", "replaced by an atomic write"),
    PrivateName("mmengine.hooks.CheckpointHook._save_best_checkpoint", "replaced by an atomic write"),
    PrivateName("mmengine.hooks.CheckpointHook.keep_ckpt_ids", "steps of the checkpoints to keep"),
    PrivateName("mmengine.hooks.CheckpointHook.last_ckpt", "path of the last checkpoint"),
    PrivateName("mmengine.hooks.CheckpointHook.best_ckpt_path", "path of the best checkpoint"),
    PrivateName("mmengine.hooks.CheckpointHook.best_ckpt_path_dict", "paths of the best checkpoints per metric"),
    PrivateName("mmengine.optim.OptimWrapper._accumulative_counts", "batches per optimizer step"),
    PrivateName("mmengine.optim.OptimWrapper._inner_count", "batches so far"),
    PrivateName("mmengine.optim.OptimWrapper.clip_func", "gradient clipping by the norm of all shards"),
    PrivateName("mmengine.runner.IterBasedTrainLoop.dataloader_iterator", "source of the batches"),
    PrivateName("mmengine.dataset.InfiniteSampler._indices_of_rank", "restarts the sampler"),
    PrivateName("mmengine.dataset.InfiniteSampler.indices", "restarts the sampler"),
    PrivateName("mmengine.dataset.BaseDataset._load_metainfo", "classes of a dataset without building it"),
    PrivateName("mmengine.dataset.BaseDataset._serialize_data", "check for empty datasets"),
    PrivateName("mmengine.dist.utils._init_dist_pytorch", "launcher on a CPU"),
    PrivateName("mmengine.infer.infer.BaseInferencer._init_model", "refuses configs from checkpoints"),
    PrivateName("mmengine.logging.HistoryBuffer._log_history", "reads checkpoints"),
    PrivateName("mmengine.logging.HistoryBuffer._count_history", "reads checkpoints"),
    PrivateName("mmengine.logging.HistoryBuffer._set_default_statistics", "reads checkpoints"),
    PrivateName("mmengine._strategy.FSDPStrategy._is_full_state_dict", "type of the checkpoints"),
    # MMDetection
    PrivateName("mmdet.datasets.AspectRatioBatchSampler._aspect_ratio_buckets", "restarts the batch sampler"),
    PrivateName("mmdet.datasets.samplers.MultiDataAspectRatioBatchSampler._buckets", "restarts the batch sampler"),
    PrivateName("mmdet.datasets.samplers.MultiSourceSampler._indices_of_rank", "restarts the sampler"),
    PrivateName("mmdet.datasets.samplers.MultiSourceSampler.source2inds", "restarts the sampler"),
    PrivateName("mmdet.datasets.transforms.CachedMosaic.results_cache", "detects transforms with state"),
    PrivateName("mmdet.models.dense_heads.GFLHead._init_layers", "layers of the head"),
    PrivateName("mmdet.models.dense_heads.SSDHead._init_layers", "layers of the head"),
    PrivateName("mmdet.models.dense_heads.FCOSHead._init_layers", "layers of the head"),
    # PyTorch
    PrivateName("torch._disable_dynamo", "excludes functions from compilation without importing the compiler"),
    PrivateName("torch.nn.Module._apply", "moves the teacher with the student"),
    PrivateName("torch.nn.Module._load_from_state_dict", "reads checkpoints of other bins"),
    PrivateName("torch.nn.Module.state_dict._metadata", "validates checkpoints"),
    PrivateName("torch.distributed.fsdp.FullyShardedDataParallel._fsdp_wrapped_module", "names of parameters"),
    PrivateName("torch._tensor._rebuild_from_type_v2", "name in pickles of tensors with attributes"),
    PrivateName("torch._utils._rebuild_parameter", "name in pickles of parameters"),
    PrivateName("torch._utils._rebuild_parameter_with_state", "name in pickles of parameters"),
    PrivateName("torch._utils._rebuild_tensor", "name in pickles of tensors"),
    PrivateName("torch._utils._rebuild_tensor_v2", "name in pickles of tensors"),
    # NumPy
    PrivateName("numpy._core.multiarray._reconstruct", "name in pickles of arrays"),
    # Numba
    PrivateName("numba.core.dispatcher.Dispatcher._cache", "keeps compiled kernels on disk"),
)
