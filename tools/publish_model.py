#!/usr/bin/env python3
"""Write a checkpoint's weights as safetensors, with config, classes and hash inside: nothing in it can be run.

MMDetection's scripts load the file like any checkpoint where the config imports gfl_plugin.

Example: python tools/publish_model.py work_dirs/gfl_r18_demo/epoch_10.pth --out released/
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="a checkpoint of MMEngine's, or a dict of tensors")
    parser.add_argument("--out", type=Path, help="folder to write to (the checkpoint's)")
    parser.add_argument("--config", help="config to put inside, where the checkpoint has none or another is wanted")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # MMDetection's and MMEngine's notes on their own deprecated names
    from mmengine.config import Config

    from gfl_plugin.runtime.errors import CheckpointError
    from gfl_plugin.runtime.publish import publish

    try:
        config = Config.fromfile(args.config) if args.config else None
        print(f"wrote {publish(args.checkpoint, args.out, config)}")
    except (CheckpointError, OSError, ImportError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
