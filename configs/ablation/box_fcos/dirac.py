_base_ = "../_base_/fcos.py"
ablation = dict(order=0, title="Dirac delta")
