_base_ = "../_base_/atss.py"
ablation = dict(order=0, title="Dirac delta")
