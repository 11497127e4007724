_base_ = "../recipe/iou_branch_alpha.py"
ablation = dict(_delete_=True, order=0, title="best recipe (gfl_plugin)")
