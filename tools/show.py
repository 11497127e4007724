#!/usr/bin/env python3
"""`gfl-plugin show` in a checkout, which need not be installed."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    sys.exit(__import__("gfl_plugin_cli").main("show"))
