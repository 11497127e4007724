_base_ = "../_base_/gfl.py"
# In the small detector: twice the width of the student's backbone.
ablation = dict(
    order=1,
    title="teacher: backbone of twice the width",
    against="student",
    small_model=dict(backbone=dict(base_channels=32), neck=dict(in_channels=[32, 64, 128, 256])),
)
