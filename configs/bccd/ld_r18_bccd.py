# gfl_r18_bccd.py that learns from a trained gfl_r18w32_bccd.py; GFL_TEACHER is its checkpoint.
_base_ = "gfl_r18_bccd.py"
model = dict(
    type="gfl_plugin.KnowledgeDistillationSingleStageDetector",
    teacher_config="gfl_plugin::bccd/gfl_r18w32_bccd.py",
    teacher_ckpt="{{$GFL_TEACHER:work_dirs/gfl_r18w32_bccd/epoch_32.pth}}",
    bbox_head=dict(type="gfl_plugin.LDHead"),
)
