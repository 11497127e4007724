_base_ = "gfl.py"
ablation = dict(order=1, title="joint, ATSS with alpha", against="gfl")
model = dict(train_cfg=dict(assigner=dict(_delete_=True, type="mmdet.ATSSAssigner", topk=9, alpha=0.8)))
