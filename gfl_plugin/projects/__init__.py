"""Config surgery and new projects.

``swap_head`` replaces the head of a detector, with the settings of one of the ``recipes``; ``widen_checkpoint`` and
``widen_head`` give a trained head more bins; ``init_project`` makes a project from a folder of labelled images.
"""
