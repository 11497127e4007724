"""Settings that are written as the text of a config are the same when it is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mmengine.config import Config

from gfl_plugin.projects.config_writer import as_code

PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
SETTINGS = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=8) | st.sampled_from(["type", "class", "a{b}", "x.{0}"]), inner, max_size=4)
        | st.dictionaries(st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


@example(value={"a{b}": 1, "x": {"{0}": ["{}"]}})
@example(value={"\ufb01": 1})  # one letter, fi
@example(value=[float("inf"), -float("inf"), float("nan")])
@given(value=SETTINGS)
def test_the_code_of_a_value_gives_the_value(value: object) -> None:
    assert repr(eval(as_code(value), {})) == repr(value)  # nan is not equal to itself


@pytest.mark.once
def test_a_config_with_infinity_loads(tmp_path: Path) -> None:
    path = tmp_path / "config.py"
    path.write_text(f"ranges = {as_code([(-1, 64), (64, float('inf'))])}\n")
    assert Config.fromfile(path).ranges == [(-1, 64), (64, float("inf"))]
