# What keeps a long run safe; the same lines do it in any config.
_base_ = "gfl_r18_demo.py"
default_hooks = dict(checkpoint=dict(type="gfl_plugin.WholeCheckpointHook"))  # whole files, also after a kill
custom_hooks = [
    dict(type="gfl_plugin.ExactResumeHook"),  # --resume ends where an uninterrupted run would
    dict(type="gfl_plugin.NonFiniteGuardHook", action="skip"),  # or "stop"
    dict(type="gfl_plugin.BadBoxesHook"),
]
