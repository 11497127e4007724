"""Untrusted checkpoints, weights and records: no code in them is run by any route, and errors are one line."""

from __future__ import annotations

import collections
import copy
import http.server
import io
import json
import os
import pickle
import random
import subprocess
import sys
import threading
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import lines_of_errors, our_head
from mmdet.apis import DetInferencer
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader, FlexibleRunner, load_checkpoint
from mmengine.runner import checkpoint as mmengine_checkpoint
from runs import ROOT, model_config, poisoned, runner, samples
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sizes import scaled
from tool import run_tool

import gfl_plugin
from gfl_plugin.demo.dataset import DemoSize, make_dataset
from gfl_plugin.runtime.errors import CheckpointError
from gfl_plugin.runtime.publish import publish
from gfl_plugin.runtime.published_weights import read as read_published
from gfl_plugin.runtime.step_record import StepRecord

pytestmark = pytest.mark.once

read = gfl_plugin.checkpoints.read


class RunsCode:
    """An object whose unpickling creates a folder."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.trace),)


@pytest.fixture
def trace(tmp_path: Path) -> Iterator[Path]:
    """A path that code in a file would create; it must not exist after the test."""
    path = tmp_path / "it_ran"
    yield path
    assert not path.exists(), "code in a file was run"


def in_a_line(error: BaseException) -> bool:
    return "\n" not in str(error)


# ---------------------------------------------------------------------------------------------------
# All routes to a file
# ---------------------------------------------------------------------------------------------------


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A folder that a local server serves, and its address."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, directory=str(folder), **kwargs)

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()  # seconds per poll
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


SCHEMES = ["http", "torchvision", "modelzoo", "openmmlab", "open-mmlab", "openmmlab file", "mmcls"]
SCHEMES += ["s3", "petrel", "pavi"]


def address(scheme: str, name: str, folder: Path, url: str, patch: pytest.MonkeyPatch) -> str:
    """A file's address in one of MMEngine's schemes; its name tables and stores are replaced by local ones."""
    table = {name: f"{url}/{name}"}
    if scheme == "openmmlab file":
        patch.setenv("MMENGINE_HOME", str(folder))
        table = {name: name}
    for function in ("get_torchvision_models", "get_external_models", "get_mmcls_models"):
        patch.setattr(mmengine_checkpoint, function, lambda: table)
    patch.setattr(mmengine_checkpoint, "get_deprecated_model_names", dict)
    store = types.SimpleNamespace(get=lambda path: (folder / name).read_bytes())
    patch.setattr(mmengine_checkpoint, "get_file_backend", lambda *args, **kwargs: store)
    entry = types.SimpleNamespace(name=name, download=lambda to: Path(to).write_bytes((folder / name).read_bytes()))
    patch.setitem(sys.modules, "pavi", types.SimpleNamespace(modelcloud=types.SimpleNamespace(get=lambda path: entry)))
    kind = scheme.split()[0]
    return f"{url}/{name}" if kind == "http" else f"{kind}://{name}"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_reads_tensors_only(
    served: tuple[Path, str], trace: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    folder, url = served
    torch.save({"state_dict": {"backbone.x": torch.ones(2)}}, folder / "good.pth")
    torch.save({"state_dict": {"backbone.x": torch.ones(2)}, "meta": RunsCode(trace)}, folder / "bad.pth")
    (folder / "bare.pth").write_bytes(pickle.dumps(RunsCode(trace), protocol=2))
    good = CheckpointLoader.load_checkpoint(address(scheme, "good.pth", folder, url, monkeypatch))
    assert [value.tolist() for value in good["state_dict"].values()] == [[1.0, 1.0]]
    for name in ("bad.pth", "bare.pth"):
        with pytest.raises(CheckpointError, match="no code from it was run|not a PyTorch checkpoint") as error:
            CheckpointLoader.load_checkpoint(address(scheme, name, folder, url, monkeypatch))
        assert in_a_line(error.value)


def test_all_schemes_of_mmengine_are_tested() -> None:
    known = {scheme.split("://")[0].split(")?")[-1] for scheme in CheckpointLoader._schemes if scheme}
    assert known == {scheme.split()[0] for scheme in SCHEMES} | {"https"}


def test_a_failed_download_is_a_one_line_error(served: tuple[Path, str]) -> None:
    _, url = served
    with pytest.raises(CheckpointError, match="nothing.pth could not be downloaded .*404") as error:
        load_checkpoint(our_head(), f"{url}/nothing.pth")
    assert in_a_line(error.value)


def test_the_test_script_refuses_a_url(served: tuple[Path, str], trace: Path) -> None:
    folder, url = served
    torch.save({"state_dict": {}, "meta": RunsCode(trace)}, folder / "evil.pth")
    config = ROOT / "configs" / "demo" / "gfl_r18_demo.py"
    data = make_dataset(folder / "data", DemoSize(train=2, val=2, side=64))
    arguments = (config, f"{url}/evil.pth", "--work-dir", folder / "work")
    told = run_tool(ROOT / "tools" / "test.py", *arguments, GFL_DEMO_DATA=data)
    assert told.returncode == 2, told.stderr[-2000:]
    assert "Traceback" not in told.stderr
    assert "is refused, and no code from it was run" in told.stderr.splitlines()[-1]


# ---------------------------------------------------------------------------------------------------
# Configs in files
# ---------------------------------------------------------------------------------------------------


def hostile_config(trace: Path) -> str:
    return f"made = __import__('os').mkdir({str(trace)!r})\nmodel = dict(type='x')\n"


def with_meta(path: Path, **meta: object) -> Path:
    content = torch.load(path, weights_only=True)
    content["meta"].update(meta)
    torch.save(content, path)
    return path


@pytest.mark.parametrize("flexible", [False, True])
def test_resume_does_not_run_the_config_of_a_checkpoint(tmp_path: Path, trace: Path, flexible: bool) -> None:
    kind = FlexibleRunner if flexible else None
    runner(tmp_path, samples(1), []).train()
    path = with_meta(tmp_path / "epoch_1.pth", config=hostile_config(trace))
    with pytest.raises(CheckpointError, match="no code from it was run: the config text contains a Call") as error:
        runner(tmp_path, samples(1), [], epochs=2, load_from=str(path), resume=True, kind=kind).train()
    assert in_a_line(error.value)
    with_meta(path, config="gpu_ids = range(0, 1)\n")
    with pytest.raises(CheckpointError, match="contains a Call in line 1"):
        runner(tmp_path, samples(1), [], epochs=2, load_from=str(path), resume=True, kind=kind).train()
    with_meta(path, config="model = dict(type='x')\ngpu_ids = [0]\n")
    runner(tmp_path, samples(1), [], epochs=2, load_from=str(path), resume=True, kind=kind).train()
    assert (tmp_path / "epoch_2.pth").exists()


def test_a_training_with_milestones_is_resumed(tmp_path: Path) -> None:
    """Its checkpoints contain a Counter, in which MMEngine's MultiStepLR stores milestones."""

    def train(folder: str, epochs: int, **settings: object) -> dict:
        schedule = dict(type="MultiStepLR", milestones=[1, 2], gamma=0.5, by_epoch=True, end=9)
        runner(tmp_path / folder, samples(1), [], epochs=epochs, param_scheduler=[schedule], **settings).train()
        return read(tmp_path / folder / f"epoch_{epochs}.pth")["param_schedulers"][0]

    expected = train("whole", 3)
    train("resumed", 1)
    assert train("resumed", 3, load_from=str(tmp_path / "resumed" / "epoch_1.pth"), resume=True) == expected
    assert expected["milestones"] == {1: 1, 2: 1} and expected["_last_value"] == [0.01 * 0.5**2]


