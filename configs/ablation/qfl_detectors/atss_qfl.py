_base_ = "../components/qfl.py"
ablation = dict(order=9, title="ATSS + QFL")
