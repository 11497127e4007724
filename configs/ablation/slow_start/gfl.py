# Why QFL learns slowly on small data, and what helps: GFL with one change each, and combinations of changes that help.
# A warm-up of 100 steps is a third of the training at the scale bccd_short, and less at the others. The hook logs the
# gradients of positives and negatives.
_base_ = "../_base_/gfl.py"
ablation = dict(
    order=0,
    title="GFL",
    metrics=("AP", "AP50", "AP75", "AP worst"),
    analysis="class_loss",
    hooks=[dict(type="gfl_plugin.ClassLossStatsHook", interval=26)],
)
