#!/usr/bin/env python3
"""MMDetection's own tools/train.py with the plugin imported first; every flag is its.

Example: python tools/train.py configs/demo/gfl_r18_demo.py
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout works uninstalled, too
    from gfl_plugin.runtime.run_script import run_mmdet_tool

    run_mmdet_tool("train.py")
