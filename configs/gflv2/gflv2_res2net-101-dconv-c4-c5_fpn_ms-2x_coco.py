_base_ = "gflv2_r50_fpn_ms-2x_coco.py"
model = dict(
    backbone=dict(
        type="Res2Net",
        depth=101,
        scales=4,
        base_width=26,
        dcn=dict(type="DCN", deform_groups=1, fallback_on_stride=False),
        stage_with_dcn=(False, False, True, True),
        init_cfg=dict(type="Pretrained", checkpoint="open-mmlab://res2net101_v1d_26w_4s"),
    )
)
