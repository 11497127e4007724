"""``gfl-plugin export``

Writes MODEL/model.onnx, which describes itself, MODEL/detect.py, which runs it with
NumPy, Pillow and ONNX Runtime alone, and MODEL/certificate.json and .md: how much its
detections differ from PyTorch's on images of the config. What the file gives:
  --contract raw    logits per level, as the head gives them
  --contract boxes  the best boxes of each level before NMS (default)
  --contract nms    detections
Another example, with images of any size as input:
  gfl-plugin export my.py epoch_12.pth -o model/ --contract nms --preprocess resize
docs/export.md
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import nn

    from ..analysis.progress import ProgressDisplay

SUMMARY = "write a single-stage detector as an ONNX file, and check it against PyTorch"
EXAMPLE = "gfl-plugin export my_config.py work_dirs/my_config/epoch_12.pth -o model/"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command.

    Args:
        parser: parser of the command.
    """
    parser.add_argument("config", help="a file or a name of a config")
    parser.add_argument("checkpoint", type=Path, help="its trained weights")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="MODEL", help="folder; it is created")
    parser.add_argument(
        "--contract", choices=("raw", "boxes", "nms"), default="boxes", help="what the file gives (default: boxes)"
    )
    parser.add_argument("--with-std", action="store_true", help="also the standard deviation of each side of a box")
    parser.add_argument(
        "--preprocess",
        choices=("none", "normalize", "resize"),
        default="none",
        help="what the file does with images: nothing (default); channels, mean, std and padding; also resizing",
    )
    parser.add_argument("--topk", type=int, help="class scores per level that are decoded (default: test_cfg.nms_pre)")
    parser.add_argument("--opset", type=int, default=18, help="version of ONNX's operators (default: 18, the lowest)")
    parser.add_argument(
        "--split", choices=("val", "test"), default="val", help="data loader of the check (default: val)"
    )
    parser.add_argument("--images", type=int, default=50, help="images of the check (default: 50)")
    parser.add_argument("--no-certificate", action="store_true", help="leave the check out")


def run(arguments: argparse.Namespace) -> int:
    """Write the folder.

    Args:
        arguments: parsed arguments, see :func:`add_arguments`.

    Returns:
        0; 1 if the file's detections differ from PyTorch's.

    Raises:
        ValueError: if an argument is wrong, or the model is not supported.
        FileNotFoundError: if the config or the checkpoint does not exist.
        ImportError: if a package of the extra ``[export]`` is missing.
    """
    if arguments.out.exists() and not arguments.out.is_dir():
        raise FileExistsError(f"{arguments.out} is a file; name a folder")
    if arguments.images < 1:
        raise ValueError(f"--images is {arguments.images}; it must be 1 or more")

    from mmengine.config import Config
    from mmengine.logging import MMLogger

    from ..analysis.progress import output_console, progress_display
    from ..export.export_model import ExportRequest, check_request, describe, export_model, write_model
    from ..export.load_model import load_model
    from ..export.preprocessing import unsupported_transforms
    from ..export.runner import detect
    from ..runtime.config_files import find_config

    MMLogger.get_current_instance().setLevel("WARNING")
    request = ExportRequest(
        contract=arguments.contract,
        preprocessing=arguments.preprocess,
        with_std=arguments.with_std,
        topk=arguments.topk,
        opset=arguments.opset,
    )
    check_request(request)
    cfg = Config.fromfile(find_config(arguments.config))
    model = load_model(cfg, arguments.checkpoint)
    with progress_display(output_console()) as display:
        with display.task("exporting"):
            converted = export_model(model, cfg, request)
        arguments.out.mkdir(parents=True, exist_ok=True)
        file = write_model(converted, arguments.out)
        size = f"{file.stat().st_size / 1e6:.1f} MB"
        display.print(f"wrote {file}: contract {request.contract}, opset {request.opset}, {size}")
        if wrong := unsupported_transforms(cfg):
            display.print(f"note: {', '.join(wrong)} of the test pipeline is not in the file; do it before")
        shutil.copyfile(detect.__file__, arguments.out / "detect.py")
        if arguments.no_certificate:
            return 0
        if request.contract == "raw" and describe(model, cfg, request).bins is None:
            display.print("no certificate: detect.py decodes outputs of contract raw only if sides have bins")
            return 0
        return _certified(arguments, model, cfg, display)


def _certified(arguments: argparse.Namespace, model: nn.Module, cfg: Config, display: ProgressDisplay) -> int:
    """Compare the file with PyTorch; return the exit status."""
    from ..analysis.machine import this_machine
    from ..export.certificate_files import PAGE, as_page, write_certificate
    from ..export.certify import CertificateRequest, certify
    from ..export.export_model import FILE

    request = CertificateRequest(arguments.split, arguments.images, str(this_machine()))
    with display.task("comparing with PyTorch") as task:
        certificate = certify(
            arguments.out / FILE, model, cfg, request, lambda done, total: task.update(completed=done, total=total)
        )
    write_certificate(arguments.out, certificate)
    display.print(as_page(certificate))
    if certificate.passes:
        return 0
    display.print(f"the detections of the file are not those of PyTorch: {arguments.out / PAGE}")
    return 1
