"""``gfl-plugin init``

Recognizes COCO, Pascal VOC, YOLO, LabelMe and CSV annotations. Writes a config with the
classes, an image size, levels and bins for the objects, and a schedule for the number of
images; then checks the data as check-data does, and prints the next commands. Nothing is
written into the data, and nothing is overwritten: what MMDetection cannot read where it
lies is written as COCO files to a folder beside the config. More examples:
  gfl-plugin init my_data -o my.py --model r50 --head gflv2
  gfl-plugin init my_data --model r18 --from-scratch     on a CPU, or without network
docs/own-data.md describes forms, choices and error messages.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from .swap import HEADS

SUMMARY = "write a config for a folder of labelled images, and check the data"
EXAMPLE = "gfl-plugin init my_data -o my_config.py"
EXPECTED = (KeyError, OSError, RuntimeError, ValueError)
_DECODED = 2000  # images; in larger data only their existence is checked
_CHECKED = 5000  # training images whose targets are computed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command.

    Args:
        parser: parser of the command.
    """
    parser.add_argument("data", type=Path, metavar="DATA_DIR", help="folder with images and annotations")
    parser.add_argument(
        "-o", "--out", type=Path, help="config to write (default: FOLDER_HEAD_MODEL.py); never replaced"
    )
    parser.add_argument("--form", choices=["coco", "voc", "yolo", "labelme", "csv"], help="if there are several forms")
    parser.add_argument(
        "--model", choices=["r18", "r50"], default="r50", help="backbone ResNet-18 or -50 (default: r50)"
    )
    parser.add_argument("--head", choices=HEADS, default="gfl", help="see gfl-plugin swap (default: gfl)")
    parser.add_argument(
        "--from-scratch",
        action="store_true",
        help="no pretrained weights; with r18, a small detector for a CPU",
    )
    parser.add_argument("--image-size", type=int, help="longer side of the images, pixels (default: by the objects)")
    parser.add_argument("--seed", type=int, default=0, help="of the validation split, where there is none (default: 0)")


def run(arguments: argparse.Namespace) -> int:
    """Write the config, check its data and print the next commands.

    Args:
        arguments: parsed arguments, see :func:`add_arguments`.

    Returns:
        0.

    Raises:
        ValueError: if the data has a mistake that would stop a training.
        OSError: if a folder or file is missing, or exists where one would be written.
    """
    from ..runtime.install_advice import module_or_advice

    for name in ("rich", "PIL", "globox"):
        module_or_advice(name, "init")

    from ..analysis.new_project import make_project
    from ..analysis.progress import output_console, progress_display
    from ..analysis.tables import print_table
    from ..runtime.terminal_text import escape_unprintable
    from . import check_data

    console = output_console()
    with progress_display(console) as display:
        made = make_project(_request(arguments), display)
    print_table(console, made.sets_table, f"{arguments.data}: {made.project.form}")
    print_table(console, made.settings_table, f"wrote {made.config}")
    for note in made.notes:
        console.print(f"note: {escape_unprintable(note)}", markup=False, highlight=False, soft_wrap=True)
    images = sum(len(one.images) for one in made.project.sets) <= _DECODED
    if check_data.show(check_data.check_config(str(made.config), images, _CHECKED), bins=False):
        print("The data has errors, see above. Correct them, unless their advice says that training ignores them.")
    shown = made.project.sets[-1]  # test, else val
    print(_next_commands(made.config, made.project.schedule.epochs, shown.path(shown.images[0])))
    return 0


def _request(arguments: argparse.Namespace):
    """What the user asks for, as make_project takes it."""
    from ..analysis.new_project import ProjectRequest

    return ProjectRequest(
        data=arguments.data,
        out=arguments.out,
        form=arguments.form,
        model=arguments.model,
        head=arguments.head,
        from_scratch=arguments.from_scratch,
        image_size=arguments.image_size,
        seed=arguments.seed,
        command=_command(arguments),
    )


def _command(arguments: argparse.Namespace) -> str:
    """The command with the arguments that change the config."""
    words = ["gfl-plugin", "init", str(arguments.data), "--model", arguments.model, "--head", arguments.head]
    words += ["--from-scratch"] if arguments.from_scratch else []
    words += ["--form", arguments.form] if arguments.form else []
    words += ["--image-size", str(arguments.image_size)] if arguments.image_size else []
    return shlex.join([*words, "--seed", str(arguments.seed)])


def _next_commands(config: Path, epochs: int, image: Path) -> str:
    """The commands to copy."""
    checkpoint = Path("work_dirs") / config.stem / f"epoch_{epochs}.pth"
    name, weights, picture = (shlex.quote(str(path)) for path in (config, checkpoint, image))
    return f"""
train     gfl-plugin train {name}
then      gfl-plugin test {name} {weights}
          gfl-plugin report {name} {weights} -o report
          gfl-plugin show {name} {weights} {picture} -o pictures"""
