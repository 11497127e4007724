# The small detector with the plugin's head and its default settings. A config adds num_classes.
_base_ = "small_detector.py"
model = dict(
    bbox_head=dict(type="gfl_plugin.GFLHead"),
    train_cfg=dict(assigner=dict(type="gfl_plugin.ATSSAssigner", topk=9)),
)