@pytest.mark.parametrize("argument", [[("a", 1)], "abc", None])
def test_a_counter_of_anything_else_is_refused(tmp_path: Path, argument: object) -> None:
    path = tmp_path / "counter.pth"
    torch.save({"state_dict": {}, "meta": {"x": Calls(collections.Counter, argument)}}, path)
    with pytest.raises(CheckpointError, match="collections.Counter for an object that is not a dict"):
        read(path)


def test_resume_from_weights_only_is_a_clear_error(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="contains weights, but no training state to resume") as error:
        runner(tmp_path, samples(1), [], load_from=str(tmp_path / "weights.pth"), resume=True).train()
    assert in_a_line(error.value)


def released(folder: Path, config: str) -> Path:
    """Publish a model's weights with a config."""
    model = gfl_plugin.registry.MODELS.build(model_config())
    meta = dict(cfg=config, dataset_meta={"classes": [str(number) for number in range(10)]})
    torch.save({"state_dict": model.state_dict(), "meta": meta, "message_hub": {}}, folder / "model.pth")
    return publish(folder / "model.pth", folder)


def inferencer_config() -> str:
    pipeline = [dict(type="LoadImageFromFile"), dict(type="Resize", scale=(96, 96)), dict(type="PackDetInputs")]
    dataset = dict(type="CocoDataset", pipeline=pipeline)
    model, loader = model_config(), dict(dataset=dataset)
    visualizer = dict(type="DetLocalVisualizer", name="visualizer")
    return f"model = {model!r}\ntest_dataloader = {loader!r}\nvisualizer = {visualizer!r}\n"


