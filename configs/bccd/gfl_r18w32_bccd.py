# The teacher of ld_r18_bccd.py: twice the width of its backbone.
_base_ = "gfl_r18_bccd.py"
model = dict(backbone=dict(base_channels=32), neck=dict(in_channels=[32, 64, 128, 256]))
