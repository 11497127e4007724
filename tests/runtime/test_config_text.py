"""Config texts in files: what MMEngine writes can be read, and no code is run."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from mmengine.config import Config
from runs import ROOT

from gfl_plugin.runtime.config_text import ConfigTextError, parse, texts_are_data

CONFIGS = sorted(path for path in (ROOT / "configs").rglob("*.py") if "_base_" not in path.parts)[::4]


def test_texts_written_by_mmengine_are_read_unchanged() -> None:
    assert len(CONFIGS) > 15
    for path in CONFIGS:
        cfg = Config.fromfile(path, import_custom_modules=False)
        assert parse(cfg.pretty_text)._cfg_dict == cfg._cfg_dict, path


def test_every_kind_of_value_that_mmengine_writes() -> None:
    values = dict(
        a=[1, -2.5, None, True], b=("x", {"y.z": {1, 2}}), c={}, d=float("inf"), e="'\n\"\\", f={3: dict(g=1)}
    )
    assert parse(Config(values).pretty_text)._cfg_dict == Config(values)._cfg_dict


HOSTILE = {
    "import": "import os",
    "call": "a = __import__('os').mkdir({trace!r})",
    "call in a default": "a = dict(b=open({trace!r}, 'w'))",
    "comprehension": "a = [open({trace!r}, 'w') for x in (1,)]",
    "format": "a = f\"{{open({trace!r}, 'w')}}\"",
    "lambda": "a = (lambda: open({trace!r}, 'w'))()",
    "decorator": "@open\ndef a(): pass",
    "class": "class a(open({trace!r}, 'w')): pass",
    "walrus": "a = (b := open({trace!r}, 'w'))",
    "attribute": "a = ().__class__.__base__",
    "dict with another's items": "a = dict(**{{}})",
    "dict of a text": "a = dict('ab')",
    "star": "a = [*'ab']",
    "with": "with open({trace!r}, 'w'): pass",
    "two names": "a, b = 1, 2",
    "item": "a[0] = 1",
    "annotation": "a: open({trace!r}, 'w') = 1",
    "operator": "a = 9 ** 9 ** 9",
    "minus a text": "a = -'x'",
    "unhashable": "a = {{[]: 1}}",
    "reserved name": "filename = 'x'",
    "no Python": "a = = 1",
    "zero byte": "a = '\0'",
    "deep list": "a = " + "[" * 5000 + "]" * 5000,
    "deep parentheses": "a = " + "(" * 100_000,
    "deep minus": "a = " + "-" * 100_000 + "1",
    "deep dict": "a = " + "{{1:" * 500 + "1" + "}}" * 500,
    "long number": "a = " + "9" * 10_000,
    "long": "a = 1\n" * 1_000_000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_anything_else_is_refused_in_one_line_and_not_run(tmp_path: Path, kind: str) -> None:
    trace = tmp_path / "it_ran"
    with pytest.raises(ConfigTextError) as error:
        parse(HOSTILE[kind].format(trace=str(trace)))
    assert "\n" not in str(error.value)
    assert not trace.exists()


def test_bases_and_imports_are_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "base.py").write_text(f"made = open({str(tmp_path / 'it_ran')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    cfg = parse(f"_base_ = {str(tmp_path / 'base.py')!r}\ncustom_imports = dict(imports=['base'])\n")
    assert cfg["custom_imports"] == {"imports": ["base"]}
    assert not (tmp_path / "it_ran").exists()


def test_other_threads_and_callers_are_not_affected() -> None:
    """MMEngine's Config.fromstring still runs a user's own text in other threads and afterwards."""
    text, elsewhere = "a = 1 + 1", []
    assert Config.fromstring(text, ".py").a == 2
    with texts_are_data():
        with pytest.raises(ConfigTextError):
            Config.fromstring(text, ".py")
        thread = threading.Thread(target=lambda: elsewhere.append(Config.fromstring(text, ".py").a))
        thread.start()
        thread.join()
    assert elsewhere == [2]
    assert Config.fromstring(text, ".py").a == 2