@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_an_inferencer_does_not_use_the_embedded_config(tmp_path: Path, trace: Path, kind: str) -> None:
    """Not even if it is plain data, because any function can be named as a type."""
    for config in (hostile_config(trace), f"model = dict(type='os.mkdir', path={str(trace)!r})\n"):
        weights = released(tmp_path, config) if kind == "safetensors" else tmp_path / "model.pth"
        if kind == "pth":
            released(tmp_path, config)
        with pytest.raises(CheckpointError, match="the config in the file is not used.*embedded_config") as error:
            DetInferencer(weights=str(weights), device="cpu", show_progress=False)
        assert in_a_line(error.value)
    with pytest.raises(CheckpointError, match="contains a Call in line 1"):
        gfl_plugin.embedded_config(str(released(tmp_path, hostile_config(trace))))


def test_an_inferencer_uses_the_embedded_config_if_it_is_passed(tmp_path: Path) -> None:
    weights = str(released(tmp_path, inferencer_config()))
    inferencer = DetInferencer(
        model=gfl_plugin.embedded_config(weights), weights=weights, device="cpu", show_progress=False
    )
    (found,) = inferencer(np.zeros((96, 96, 3), np.uint8), no_save_vis=True)["predictions"]
    assert found.keys() >= {"bboxes", "labels", "scores"}
    assert inferencer.model.dataset_meta["classes"][3] == "3"


# ---------------------------------------------------------------------------------------------------
# Records
# ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("record")
    runner(folder, poisoned(samples(2), 0), [dict(type="gfl_plugin.NonFiniteGuardHook")]).train()
    return folder / "non_finite" / "iter_1_rank_0.pth"


def replay(*arguments: object) -> subprocess.CompletedProcess:
    return run_tool(ROOT / "tools" / "replay.py", *arguments)


def test_replay_does_not_run_the_config_of_a_record(record: Path, tmp_path: Path, trace: Path) -> None:
    content = torch.load(record, weights_only=True)
    evil = {**content, "config": hostile_config(trace)}
    torch.save(evil, tmp_path / "evil.pth")
    torch.save({**content, "config": f"model = dict(type='os.mkdir', path={str(trace)!r})\n"}, tmp_path / "built.pth")
    for arguments, why in (
        ([tmp_path / "evil.pth"], "pass the config of the training"),
        ([tmp_path / "built.pth"], "pass the config of the training"),
        ([tmp_path / "evil.pth", "--trust"], "contains a Call in line 1"),
    ):
        told = replay(*arguments)
        assert told.returncode == 2
        assert "not finite" not in told.stdout
        (line,) = lines_of_errors(told.stderr)
        assert why in line


