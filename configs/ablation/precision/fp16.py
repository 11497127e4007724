# Needs a GPU, since MMEngine has no fp16 autocast on a CPU. Without a GPU, omit it: --variants fp32 bf16
_base_ = "../_base_/gfl.py"
ablation = dict(order=2, title="fp16", against="fp32")
optim_wrapper = dict(type="AmpOptimWrapper", dtype="float16", loss_scale="dynamic")
