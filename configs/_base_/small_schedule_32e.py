_base_ = "small_schedule.py"
max_epochs = 32
train_cfg = dict(max_epochs=max_epochs, val_interval=16)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type="CosineAnnealingLR", T_max=max_epochs, by_epoch=True, convert_to_iter_based=True, eta_min=0),
]