def test_replay_with_a_config_of_the_users_own(record: Path, tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text(f"model = {model_config()!r}\n")
    told = replay(record, tmp_path / "config.py")
    assert told.returncode == 1, told.stderr
    assert "not finite; first: data_preprocessor" in told.stdout


def test_damaged_records_are_one_line_errors(record: Path, tmp_path: Path) -> None:
    content = torch.load(record, weights_only=True)
    path = tmp_path / "record.pth"
    wrong = {"config": 3, "iteration": "x", "state_dict": [], "batch": None, "losses": {}}
    for change in [{key: value} for key, value in wrong.items()] + [{"more": 1}, {"kind": "other"}]:
        torch.save({**content, **change}, path)
        with pytest.raises(CheckpointError) as error:
            StepRecord.load(path)
        assert in_a_line(error.value) and str(path) in str(error.value)
    for key in content:
        torch.save({name: value for name, value in content.items() if name != key}, path)
        with pytest.raises(CheckpointError):
            StepRecord.load(path)
    path.write_bytes(record.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="truncated"):
        StepRecord.load(path)
    cfg = tmp_path / "config.py"
    cfg.write_text(f"model = {model_config()!r}\n")
    for change in (dict(batch={}), dict(random_state={}), dict(state_dict={})):
        torch.save({**content, **change}, path)
        told = replay(path, cfg)
        assert (told.returncode, len(lines_of_errors(told.stderr))) == (2, 1), told.stderr


# ---------------------------------------------------------------------------------------------------
# Published weights
# ---------------------------------------------------------------------------------------------------


def rewritten(path: Path, out: Path, **changes: str) -> Path:
    """The same tensors with other metadata."""
    with safe_open(str(path), framework="pt") as file:
        about = {**file.metadata(), **changes}
    save_file(load_file(str(path)), str(out), {key: value for key, value in about.items() if value is not None})
    return out


@pytest.mark.parametrize("change", [dict(config="model = dict(type='y')\n"), dict(dataset_meta="{}"), dict(source="")])
def test_the_hash_covers_config_and_classes(tmp_path: Path, change: dict) -> None:
    path = released(tmp_path, "model = dict(type='x')\n")
    assert read(path)["meta"]["cfg"] == "model = dict(type='x')\n"
    with pytest.raises(CheckpointError, match="was changed after it was written"):
        read(rewritten(path, tmp_path / "changed.safetensors", **change))


def test_an_older_files_config_is_not_used(tmp_path: Path) -> None:
    """The hash of the first format does not cover the config, so it may have been replaced."""
    from gfl_plugin.runtime.published_weights import _hash_of_weights

    path = released(tmp_path, "model = dict(type='x')\n")
    sha256 = _hash_of_weights(load_file(str(path)))
    old = rewritten(path, tmp_path / "old.safetensors", format="gfl_plugin.weights.1", sha256=sha256)
    content = read(old)
    assert content["meta"] == {}
    assert content["state_dict"].keys() == read(path)["state_dict"].keys()
    with pytest.raises(CheckpointError, match="the format .gfl_plugin.weights.3."):
        read(rewritten(path, tmp_path / "new.safetensors", format="gfl_plugin.weights.3"))
    with pytest.raises(CheckpointError, match="the format None"):
        read(rewritten(path, tmp_path / "none.safetensors", format=None))


@pytest.mark.parametrize("text", ["{", "[1]", "null", "[" * 100_000, '{"classes": NaN'])
def test_broken_safetensors_metadata_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    path = released(tmp_path, "")
    changed = rewritten(path, tmp_path / "changed.safetensors", dataset_meta=text)
    monkeypatch.setattr("gfl_plugin.runtime.published_weights.hash_of", lambda weights, about: about["sha256"])
    with pytest.raises(CheckpointError, match="dataset_meta") as error:
        read_published(changed)
    assert in_a_line(error.value)


def test_damaged_safetensors_are_one_line_errors(tmp_path: Path) -> None:
    whole = released(tmp_path, "").read_bytes()
    path, chance = tmp_path / "damaged.safetensors", random.Random(0)
    for _ in range(200):
        content = bytearray(whole[: chance.choice([len(whole), chance.randrange(1, len(whole))])])
        for _ in range(chance.choice([1, 4])):
            content[chance.randrange(min(len(content), 4000))] = chance.randrange(256)
        if bytes(content) == whole:
            continue
        path.write_bytes(content)
        try:
            read(path)
        except CheckpointError as error:
            assert in_a_line(error)
        else:  # the header has the same meaning (such as one more space), or that of another program's file
            assert read_published(path)["meta"] == {} or json.loads(whole[8 : whole.index(b"}}")] + b"}}")


# ---------------------------------------------------------------------------------------------------
# Pickles
# ---------------------------------------------------------------------------------------------------


class CraftedDtype:
    """A dtype of plain numbers whose field lies a thousand bytes after each number."""

    def __reduce__(self) -> tuple:
        fields = {"a": (np.dtype("f8"), 1000)}
        return np.dtype, ("f8", False, True), (3, "<", None, ("a",), fields, 8, 8, 0)


class CraftedArray:
    def __init__(self, shape: object, dtype: object, data: object) -> None:
        self.state = (1, shape, dtype, False, data)

    def __reduce__(self) -> tuple:
        return np.zeros(0).__reduce__()[0], (np.ndarray, (0,), b"b"), self.state


class Calls:
    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.call


F8 = np.dtype("f8")
CRAFTED = {
    "dtype": CraftedDtype(),
    "array of it": CraftedArray((2,), CraftedDtype(), bytes(16)),
    "too few bytes": CraftedArray((1 << 40,), F8, bytes(8)),
    "negative shape": CraftedArray((-1,), F8, bytes(8)),
    "text for bytes": CraftedArray((1,), F8, "12345678"),
    "objects": CraftedArray((1,), np.dtype("O"), [None]),
    "array by its class": Calls(np.ndarray, (1 << 20,), "f8"),
    "records": np.zeros(2, [("a", "f8")]),
    "texts": np.array(["a"]),
    "scalar": Calls(np.float64(1).__reduce__()[0], F8, b"123"),
    "bytes of a number": Calls(bytes, 1 << 40),
}


@pytest.mark.parametrize("what", CRAFTED)
def test_crafted_numpy_objects_are_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "crafted.pth"
    torch.save({"state_dict": {}, "meta": {"x": CRAFTED[what]}}, path)
    with pytest.raises(CheckpointError) as error:
        read(path)
    assert in_a_line(error.value)


def test_ordinary_numpy_objects_are_read_unchanged(tmp_path: Path) -> None:
    arrays = [np.arange(6).reshape(2, 3), np.asfortranarray(np.ones((2, 3))), np.zeros((0, 3), np.float16)]
    arrays += [np.array(True), np.arange(3, dtype=">f4"), np.arange(3, dtype=np.uint8)]
    numbers = [np.float64(1.5), np.int32(4), np.bool_(True), np.float32(2)]
    buffer = HistoryBuffer([1.0, 2.5], [1, 1])
    path = tmp_path / "ordinary.pth"
    content = dict(arrays=arrays, numbers=numbers, buffer=buffer)
    for _ in range(2):  # the second time with objects that were read, as in a resumed training
        torch.save(content, path)
        content = read(path)
    for one, other in zip(arrays, content["arrays"]):
        assert np.array_equal(one, other) and one.dtype.newbyteorder("=") == other.dtype.newbyteorder("=")
        assert one.flags.f_contiguous == other.flags.f_contiguous and other.flags.writeable
        assert type(copy.copy(other) + 0) is not type(None)
    assert [(type(one), one) for one in content["numbers"]] == [(type(one), one) for one in numbers]
    assert content["buffer"].mean() == 1.75
    torch.save(np.asarray(content["arrays"][0]), path)


@pytest.mark.parametrize("names", [("numpy.core", "numpy._core"), ("numpy._core", "numpy.core")], ids=["of 1", "of 2"])
def test_arrays_and_numbers_of_the_other_numpy_load(tmp_path: Path, names: tuple[str, str]) -> None:
    """NumPy 1 and NumPy 2 write the same functions with different module names, which differ in length."""
    wanted, other = names
    path = tmp_path / "checkpoint.pth"
    content = {"array": np.arange(3.0), "number": np.float64(1.5), "buffer": HistoryBuffer([1.0, 2.5], [1, 1])}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    line = {name: f"c{name}.multiarray\n".encode() for name in names}  # format of pickle's opcode GLOBAL
    written = path.read_bytes().replace(line[other], line[wanted])
    assert line[wanted] in written and line[other] not in written
    path.write_bytes(written)
    for loaded in (read(path), torch.load(path, weights_only=True)):
        assert loaded["array"].tolist() == [0, 1, 2] and loaded["number"] == 1.5
        assert loaded["buffer"].data[0].tolist() == [1.0, 2.5]


def test_a_users_choice_to_load_everything_is_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, load in enumerate((torch.load, read, lambda path: CheckpointLoader.load_checkpoint(str(path)))):
        made, path = tmp_path / str(number), tmp_path / f"{number}.pth"
        torch.save({"state_dict": {}, "made": RunsCode(made)}, path)
        monkeypatch.delenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", raising=False)
        with pytest.raises(Exception, match="GLOBAL posix.mkdir"):
            load(path)
        assert not made.exists()
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
        load(path)
        assert made.exists()


def test_this_choice_gives_one_warning() -> None:
    environment = {**os.environ, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    told = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "import gfl_plugin"], capture_output=True, text=True, env=environment
    )
    assert (told.stdout + told.stderr).count("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is set") == 1


