# BCCD: blood cells under a microscope, in Pascal VOC form. GFL_DATA says in which folder bccd/ lies.
data_root = "{{$GFL_DATA:data}}/bccd/"
metainfo = dict(classes=("RBC", "WBC", "Platelets"))
scale = (400, 300)
meta_keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor", "flip", "flip_direction")
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=scale, keep_ratio=True),
    dict(type="RandomFlip", prob=0.5, direction=["horizontal", "vertical", "diagonal"]),
    dict(type="PackDetInputs", meta_keys=meta_keys),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=scale, keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    # The metric reads the ground truth from "instances", there being no COCO file.
    dict(type="PackDetInputs", meta_keys=(*meta_keys, "instances")),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=True),
    batch_sampler=dict(type="AspectRatioBatchSampler"),
    dataset=dict(
        type="XMLDataset",
        data_root=data_root,
        metainfo=metainfo,
        ann_file="ImageSets/Main/train.txt",
        data_prefix=dict(sub_data_root=""),
        img_subdir="JPEGImages",
        ann_subdir="Annotations",
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="XMLDataset",
        data_root=data_root,
        metainfo=metainfo,
        ann_file="ImageSets/Main/val.txt",
        data_prefix=dict(sub_data_root=""),
        img_subdir="JPEGImages",
        ann_subdir="Annotations",
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="XMLDataset",
        data_root=data_root,
        metainfo=metainfo,
        ann_file="ImageSets/Main/test.txt",
        data_prefix=dict(sub_data_root=""),
        img_subdir="JPEGImages",
        ann_subdir="Annotations",
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
val_evaluator = dict(type="CocoMetric", metric="bbox")
test_evaluator = val_evaluator
