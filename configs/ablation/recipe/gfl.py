# Which parts of the plugin go together best on small data: ways to learn quality, each with ATSS and some
# with DDOD's cost in ATSS (alpha), which ranks candidates by predicted score and IoU; weights of the box losses, first
# boxes and class losses. All have general distributions and DFL.
_base_ = "../_base_/gfl.py"
ablation = dict(order=0, title="joint (GFL), ATSS")
