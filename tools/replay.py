#!/usr/bin/env python3
"""Run a recorded training step again and say where the first number that is not finite comes from.

NonFiniteGuardHook writes such records to WORK_DIR/non_finite/. The model is built from the config that you name, as a
record from somebody else is not trusted; training has written its config to WORK_DIR. The exit status is 1 where the
step still gives a number that is not finite, 0 where it does not (after a change of code, say), 2 for a wrong file.

Example: python tools/replay.py work_dirs/demo/non_finite/iter_120_rank_0.pth work_dirs/demo/gfl_r18_demo.py
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=Path, help="WORK_DIR/non_finite/iter_N_rank_R.pth")
    parser.add_argument("config", nargs="?", type=Path, help="the training's config, which it wrote to WORK_DIR")
    parser.add_argument(
        "--trust", action="store_true", help="build the model from the config inside of the record, which can run code"
    )
    parser.add_argument("--full-precision", action="store_true", help="leave mixed precision out")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # MMDetection's and MMEngine's notes on their own deprecated names
    try:
        import gfl_plugin  # noqa: F401
    except ImportError as error:  # it says how to install what is missing
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    from mmengine.config import Config

    from gfl_plugin.runtime import config_text
    from gfl_plugin.runtime.errors import CheckpointError
    from gfl_plugin.runtime.replay import replay
    from gfl_plugin.runtime.step_record import StepRecord
    from gfl_plugin.runtime.terminal_text import escape_unprintable

    try:
        record = StepRecord.load(args.record)
        if args.config is not None:
            cfg = Config.fromfile(args.config)
        elif args.trust:
            cfg = config_text.parse(record.config)
        else:
            raise CheckpointError(
                f"{args.record}: name the training's config, too (WORK_DIR/NAME.py). The one inside is not used, since "
                "building a model from it can run code; --trust uses it, for a record of your own"
            )
        print(f"step {record.iteration + 1} (epoch {record.epoch + 1}), {record.images} images")
        for name in record.inputs:
            print(f"  in the batch, not finite: {escape_unprintable(str(name))}")
        outcome = replay(record, cfg, args.full_precision)
    except (CheckpointError, OSError, ImportError, config_text.ConfigTextError, KeyError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    width = max(map(len, outcome.losses))
    for name, value in outcome.losses.items():
        print(f"  {name:{width}}  {value:.6g}")
    if outcome.finite:
        print("finite: every loss and every gradient")
        return 0
    for kind, names in (("output of", outcome.outputs), ("gradient of", outcome.gradients)):
        for name in names[:5]:
            print(f"  not finite: {kind} {name}")
        if len(names) > 5:
            print(f"  and of {len(names) - 5} more")
    print(f"not finite; first: {(outcome.outputs or outcome.gradients or ['a loss'])[0]}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
