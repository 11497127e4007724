"""Files that are there whole or not at all, whenever the process is killed."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

BACKEND = "gfl_plugin.whole"


def write_whole(path: Path, content: bytes | str, durable: bool = True) -> None:
    """Put a file in its place at once: a reader finds the old one or the new one.

    Its bytes reach the disk first, so that this holds after a power cut, too; ``durable=False`` does not wait for that.

    What a kill may leave is ``.<name>.<process>.part`` beside it; :func:`remove_parts` takes those away.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)  # a full disk, an interrupt: the old file stands
        raise
    if durable:
        _sync_folder(path.parent)


def put_in_place(part: Path, path: Path) -> None:
    """Give a file or a folder, which somebody else has written as ``.<name>.part``, the name it is to have.

    Its bytes reach the disk first. A file of that name is exchanged at once; a folder goes before the new one comes.
    """
    try:
        for file in sorted(part.rglob("*")) if part.is_dir() else [part]:
            if file.is_file():
                with open(file, "rb") as opened:
                    os.fsync(opened.fileno())
    except BaseException:
        remove(part)  # a full disk needs the room, and the old file stands
        raise
    if path.is_dir():
        remove(path)
    os.replace(part, path)
    _sync_folder(path.parent)


def remove(path: Path) -> None:
    """Remove a file, a folder with all that is in it, or nothing."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_parts(folder: Path) -> list[Path]:
    """Take away what killed writers left in a folder, and say what it was."""
    parts = sorted(folder.glob(".*.part"))
    for part in parts:
        remove(part)
    return parts


def _sync_folder(folder: Path) -> None:
    """A new name is on the disk only with its folder; where folders cannot be opened (Windows) that is automatic."""
    with contextlib.suppress(OSError, AttributeError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@register_backend(BACKEND)
class WholeFileBackend(LocalBackend):
    """MMEngine's backend of local files, which writes whole files and can put off removals."""

    def __init__(self) -> None:
        self._put_off: list[Path] | None = None

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes, whole or not at all."""
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = "utf-8") -> None:
        """Write text, whole or not at all."""
        self.put(obj.encode(encoding), filepath)

    def remove(self, filepath: str | Path) -> None:
        """Remove a file, inside of :meth:`removals_put_off` when that ends."""
        if self._put_off is None:
            super().remove(filepath)
        else:
            self._put_off.append(Path(filepath))

    @contextlib.contextmanager
    def removals_put_off(self) -> Iterator[list[Path]]:
        """Remove nothing before the end, and nothing after an error; the list may be changed."""
        self._put_off = waiting = []
        try:
            yield waiting
        finally:
            self._put_off = None
        for path in waiting:
            remove(path)
