_base_ = ["../_base_/small_detector.py", "../_base_/bccd_data.py", "../_base_/small_schedule_32e.py"]
model = dict(
    bbox_head=dict(type="gfl_plugin.GFLHead", num_classes=3),
    train_cfg=dict(assigner=dict(type="gfl_plugin.ATSSAssigner", topk=9), allowed_border=-1, pos_weight=-1),
)
