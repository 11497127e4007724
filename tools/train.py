#!/usr/bin/env python3
"""MMDetection's own tools/train.py with the plugin imported first; every flag is its.

Example: python tools/train.py configs/demo/gfl_r18_demo.py
"""

from _mmdet_script import run

if __name__ == "__main__":
    run("train.py")
