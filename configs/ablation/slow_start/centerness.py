# General distributions with the focal loss and a centerness branch in place of QFL.
_base_ = "../_base_/atss.py"
ablation = dict(
    order=12,
    title="centerness branch + DFL",
    against="gfl",
    hooks=[dict(type="gfl_plugin.ClassLossStatsHook", interval=26)],
)
model = dict(bbox_head=dict(bbox_coder=dict(type="IntegralBBoxCoder"), reg_max=16, loss_dfl="by_coder"))
