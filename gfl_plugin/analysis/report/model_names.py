"""Short names of the models of a report, each different from the others."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePath

from .report_content import BOTH, NEITHER


def model_names(pairs: Sequence[tuple[str, Path]]) -> list[str]:
    """Name models after their configs; where these have the same name, after what differs in the paths.

    Args:
        pairs: config and checkpoint of each model.

    Returns:
        One name per model. With ``gaussian/seed_0/config.py`` and ``dirac/seed_0/config.py``: ``gaussian``, ``dirac``.
    """
    configs = [PurePath(config).with_suffix("").parts for config, _ in pairs]
    both = [(*parts, *checkpoint.with_suffix("").parts) for parts, (_, checkpoint) in zip(configs, pairs)]
    for names in ([parts[-1] for parts in configs], _differing(configs), _differing(both)):
        if len({*names, "", BOTH, NEITHER}) == len(names) + 3:  # Comparison.found has these keys besides the names
            return names
    return [f"{parts[-1]} ({number})" for number, parts in enumerate(configs, start=1)]


def _differing(paths: Sequence[tuple[str, ...]]) -> list[str]:
    """The parts of each path that are not the same in all of them, counted from the end."""
    length = max(map(len, paths))
    columns = zip(*(("",) * (length - len(parts)) + parts for parts in paths))
    kept = [column for column in columns if len(set(column)) > 1]
    return ["/".join(filter(None, parts)) for parts in zip(*kept)] or [""] * len(paths)


def folder_names(names: Sequence[str]) -> list[str]:
    """Names of folders for models.

    Args:
        names: of the models.

    Returns:
        The names without characters that are not allowed in names of files, each different from the others.
    """
    plain = [re.sub(r"[^\w.-]+", "_", name).strip("._") or "model" for name in names]
    return (
        plain
        if len({one.lower() for one in plain}) == len(plain)
        else [f"{i + 1}_{one}" for i, one in enumerate(plain)]
    )
