#!/usr/bin/env python3
"""Run a recorded training step again and say where the first number that is not finite comes from.

NonFiniteGuardHook writes such records to WORK_DIR/non_finite/. The exit status is 1 where the step still gives one, 0
where it does not (after a change of code, say), 2 for a wrong file.

Example: python tools/replay.py work_dirs/gfl_r18_demo/non_finite/iter_120_rank_0.pth
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=Path, help="WORK_DIR/non_finite/iter_N_rank_R.pth")
    parser.add_argument("--full-precision", action="store_true", help="leave mixed precision out")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # MMDetection's and MMEngine's notes on their own deprecated names
    from gfl_plugin.runtime.replay import replay
    from gfl_plugin.runtime.step_record import StepRecord

    try:
        record = StepRecord.load(args.record)
    except Exception as error:  # whatever a wrong file does to the reader
        print(f"{parser.prog}: {args.record}: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    print(f"step {record.iteration + 1} (epoch {record.epoch + 1}), {len(record.batch['inputs'])} images")
    for name in record.inputs:
        print(f"  in the batch, not finite: {name}")
    outcome = replay(record, args.full_precision)
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
