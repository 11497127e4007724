# Which parts of the plugin go together best on small data: three ways to learn quality, three assigners, all with
# general distributions and DFL. ATSS with alpha, DDOD's assigner, ranks candidates by predicted score and IoU.
_base_ = "../_base_/gfl.py"
ablation = dict(order=0, title="joint (GFL), ATSS")
