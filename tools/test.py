#!/usr/bin/env python3
"""MMDetection's own tools/test.py with the plugin imported first; every flag is its.

Example: python tools/test.py configs/demo/gfl_r18_demo.py work_dirs/gfl_r18_demo/epoch_10.pth
"""

from _mmdet_script import run

if __name__ == "__main__":
    run("test.py")
