# AdamW with the warm-up and the decay of small_schedule.py, for comparisons in which the learning rate is tuned for
# each head. Weights of convolutions decay; norms and biases do not.
# At a rate of 4e-3 each dense head of the study peers learns; RetinaNet fails at 8e-3.
_base_ = "small_schedule.py"
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=4e-3, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
