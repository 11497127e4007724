# The embedded dataset with digits that are all of one class, so that only their boxes are learned.
_base_ = "demo_data.py"
metainfo = dict(classes=("digit",))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = val_dataloader
