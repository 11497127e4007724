"""Untrusted checkpoints: no code in them is run, and errors are one line."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cases import lines_of_errors, our_head
from mmengine.runner import load_checkpoint

from gfl_plugin.runtime.checkpoints import read
from gfl_plugin.runtime.errors import CheckpointError
from gfl_plugin.runtime.publish import publish

ROOT = Path(__file__).resolve().parents[2]


class RunsCode:
    """An object whose unpickling writes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return Path.touch, (self.trace,)


def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path: Path) -> None:
    trace, bad = tmp_path / "it_ran", tmp_path / "bad.pth"
    head = our_head()
    torch.save({"state_dict": head.state_dict(), "meta": RunsCode(trace)}, bad)
    pickle.loads(pickle.dumps(RunsCode(trace)))  # without protection, reading runs the code
    assert trace.exists()
    trace.unlink()
    for load in (lambda: read(str(bad)), lambda: load_checkpoint(head, str(bad))):
        with pytest.raises(CheckpointError, match="is refused, and no code from it was run"):
            load()
    with pytest.raises(CheckpointError, match="is refused"):
        publish(bad)
    assert not trace.exists()


def test_a_bare_pickle_is_refused(tmp_path: Path) -> None:
    """A pickle that is not in PyTorch's zip format is refused before it is unpickled."""
    trace, bad = tmp_path / "it_ran", tmp_path / "bad.pth"
    bad.write_bytes(pickle.dumps(RunsCode(trace), protocol=2))
    with pytest.raises(CheckpointError):
        read(str(bad))
    assert not trace.exists()


@pytest.mark.parametrize("kind", ["empty", "truncated", "text", "picture", "list"])
def test_other_files_are_one_line_errors(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": our_head().state_dict()}, path)
    whole = path.read_bytes()
    if kind == "list":
        torch.save([torch.zeros(3)], path)
    else:
        content = {
            "empty": b"",
            "truncated": whole[: len(whole) // 2],
            "text": b"<!DOCTYPE html><html>404</html>",
            "picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
        }[kind]
        path.write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(our_head(), str(path))
    message = str(error.value)
    assert str(path) in message
    assert "\n" not in message
    assert {"empty": "is empty", "list": "contains a list"}.get(kind, "not a PyTorch checkpoint") in message
    with pytest.raises(FileNotFoundError, match="checkpoint not found"):
        read(str(tmp_path / "nothing.pth"))


def trained(path: Path) -> torch.nn.Module:
    head = our_head()
    meta = dict(epoch=3, iter=30, cfg="model = dict(type='x')\n", dataset_meta={"classes": ("a", "b"), "palette": None})
    content = dict(meta=meta, state_dict=head.state_dict(), optimizer={"state": {}}, message_hub={})
    torch.save(content, path)
    return head


def test_published_weights_are_equal_and_load_without_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = trained(tmp_path / "epoch_3.pth")
    out = publish(tmp_path / "epoch_3.pth", tmp_path / "released")
    assert out.parent.name == "released"
    assert re.fullmatch(r"epoch_3-[0-9a-f]{8}\.safetensors", out.name)
    assert publish(tmp_path / "epoch_3.pth", tmp_path / "released") == out  # the same bytes again are not an error
    monkeypatch.setattr(pickle, "Unpickler", None)
    monkeypatch.setattr(torch, "load", None)
    other = our_head()
    loaded = load_checkpoint(other, str(out), strict=True)
    for name, value in head.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    assert loaded["meta"]["dataset_meta"] == {"classes": ["a", "b"], "palette": None}
    assert loaded["meta"]["cfg"].startswith("model")


def test_changed_weights_are_an_error(tmp_path: Path) -> None:
    trained(tmp_path / "epoch_3.pth")
    out = publish(tmp_path / "epoch_3.pth")
    content = bytearray(out.read_bytes())
    content[-3] ^= 1
    out.write_bytes(content)
    with pytest.raises(CheckpointError, match="was changed after it was written"):
        read(str(out))
    with pytest.raises(FileExistsError, match="with other content"):
        publish(tmp_path / "epoch_3.pth")
    out.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="truncated or not a safetensors"):
        read(str(out))


def test_the_tool(tmp_path: Path) -> None:
    trained(tmp_path / "epoch_3.pth")
    command = [sys.executable, "-W", "ignore", ROOT / "tools" / "publish_model.py"]
    told = subprocess.run([*command, tmp_path / "epoch_3.pth"], capture_output=True, text=True, timeout=120)
    assert told.returncode == 0, told.stderr
    (out,) = tmp_path.glob("*.safetensors")
    assert told.stdout == f"wrote {out}\n"
    header = json.loads(out.read_bytes()[8 : 8 + int.from_bytes(out.read_bytes()[:8], "little")])
    assert header["__metadata__"]["config"] == "model = dict(type='x')\n"
    told = subprocess.run([*command, tmp_path / "nothing.pth"], capture_output=True, text=True, timeout=120)
    assert (told.returncode, len(lines_of_errors(told.stderr))) == (2, 1), told.stderr
