_base_ = "gflv2.py"
ablation = dict(order=7, title="GFLV2, ATSS with alpha", against="gfl")
model = dict(train_cfg=dict(assigner=dict(_delete_=True, type="mmdet.ATSSAssigner", topk=9, alpha=0.8)))
