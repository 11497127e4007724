_base_ = "../_base_/gfl.py"
ablation = dict(order=0, title="ATSS", metrics=["AP", "AP50", "AP60", "AP75", "APt"])
model = dict(train_cfg=dict(assigner=dict(type="gfl_plugin.ATSSAssigner", topk=9)))
