"""Text from files of other people, made safe to print on a terminal."""

from __future__ import annotations


def escape_unprintable(text: str) -> str:
    r"""Replace what :meth:`str.isprintable` does not accept by its escape, such as ``\x1b`` or ``\u202e``.

    These are control characters, line breaks, characters that change the direction of text, and lone surrogates.
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
