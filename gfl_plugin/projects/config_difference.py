"""What a config that inherits from another one must set."""

from __future__ import annotations

from collections.abc import Mapping


def config_difference(old: Mapping, new: Mapping) -> dict:
    """Compute the settings that turn one config into another when MMEngine merges them into it.

    Args:
        old: settings of the base; plain values, dicts, lists and tuples.
        new: settings that the inheriting config must have.

    Returns:
        The changed and added settings; with MMEngine's ``_delete_`` in a dict that loses a setting.
    """
    if set(old) - set(new):
        return {"_delete_": True, **new}
    changes = {}
    for key, value in new.items():
        if key not in old:
            changes[key] = value
        elif isinstance(value, Mapping) and isinstance(old[key], Mapping):
            if inner := config_difference(old[key], value):
                changes[key] = inner
        elif value != old[key]:
            changes[key] = value
    return changes
