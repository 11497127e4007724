"""MMEngine takes ``package::`` configs of the OpenMMLab packages in its own list only.

``_base_ = "gfl_plugin::gfl/gfl_r50_fpn_1x_coco.py"`` ends in ``mmengine does not support to load gfl_plugin config``.
Here such a base is found by :func:`gfl_plugin.runtime.config_files.find_config`, in a checkout, too.

MMEngine would also write the package's name as ``_scope_`` into each dict of the base, so that names without a scope
would mean this package's classes before MMDetection's. That does not happen: a base by name means the same as the same
file by path.

Versions: MMEngine <= 0.10.7. Can go when packages outside of MMEngine's list can be named.
"""

from __future__ import annotations

import functools

from ..config_files import OURS, find_config


def close() -> str:
    """Have ``_base_`` accept names of this package's configs."""
    from mmengine.config import Config

    plain = Config._get_cfg_path

    @functools.wraps(plain)
    def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if cfg_path.startswith(OURS):
            return str(find_config(cfg_path)), None
        return plain(cfg_path, filename)

    Config._get_cfg_path = staticmethod(get_cfg_path)
    return "configs may inherit from gfl_plugin:: ones"
