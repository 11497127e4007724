# Weights, gradients and optimizer state sharded over processes by MMEngine's FlexibleRunner and PyTorch's FSDP.
_base_ = "gfl_r18_demo.py"
runner_type = "FlexibleRunner"
strategy = dict(type="gfl_plugin.FSDPStrategy")
