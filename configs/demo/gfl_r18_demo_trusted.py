# Hooks for long runs; these lines work in any config.
_base_ = "gfl_r18_demo.py"
default_hooks = dict(checkpoint=dict(type="gfl_plugin.WholeCheckpointHook"))  # atomic writes
custom_hooks = [
    dict(type="gfl_plugin.ExactResumeHook"),  # --resume gives the same weights as an uninterrupted run
    dict(type="gfl_plugin.NonFiniteGuardHook", action="skip"),  # or "stop"
    dict(type="gfl_plugin.BadBoxesHook"),
]
