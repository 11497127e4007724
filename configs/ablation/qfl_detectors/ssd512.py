_base_ = "mmdet::ssd/ssd512_coco.py"
# MMDetection's SSDHead cannot predict without the plugin: open-mmlab/mmdetection#11780.
custom_imports = dict(imports=["gfl_plugin"], allow_failed_imports=False)
ablation = dict(
    order=6,
    title="SSD512",
    # The anchors of SSD512, for images with a quarter of its width.
    small_model=dict(
        bbox_head=dict(
            anchor_generator=dict(
                min_sizes=[5, 13, 33, 54, 74, 95, 115],
                max_sizes=[13, 33, 54, 74, 95, 115, 136],
            )
        )
    ),
)
