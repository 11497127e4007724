#!/usr/bin/env python3
"""MMDetection's own tools/test.py with the plugin imported first; every flag is its.

Example: python tools/test.py configs/demo/gfl_r18_demo.py work_dirs/gfl_r18_demo/epoch_10.pth
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout works uninstalled, too
    from gfl_plugin.runtime.run_script import run_mmdet_tool

    run_mmdet_tool("test.py")
