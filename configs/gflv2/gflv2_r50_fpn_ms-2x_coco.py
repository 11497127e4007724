_base_ = "../gfl/gfl_r50_fpn_ms-2x_coco.py"
model = dict(bbox_head=dict(quality=dict(type="DistributionGuidedQuality")))
# The shorter side is up to 960 px, as in the authors' configs; up to 800 px in MMDetection's configs of GFL.
train_pipeline = [
    dict(type="LoadImageFromFile", backend_args={{_base_.backend_args}}),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="RandomResize", scale=[(1333, 480), (1333, 960)], keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
