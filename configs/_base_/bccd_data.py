# BCCD: microscope images of blood cells, in Pascal VOC format. GFL_DATA is the folder that contains BCCD/, as in a
# clone of the dataset, or bccd/.
data_root = "{{$GFL_DATA:data}}/BCCD/"
if not __import__("os").path.isdir(data_root):  # MMEngine reads configs with an import statement as new-style configs
    data_root = "{{$GFL_DATA:data}}/bccd/"
scale = (400, 300)
meta_keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor", "flip", "flip_direction")
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=scale, keep_ratio=True),
    # One training annotation has no area, for which MMDetection's anchor-based heads return an infinite loss.
    dict(type="FilterAnnotations", min_gt_bbox_wh=(1, 1), keep_empty=False),
    dict(type="RandomFlip", prob=0.5, direction=["horizontal", "vertical", "diagonal"]),
    dict(type="PackDetInputs", meta_keys=meta_keys),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=scale, keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    # The metric reads the ground truth from "instances", since there is no COCO file.
    dict(type="PackDetInputs", meta_keys=(*meta_keys, "instances")),
]
dataset = dict(
    type="XMLDataset",
    data_root=data_root,
    metainfo=dict(classes=("RBC", "WBC", "Platelets")),
    data_prefix=dict(sub_data_root=""),
    img_subdir="JPEGImages",
    ann_subdir="Annotations",
)
auto_scale_lr = dict(enable=False, base_batch_size=4)  # reference of --auto-scale-lr
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=True),
    batch_sampler=dict(type="AspectRatioBatchSampler"),
    dataset=dict(ann_file="ImageSets/Main/train.txt", pipeline=train_pipeline, **dataset),
)
in_order = dict(batch_size=8, num_workers=0, sampler=dict(type="DefaultSampler", shuffle=False))
held_out = dict(test_mode=True, pipeline=test_pipeline, **dataset)
val_dataloader = dict(dataset=dict(ann_file="ImageSets/Main/val.txt", **held_out), **in_order)
test_dataloader = dict(dataset=dict(ann_file="ImageSets/Main/test.txt", **held_out), **in_order)
val_evaluator = dict(type="CocoMetric", metric="bbox")
test_evaluator = val_evaluator
# For --tta: each image and its horizontal flip.
tta_model = dict(type="DetTTAModel", tta_cfg=dict(nms=dict(type="nms", iou_threshold=0.6), max_per_img=100))
tta_pipeline = [
    *test_pipeline[:-1],
    dict(
        type="TestTimeAug",
        transforms=[[dict(type="RandomFlip", prob=0.0), dict(type="RandomFlip", prob=1.0)], [test_pipeline[-1]]],
    ),
]
