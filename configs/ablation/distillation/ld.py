# The student learns from the trained teacher: GFL_TEACHER is the checkpoint of a run of teacher.py.
_base_ = "student.py"
model = dict(
    type="gfl_plugin.KnowledgeDistillationSingleStageDetector",
    teacher_config="gfl_plugin::ablation/distillation/teacher.py",
    teacher_ckpt="{{$GFL_TEACHER:teacher.pth}}",
    bbox_head=dict(type="gfl_plugin.LDHead"),
)
ablation = dict(order=2, title="student with localization distillation", against="student")
