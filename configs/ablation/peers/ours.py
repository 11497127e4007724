# MMDetection's dense heads, each with the losses, priors, assignment and post-processing of its R-50 1x config for
# COCO, the plugin's GFL, and its best recipe. At small scales they have the same backbone and neck, and half of the
# depth of their towers: the two convolutions of the small detector where MMDetection has three or four, and three of
# TOOD's six. FCOS's ranges of scales and TOOD's number of epochs with its first assigner are those for COCO.
#
# VFNet and TOOD contain deformable convolutions that no setting turns off, since they are the method. On a CPU they are
# computed with PyTorch's operations, as fast as the rest and without compiled ops; on a GPU mmcv must be compiled.
_base_ = "../_base_/gfl.py"
ablation = dict(order=1, title="GFL (gfl_plugin)", against="best")
