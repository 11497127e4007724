"""Atomic writes: after a crash or a kill a file is complete or absent."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

BACKEND = "gfl_plugin.whole"  # name under which MMEngine knows the backend


def write_whole(path: Path, content: bytes | str, durable: bool = True) -> None:
    """Write a file atomically: readers see the old content or the new content.

    A killed process may leave ``.<name>.<process id>.part`` in the same folder; :func:`remove_parts` removes it.

    Args:
        path: of the file; its folder must exist.
        content: bytes, or text to be encoded as UTF-8.
        durable: whether to flush the file to the disk first, so that this also holds after a power failure.

    Raises:
        OSError: if the file cannot be written; the old file is unchanged.
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
        part.unlink(missing_ok=True)  # full disk or interrupt: the old file is kept
        raise
    if durable:
        _sync_folder(path.parent)


def put_in_place(part: Path, path: Path) -> None:
    """Flush a complete file or folder to the disk, then rename it.

    A file is replaced atomically; an existing folder is removed before the new one is renamed.

    Args:
        part: the file or folder, ``.<name>.part``.
        path: its final name, in the same folder.

    Raises:
        OSError: if it cannot be flushed; then ``part`` is removed.
    """
    try:
        for file in sorted(part.rglob("*")) if part.is_dir() else [part]:
            if file.is_file():
                with open(file, "rb") as opened:
                    os.fsync(opened.fileno())
    except BaseException:
        remove(part)  # frees a full disk; the old file is kept
        raise
    if path.is_dir():
        remove(path)
    os.replace(part, path)
    _sync_folder(path.parent)


def remove(path: Path) -> None:
    """Remove a file, or a folder with its content; do nothing if ``path`` does not exist.

    Args:
        path: of the file or folder.
    """
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_parts(folder: Path) -> list[Path]:
    """Remove the incomplete files of killed processes.

    Args:
        folder: searched without its subfolders.

    Returns:
        The removed files and folders.
    """
    parts = sorted(folder.glob(".*.part"))
    for part in parts:
        remove(part)
    return parts


def _sync_folder(folder: Path) -> None:
    """Flush a folder, which makes a rename durable; unnecessary where folders cannot be opened (Windows)."""
    with contextlib.suppress(OSError, AttributeError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@register_backend(BACKEND)
class WholeFileBackend(LocalBackend):
    """MMEngine's backend for local files, with atomic writes and delayed removals."""

    def __init__(self) -> None:
        self._delayed: list[Path] | None = None

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes atomically.

        Args:
            obj: the content.
            filepath: of the file; its folder is created.
        """
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = "utf-8") -> None:
        """Write text atomically.

        Args:
            obj: the content.
            filepath: of the file; its folder is created.
            encoding: of the file.
        """
        self.put(obj.encode(encoding), filepath)

    def remove(self, filepath: str | Path) -> None:
        """Remove a file; inside :meth:`delayed_removals`, at its end.

        Args:
            filepath: of the file.
        """
        if self._delayed is None:
            super().remove(filepath)
        else:
            self._delayed.append(Path(filepath))

    @contextlib.contextmanager
    def delayed_removals(self) -> Iterator[list[Path]]:
        """Delay removals to the end of the ``with`` block; after an error nothing is removed.

        Yields:
            The files to remove; the caller may change the list.
        """
        self._delayed = delayed = []
        try:
            yield delayed
        finally:
            self._delayed = None
        for path in delayed:
            remove(path)
