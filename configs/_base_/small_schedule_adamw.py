# AdamW with the warm-up and the decay of small_schedule.py, for comparisons in which the learning rate is tuned for
# each head. Weights of convolutions decay; norms and biases do not. With bf16 autocast a step takes 0.6 to 0.7 of the
# time on a CPU with AVX512_BF16; weights and losses stay in fp32.
_base_ = "small_schedule.py"
optim_wrapper = dict(
    type="AmpOptimWrapper",
    dtype="bfloat16",
    optimizer=dict(_delete_=True, type="AdamW", lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
