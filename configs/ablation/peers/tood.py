_base_ = "mmdet::tood/tood_r50_fpn_1x_coco.py"
ablation = dict(
    order=9,
    title="TOOD",
    against="best",
    # Its single tower for both tasks has six convolutions: half of them, as with the other heads.
    small_model=dict(bbox_head=dict(stacked_convs=3)),
)
