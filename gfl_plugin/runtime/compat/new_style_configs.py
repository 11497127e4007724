"""New-style configs in MMDetection's tools.

Problem: ``replace_cfg_vals``, which MMDetection's tools apply to a config, turns the imported types of a new-style
    config into classes. ``misc/print_config.py`` cannot print such a config: it raises a syntax error.
Versions: MMDetection 3.3.0.
Change: the function gets the config with types as names, as MMEngine saves it. Other configs are not changed.
Not needed when: ``replace_cfg_vals`` keeps imported types as MMEngine represents them.
"""

from __future__ import annotations

import functools
import importlib


def close() -> str:
    """Write the types of a config as names before MMDetection replaces values.

    Returns:
        What was changed.
    """
    from mmdet import utils
    from mmengine.config import Config

    module = importlib.import_module("mmdet.utils.replace_cfg_vals")  # in mmdet.utils, the function has its name
    plain = module.replace_cfg_vals

    @functools.wraps(plain)
    def with_type_names(ori_cfg: Config) -> Config:
        return plain(Config(ori_cfg.to_dict(), filename=ori_cfg.filename))

    module.replace_cfg_vals = utils.replace_cfg_vals = with_type_names
    return "MMDetection's tools accept new-style configs, with types as names"
