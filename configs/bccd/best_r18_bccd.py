# The recipe "best" of gfl_plugin.swap_head: data and schedule of the comparison in docs/recipes.md (scale bccd).
_base_ = ["../_base_/small_gfl.py", "../_base_/bccd_data.py", "../_base_/small_schedule_adamw.py"]
model = dict(
    bbox_head=dict(
        num_classes=3,
        quality=dict(type="JointQuality", box_weight="balanced"),
        loss_cls=dict(type="QualityFocalLoss", use_sigmoid=True, beta=2.0, loss_weight=1.0),
        loss_dfl=dict(type="DistributionFocalLoss", loss_weight=0.25),
        reg_max=16,
    )
)
scale = (320, 240)
train_pipeline = _base_.train_pipeline
train_pipeline[2]["scale"] = scale
test_pipeline = _base_.test_pipeline
test_pipeline[1]["scale"] = scale
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
max_epochs = 48
train_cfg = dict(max_epochs=max_epochs, val_interval=16)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type="CosineAnnealingLR", T_max=max_epochs, by_epoch=True, convert_to_iter_based=True, eta_min=0),
]
optim_wrapper = dict(optimizer=dict(lr=8e-3))
auto_scale_lr = dict(base_batch_size=8)
