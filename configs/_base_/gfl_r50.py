# GFL with ResNet-50 and FPN, as in MMDetection's gfl_r50_fpn_1x_coco.py, without data and schedule. The weights of the
# backbone are torchvision's; by their address, because `torchvision://resnet50` needs the torchvision package. A config
# adds num_classes.
_base_ = "small_detector.py"
model = dict(
    type="GFL",
    backbone=dict(
        depth=50,
        base_channels=64,
        frozen_stages=1,
        norm_eval=True,
        init_cfg=dict(type="Pretrained", checkpoint="https://download.pytorch.org/models/resnet50-0676ba61.pth"),
    ),
    neck=dict(in_channels=[256, 512, 1024, 2048], out_channels=256),
    bbox_head=dict(type="gfl_plugin.GFLHead", in_channels=256, feat_channels=256, stacked_convs=4),
    train_cfg=dict(assigner=dict(type="gfl_plugin.ATSSAssigner", topk=9)),
)
