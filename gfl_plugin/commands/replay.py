"""``gfl-plugin replay``

NonFiniteGuardHook writes such records to WORK_DIR/non_finite/. The model is built from
the given config, because a record may be untrusted; training writes its config to
WORK_DIR.

The exit status is 1 if an output or gradient of the step is still non-finite, 0 if all
are finite (after a change of the code, for example), and 2 if a file is wrong.
"""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "repeat a recorded training step and name the first non-finite output"
EXAMPLE = "gfl-plugin replay work_dirs/my_config/non_finite/iter_120_rank_0.pth work_dirs/my_config/my_config.py"
EXPECTED = (ImportError, KeyError, OSError)
_SHOWN = 5  # number of printed modules per kind


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command.

    Args:
        parser: parser of the command.
    """
    parser.add_argument("record", type=Path, help="WORK_DIR/non_finite/iter_N_rank_R.pth")
    parser.add_argument("config", nargs="?", help="config of the training, which it wrote to WORK_DIR")
    parser.add_argument(
        "--trust", action="store_true", help="build the model from the config in the record, which can run code"
    )
    parser.add_argument("--full-precision", action="store_true", help="do not use mixed precision")


def run(arguments: argparse.Namespace) -> int:
    """Repeat the step and print non-finite outputs and gradients; see :func:`gfl_plugin.runtime.replay.replay`.

    Args:
        arguments: parsed arguments, see :func:`add_arguments`.

    Returns:
        The exit status: 1 if an output or gradient is not finite, else 0.
    """
    from gfl_plugin.runtime.replay import replay
    from gfl_plugin.runtime.step_record import StepRecord
    from gfl_plugin.runtime.terminal_text import escape_unprintable

    record = StepRecord.load(arguments.record)
    cfg = _config(arguments, record)
    print(f"step {record.iteration + 1} (epoch {record.epoch + 1}), {record.images} images")
    for name in record.inputs:
        print(f"  in the batch, not finite: {escape_unprintable(str(name))}")
    outcome = replay(record, cfg, arguments.full_precision)
    width = max(map(len, outcome.losses))
    for name, value in outcome.losses.items():
        print(f"  {name:{width}}  {value:.6g}")
    if outcome.finite:
        print("finite: every loss and every gradient")
        return 0
    for kind, names in (("output of", outcome.outputs), ("gradient of", outcome.gradients)):
        for name in names[:_SHOWN]:
            print(f"  not finite: {kind} {name}")
        if len(names) > _SHOWN:
            print(f"  and of {len(names) - _SHOWN} more")
    print(f"not finite; first: {(outcome.outputs or outcome.gradients or ['a loss'])[0]}")
    return 1


def _config(arguments: argparse.Namespace, record: object) -> object:
    from mmengine.config import Config

    from gfl_plugin.runtime import config_text
    from gfl_plugin.runtime.config_files import find_config
    from gfl_plugin.runtime.errors import CheckpointError

    if arguments.config is not None:
        return Config.fromfile(find_config(arguments.config))
    if arguments.trust:
        return config_text.parse(record.config)
    raise CheckpointError(
        f"{arguments.record}: pass the config of the training, too (WORK_DIR/NAME.py). The config in the record is not "
        "used, because building a model from it can run code; --trust uses it, for your own records"
    )
