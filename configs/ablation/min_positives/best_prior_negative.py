_base_ = "../_base_/gfl.py"
# A best prior's center may lie outside its object, so that some of its distances to the sides are negative. Bins that
# begin at -1 represent them; with bins from 0, a predicted box always contains the center.
ablation = dict(order=2, title="each object its best prior, bins from -1", against="atss")
model = dict(
    bbox_head=dict(reg_max=17, bbox_coder=dict(type="gfl_plugin.IntegralBBoxCoder", first=-1.0)),
    train_cfg=dict(assigner=dict(type="gfl_plugin.ATSSAssigner", topk=9, min_positives=1)),
)