def checkpoint_bytes() -> bytes:
    content = io.BytesIO()
    meta = dict(epoch=1, iter=2, cfg="a = 1\n", time="20261124_120000", best=np.float64(0.5))
    hub = dict(log_scalars={"loss": HistoryBuffer([1.0], [1])}, runtime_info={"x": np.arange(3)})
    torch.save(dict(meta=meta, state_dict={"w": torch.arange(64.0)}, message_hub=hub, optimizer={}), content)
    return content.getvalue()


def said(value: object) -> object:
    """The content of a checkpoint as comparable values."""
    if isinstance(value, dict):
        return {key: said(item) for key, item in value.items()}
    if isinstance(value, HistoryBuffer):
        return [array.tolist() for array in value.data]
    return value.tolist() if hasattr(value, "tolist") else value


@pytest.mark.scaled
def test_a_flipped_byte_is_found(tmp_path: Path) -> None:
    """The file is refused with a one-line error, or read unchanged: some bytes of a zip file have no meaning."""
    whole, path = checkpoint_bytes(), tmp_path / "flipped.pth"
    path.write_bytes(whole)
    before, refused = read(path), 0
    positions = range(0, len(whole), max(1, len(whole) // scaled(300)))
    for position in positions:
        content = bytearray(whole)
        content[position] ^= 0xFF
        path.write_bytes(content)
        torch.full((64,), 7.0)  # else memory that PyTorch does not fill could contain the right numbers by chance
        try:
            after = read(path)
        except CheckpointError as error:
            assert in_a_line(error)
            refused += 1
        else:
            assert said(before) == said(after), f"byte {position} changed the checkpoint without an error"
    assert refused > len(positions) / 4


def mutated(content: bytes, chance: random.Random) -> bytes:
    """A pickle with bytes replaced, deleted, duplicated or inserted."""
    content = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 5])):
        place = chance.randrange(len(content))
        kind = chance.randrange(4)
        if kind == 0:
            content[place] = chance.randrange(256)
        elif kind == 1:
            del content[place : place + chance.randrange(1, 9)]
        elif kind == 2:
            content[place:place] = content[chance.randrange(len(content)) :][: chance.randrange(1, 33)]
        else:
            content[place:place] = bytes([chance.choice(b"cRoib}q)t\x93\x81\x85]e(0.N")])
        content = content or bytearray(b".")
    return bytes(content)


MUTATIONS = scaled(300)


@pytest.mark.scaled
def test_mutated_pickles_are_read_or_refused_in_one_line(tmp_path: Path, trace: Path) -> None:
    whole, path, chance = checkpoint_bytes(), tmp_path / "mutated.pth", random.Random(7)
    with zipfile.ZipFile(io.BytesIO(whole)) as parts:
        names = parts.namelist()
        (pickled,) = [name for name in names if name.endswith("data.pkl")]
        content = {name: parts.read(name) for name in names}
    refused = 0
    for _ in range(MUTATIONS):
        with zipfile.ZipFile(path, "w") as out:  # with correct checksums
            for name in names:
                out.writestr(name, mutated(content[name], chance) if name == pickled else content[name])
        try:
            assert isinstance(read(path), dict)
        except CheckpointError as error:
            assert in_a_line(error)
            refused += 1
    assert refused > MUTATIONS / 2
