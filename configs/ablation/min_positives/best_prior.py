_base_ = "../_base_/gfl.py"
ablation = dict(order=1, title="each object its best prior", against="atss")
model = dict(train_cfg=dict(assigner=dict(type="gfl_plugin.ATSSAssigner", topk=9, min_positives=1)))
