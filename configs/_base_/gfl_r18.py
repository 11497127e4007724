# GFL with ResNet-18 and FPN, see gfl_r50.py.
_base_ = "gfl_r50.py"
model = dict(
    backbone=dict(
        depth=18,
        init_cfg=dict(type="Pretrained", checkpoint="https://download.pytorch.org/models/resnet18-f37072fd.pth"),
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
