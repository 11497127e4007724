_base_ = "../components/atss.py"
ablation = dict(order=8, title="ATSS")
