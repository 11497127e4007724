#!/usr/bin/env python3
"""Write a config that inherits from a detector's and puts a GFL head into it.

Examples:
  python tools/swap_head.py mmdet::retinanet/retinanet_r50_fpn_1x_coco.py -o configs/my/retinanet_gfl.py
  python tools/swap_head.py my_fcos.py -o my_fcos_qfl.py --head qfl
  python tools/swap_head.py my_atss.py -o my_gfl.py --set reg_max=8 loss_cls.beta=1.5
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", help="config of a single-stage detector: a file, or mmdet::family/file.py")
    parser.add_argument("-o", "--out", type=Path, required=True, help="config to write; never overwritten")
    parser.add_argument("--head", choices=["gfl", "qfl"], default="gfl", help="the GFL head, or its own with QFL")
    warnings.simplefilter("ignore")  # MMDetection's and MMEngine's notes on their own deprecated names
    from mmengine.config import ConfigDict, DictAction

    parser.add_argument("--set", nargs="+", action=DictAction, default={}, help="settings of the new head, key=value")
    args = parser.parse_args()
    from gfl_plugin.projects.swap_head import swap_config_file

    try:
        overrides: dict = {}
        for key, value in args.set.items():
            place = overrides
            *path, last = key.split(".")
            for part in path:
                place = place.setdefault(part, {})
            place[last] = value
        print(f"wrote {swap_config_file(args.base, args.out, args.head, **ConfigDict(overrides))}")
    except (ValueError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
