_base_ = "mmdet::ddod/ddod_r50_fpn_1x_coco.py"
ablation = dict(
    order=8,
    title="DDOD",
    against="best",
    # Its towers begin with a deformable convolution, for which mmcv needs at least 3 × 3 locations on each level:
    # images of at least 257 px. Without it, the towers are those of ATSS.
    small_model=dict(bbox_head=dict(use_dcn=False)),
)
