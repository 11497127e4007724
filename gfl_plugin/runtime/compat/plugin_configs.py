"""Configs of this package by name: ``gfl_plugin::family/file.py``.

Problem: MMEngine resolves ``package::`` names for the OpenMMLab packages in its own list only. ``_base_ =
    "gfl_plugin::gfl/gfl_r50_fpn_1x_coco.py"`` raises ``mmengine does not support to load gfl_plugin config``.
Versions: MMEngine <= 0.10.7.
Change: such a base is located by ``gfl_plugin.runtime.config_files.find_config``, in a wheel and in a clone. Unlike
    for ``mmdet::``, MMEngine's ``_scope_`` is not set: a base by name means the same as the same file by path.
Not needed when: MMEngine resolves names of other packages.
"""

from __future__ import annotations

import functools

from ..config_files import OURS, find_config


def close() -> str:
    """Let ``_base_`` accept names of this package's configs.

    Returns:
        What was changed.
    """
    from mmengine.config import Config

    plain = Config._get_cfg_path

    @functools.wraps(plain)
    def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if cfg_path.startswith(OURS):
            return str(find_config(cfg_path)), None
        return plain(cfg_path, filename)

    Config._get_cfg_path = staticmethod(get_cfg_path)
    return "_base_ accepts gfl_plugin:: names"
