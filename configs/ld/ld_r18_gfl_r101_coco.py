# MMDetection's localization distillation, with the head, the losses and the checked teacher of this plugin.
_base_ = "mmdet::ld/ld_r18-gflv1-r101_fpn_1x_coco.py"
custom_imports = dict(imports=["gfl_plugin"], allow_failed_imports=False)
model = dict(
    type="gfl_plugin.KnowledgeDistillationSingleStageDetector",
    teacher_config="gfl_plugin::gfl/gfl_r101_fpn_ms-2x_coco.py",
    bbox_head=dict(type="gfl_plugin.LDHead"),
)
