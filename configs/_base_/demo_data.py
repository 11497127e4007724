# The embedded data set; `gfl-plugin demo` makes it, GFL_DEMO_DATA says where it lies.
data_root = "{{$GFL_DEMO_DATA:work_dirs/demo/data}}/"
pipeline = [
    dict(type="LoadImageFromFile"),
    # Images keep their size.
    dict(type="Resize", scale_factor=1.0, keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
dataset = dict(
    type="CocoDataset",
    data_root=data_root,
    metainfo=dict(classes=("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")),
    pipeline=pipeline,
)
auto_scale_lr = dict(enable=False, base_batch_size=4)  # reference of --auto-scale-lr
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=True),
    batch_sampler=dict(type="AspectRatioBatchSampler"),
    dataset=dict(ann_file="train.json", data_prefix=dict(img="train/"), **dataset),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(ann_file="val.json", data_prefix=dict(img="val/"), test_mode=True, **dataset),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="CocoMetric", ann_file=data_root + "val.json", metric="bbox")
test_evaluator = val_evaluator
