"""Recovery of annotation noise: learned side distributions beside the known law of the annotations they learned from.

All values are pixels by which a side lies outside the true one, see ``gfl_plugin.demo.annotation_noise``.
"""
