_base_ = "../recipe/quick_alpha.py"
ablation = dict(_delete_=True, order=0, title="best recipe (gfl_plugin)")
