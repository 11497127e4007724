"""Escaping of untrusted text for printing on a terminal."""

from __future__ import annotations


def escape_unprintable(text: str) -> str:
    r"""Replace characters that :meth:`str.isprintable` rejects by escapes, such as ``\x1b`` or ``\u202e``.

    These are control characters, line breaks, characters that change the text direction, and lone surrogates.

    Args:
        text: from an untrusted file.

    Returns:
        Printable text.
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
