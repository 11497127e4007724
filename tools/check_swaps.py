#!/usr/bin/env python3
"""``gfl-plugin check_swaps`` in a checkout that is not installed; see gfl_plugin/commands/check_swaps.py."""

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    try:
        from gfl_plugin.commands import check_swaps as command

        parser = argparse.ArgumentParser(description=command.__doc__, epilog=f"Example: {command.EXAMPLE}")
        command.add_arguments(parser)
        sys.exit(command.run(parser.parse_args()))
    except (ValueError, OSError, ImportError) as error:
        print(f"check_swaps.py: {error}", file=sys.stderr)
        sys.exit(2)
