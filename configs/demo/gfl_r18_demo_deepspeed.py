# Weights, gradients and optimizer state sharded over processes by MMEngine's FlexibleRunner and DeepSpeed ZeRO-3.
_base_ = "gfl_r18_demo.py"
runner_type = "FlexibleRunner"
strategy = dict(
    type="DeepSpeedStrategy",
    zero_optimization=dict(stage=3),
    config=dict(zero_allow_untested_optimizer=True),  # SGD
    gradient_clipping=35.0,  # instead of optim_wrapper.clip_grad
)
optim_wrapper = dict(
    _delete_=True,
    type="DeepSpeedOptimWrapper",
    optimizer=dict(type="SGD", lr=0.02, momentum=0.9, weight_decay=1e-4),
)
