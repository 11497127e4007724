"""Shows the docstrings of gfl_plugin, which use a little reStructuredText, on a page of Markdown."""

from __future__ import annotations

import re

import griffe
from latex2mathml.converter import convert

_BLOCK = re.compile(r"^( *)\.\. math::(.*(?:\n(?:\1 +.*|(?= *$)))*)", re.MULTILINE)
_INLINE = re.compile(r":math:`([^`]+)`")
_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data):`~?([^`]+)`")


def to_markdown(text: str) -> str:
    """Replace what Markdown does not know.

    Args:
        text: a docstring.

    Returns:
        The docstring with formulas as MathML, which browsers draw without a script, and names instead of references.
    """
    text = _BLOCK.sub(lambda found: found[1] + _block(found[2]), text)
    # In a span, because Markdown would take a formula at the start of a line for a block.
    text = _INLINE.sub(lambda found: f"<span>{convert(_in_a_line(found[1]))}</span>", text)
    return _ROLE.sub(lambda found: f"`{found[1].rpartition('.')[2]}`", text)


def _block(formula: str) -> str:
    """A formula on a line of its own, which scrolls on a narrow screen, also with the keyboard."""
    return f'<div style="overflow-x: auto" tabindex="0">{convert(_in_a_line(formula), display="block")}</div>'


def _in_a_line(formula: str) -> str:
    return " ".join(formula.split())


class PlainDocstrings(griffe.Extension):
    """Converts each docstring when its object has been read."""

    def on_instance(self, *, obj: griffe.Object, **_: object) -> None:
        """Convert the docstring of an object.

        Args:
            obj: module, class, function or attribute.
        """
        if obj.docstring:
            obj.docstring.value = to_markdown(obj.docstring.value)
