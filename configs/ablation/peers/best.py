_base_ = "../recipe/balanced.py"
ablation = dict(_delete_=True, order=0, title="best recipe (gfl_plugin)")
