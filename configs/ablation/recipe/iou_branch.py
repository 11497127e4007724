_base_ = "../_base_/atss.py"
ablation = dict(order=5, title="IoU branch, ATSS", against="gfl")
model = dict(
    bbox_head=dict(
        quality=dict(measure="iou"), bbox_coder=dict(type="IntegralBBoxCoder"), reg_max=16, loss_dfl="by_coder"
    )
)
