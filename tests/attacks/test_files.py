"""Hostile checkpoints, weights, records and folders: named, from a grammar, and random.

Files are read in child processes (reader.py). Each must be read or refused with a one-line error; no process may
crash, hang, exhaust memory, run code, or raise another error. GFL_ATTACK_CASES is the number of random cases per
kind.
"""

from __future__ import annotations

import collections
import contextlib
import io
import json
import os
import random
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from attacks import archives, pickles
from attacks.archives import archive
from attacks.pickles import call, checkpoint, fields, group, name, number, text
from cases import our_head
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader, load_checkpoint
from runs import runner, samples
from safetensors.torch import save as save_safetensors
from torch.utils.data import DataLoader

import gfl_plugin
from gfl_plugin.runtime.errors import CheckpointError
from gfl_plugin.runtime.publish import publish
from gfl_plugin.runtime.published_weights import FORMAT, hash_of

CASES = int(os.environ.get("GFL_ATTACK_CASES", 100))
SEED = int(os.environ.get("GFL_ATTACK_SEED", 1))
READER = Path(__file__).with_name("reader.py")
SECONDS, MEGABYTES = 2, 1500  # CPU time and memory of a case, without imports
FINE = ("read", "line", "missing")


def results_of(cases: Sequence[tuple[str, Path]], folder: Path, seconds: float = SECONDS) -> list[str]:
    """The result of each [route, file]."""
    todo, done = folder / "cases.json", folder / "results.json"
    todo.write_text(json.dumps([[route, str(path)] for route, path in cases]))
    command = [sys.executable, "-W", "ignore", READER, todo, done, seconds, MEGABYTES]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*map(str, command)], env=environment, check=True, capture_output=True)
    results = json.loads(done.read_text())
    assert len(results) == len(cases)
    return results


# ---------------------------------------------------------------------------------------------------
# Named files
# ---------------------------------------------------------------------------------------------------

EXPANDED = pickles.tensor((1 << 29,), (0,))  # four bytes, expanded to a tensor of 2 GB
DEVICE = "torch._utils._rebuild_device_tensor_from_"
BIG = "A" * (48 << 20)
NEG = call(
    pickles.TENSOR, pickles.storage("0", 16, "torch.QInt8Storage"), number(0), group(number(3)), group(number(1)),
    pickles.FALSE, call(pickles.ORDERED), pickles.items((text("neg"), pickles.TRUE)),
)  # fmt: skip


def twice(content: str) -> bytes:
    """An array, a tensor that shares its memory, and the array's state a second time."""
    array = pickles.built(pickles.empty_array(), pickles.array_state(content, (len(content) // 8,))) + b"q\x05"
    tensor = call(DEVICE + "numpy", b"h\x05", name("torch.float64"), text("cpu"), pickles.FALSE) + b"q\x06"
    again = pickles.built(b"h\x05", pickles.array_state())
    copy = call(DEVICE + "cpu_tensor", b"h\x06", name("torch.float32"), text("cpu"), pickles.FALSE)
    return checkpoint(meta=fields(array=array, tensor=tensor, again=again, copy=copy))


def of_meta(**meta: bytes) -> bytes:
    return archive(checkpoint(fields(w=pickles.tensor()), fields(epoch=number(1), **meta)))


def saved(content: object) -> bytes:
    out = io.BytesIO()
    torch.save(content, out)
    return out.getvalue()


def weights_of(weights: object, **meta: object) -> bytes:
    return saved({"state_dict": {"w": weights}, "meta": meta})


def with_neg_alignment() -> bytes:
    more = {".format_version": b"1", ".storage_alignment": b"0"}
    return archive(checkpoint(fields(w=pickles.tensor(), v=pickles.tensor(of=pickles.storage("2", 16)))), **more)


ROUND: dict = {}
ROUND["x"] = ROUND
FLOATS = torch.ones(2)

# name: route, content, reason of an expected failure
FILES: dict[str, tuple[str, Callable[[], bytes], str | None]] = {
    "ordinary": ("walk", lambda: archive(archives.PLAIN), None),
    "bytearray of 1.2 GB": ("read", lambda: of_meta(x=call("builtins.bytearray", number(1_200_000_000))), None),
    "expanded tensor made dense": (
        "read",
        lambda: of_meta(x=call(DEVICE + "cpu_tensor", EXPANDED, name("torch.float16"), text("cpu"), pickles.FALSE)),
        None,
    ),
    "quantized tensor without a quantizer, negated": ("walk", lambda: of_meta(x=NEG), None),
    "numpy array with its state twice": ("read", lambda: archive(twice(BIG), method=zipfile.ZIP_DEFLATED), None),
    "tuple in a tuple as a key": ("read", lambda: of_meta(x=pickles.items((pickles.nested(1_000_000), b"N"))), None),
    "doubled tuple as a key": ("read", lambda: of_meta(x=pickles.items((pickles.doubled(60), b"N"))), None),
    "doubled tuple as a dtype": ("read", lambda: of_meta(x=call("numpy.dtype", pickles.doubled(40))), None),
    "doubled tuple as an owner": (
        "read",
        lambda: of_meta(x=call("builtins.getattr", pickles.doubled(40), text("min"))),
        None,
    ),
    "doubled tuple as a function": ("read", lambda: of_meta(x=pickles.doubled(40) + b")R"), None),
    "doubled tuple as a time": ("choose", lambda: archive(checkpoint(meta=fields(time=pickles.doubled(40)))), None),
    "doubled tuple as a value": ("read", lambda: of_meta(x=pickles.doubled(200)), None),
    "tuple in a tuple as a value": ("read", lambda: of_meta(x=pickles.nested(100_000)), None),
    "PyTorch's words": (
        "cpu",
        lambda: of_meta(x=pickles.tensor(of=pickles.storage("Attempting to deserialize object on \x1b[2J\n"))),
        None,
    ),
    "dict without its methods": ("read", lambda: archive(pickles.pickle_of(pickles.ordered_with(get=number(3)))), None),
    "weights without their methods": (
        "publish",
        lambda: archive(checkpoint(pickles.ordered_with(items=number(3)))),
        None,
    ),
    "parameter without its methods": (
        "publish",
        lambda: archive(checkpoint(fields(w=pickles.parameter_with(detach=number(3))))),
        None,
    ),
    "alignment of 0": ("walk", with_neg_alignment, None),
    "storage of another length": (
        "walk",
        lambda: of_meta(x=pickles.tensor((1 << 20,), of=pickles.storage("0", 1 << 20))),
        None,
    ),
    "tensor beyond its storage": ("walk", lambda: of_meta(x=pickles.tensor((1 << 20,))), None),
    "negative stride": ("walk", lambda: of_meta(x=pickles.tensor((4,), (-1,), 3)), None),
    "strides that overflow": ("walk", lambda: of_meta(x=pickles.tensor((2, 2), (2**62, 2**62))), None),
    "text of 1 GB": (
        "read",
        lambda: archive(pickles.pickle_of(fields(x=text("A" * (1 << 30)))), method=zipfile.ZIP_DEFLATED),
        None,
    ),
    "TorchScript": ("read", lambda: archive(archives.PLAIN, **{"constants.pkl": b"\x80\x02)."}), None),
    "older than zip, evil": ("read", lambda: b"\x80\x02cposix\nsystem\nX\x04\0\0\0true\x85R.", None),
    "tar": ("read", lambda: b"storages" + bytes(92) + b"0000644\0" * 3 + bytes(388), None),
    "config is a tensor": ("config", lambda: saved({"state_dict": {}, "meta": {"cfg": FLOATS}}), None),
    "config is an array": ("config", lambda: saved({"state_dict": {}, "meta": {"cfg": FLOATS.numpy()}}), None),
    "published: meta tensor": ("publish", lambda: weights_of(FLOATS.to("meta")), None),
    "published: sparse tensor": ("publish", lambda: weights_of(FLOATS.to_sparse()), None),
    "published: complex of halves": ("publish", lambda: weights_of(FLOATS.to(torch.complex32)), None),
    "published: expanded tensor": (
        "publish",
        lambda: archive(checkpoint(fields(w=pickles.tensor((1 << 40,), (0,))))),
        None,
    ),
    "published: tensor as epoch": ("publish", lambda: weights_of(FLOATS, epoch=FLOATS), None),
    "published: tuple as key": ("publish", lambda: weights_of(FLOATS, dataset_meta={(1, 2): 3}), None),
    "published: dict in itself": ("publish", lambda: weights_of(FLOATS, dataset_meta=ROUND), None),
    "published: lone surrogate in the config": ("publish", lambda: weights_of(FLOATS, cfg="\ud800"), None),
    "published: lone surrogate in a name": ("publish", lambda: saved({"state_dict": {"w\ud800": FLOATS}}), None),
    "published: name __metadata__": ("publish", lambda: saved({"state_dict": {"__metadata__": FLOATS}}), None),
    "published: doubled config": ("publish", lambda: of_meta(cfg=pickles.doubled(40)), None),
    "published: doubled classes": ("publish", lambda: of_meta(dataset_meta=fields(x=pickles.doubled(40))), None),
}  # fmt: skip


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The result of each named file."""
    folder, cases = tmp_path_factory.mktemp("named"), []
    for place, (route, content, _) in enumerate(FILES.values()):
        path = folder / str(place) / "file.pth"
        path.parent.mkdir()
        path.write_bytes(content())
        cases.append((route, path))
    results = results_of(cases, folder, seconds=0.8)
    return dict(zip(FILES, results))


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(what, marks=pytest.mark.xfail(strict=True, reason=why)) if why else what
        for what, (_, _, why) in FILES.items()
    ],
)
def test_a_hostile_file_is_read_or_refused_in_one_line(told: dict[str, str], what: str) -> None:
    assert told[what] in FINE


def test_reading_a_file_changes_nothing_in_the_process(tmp_path: Path) -> None:
    """This holds even if the file is refused afterwards."""
    methods = fields(statistics_methods=fields(mean=name("builtins.bytearray")))
    hub = fields(x=pickles.built(call(pickles.HISTORY), methods))
    (tmp_path / "x.pth").write_bytes(archive(checkpoint(message_hub=hub)))
    before = dict(HistoryBuffer._statistics_methods)
    try:
        with contextlib.suppress(CheckpointError):
            gfl_plugin.checkpoints.read(tmp_path / "x.pth")
        assert HistoryBuffer._statistics_methods == before
    finally:
        HistoryBuffer._statistics_methods.clear()
        HistoryBuffer._statistics_methods.update(before)


@pytest.mark.parametrize("hook", ["CheckpointHook", "gfl_plugin.WholeCheckpointHook"])
@pytest.mark.parametrize("kind", ["file"] if CASES < 1000 else ["file", "folder"])
def test_a_resumed_checkpoint_removes_no_file_elsewhere(tmp_path: Path, hook: str, kind: str) -> None:
    class Score(BaseMetric):
        def process(self, batch: object, results: object) -> None:
            self.results.append(1)

        def compute_metrics(self, results: list) -> dict:
            return {"score": 1.0}

    precious = tmp_path / "precious" / "file"
    precious.parent.mkdir()
    precious.write_text("")
    runner(tmp_path / "run", samples(1), []).train()
    path = tmp_path / "run" / "epoch_1.pth"
    content = torch.load(path, weights_only=True)
    best = precious if kind == "file" else precious.parent
    content["message_hub"]["runtime_info"].update(best_ckpt=str(best), best_score=0.0)
    content["message_hub"]["resumed_keys"].update(best_ckpt=True, best_score=True)
    torch.save(content, path)
    runner(
        tmp_path / "run", samples(1), [], epochs=2, load_from=str(path), resume=True,
        default_hooks=dict(checkpoint=dict(type=hook, interval=1, save_best="score", rule="greater")),
        val_dataloader=DataLoader(samples(1), batch_size=2, collate_fn=pseudo_collate),
        val_cfg=dict(), val_evaluator=Evaluator(Score()),
    ).train()  # fmt: skip
    assert precious.exists()


def test_names_of_weights_are_escaped_in_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    torch.save({"state_dict": {"\x1b[2Jx": torch.ones(1)}}, tmp_path / "x.pth")
    try:
        load_checkpoint(our_head(), str(tmp_path / "x.pth"))
    except CheckpointError:
        pass
    assert "\x1b" not in "".join(capsys.readouterr())


def test_invalid_metadata_of_weights_is_refused(tmp_path: Path) -> None:
    weights = pickles.ordered_with(_metadata=number(3))
    (tmp_path / "x.pth").write_bytes(archive(checkpoint(weights)))
    with pytest.raises(CheckpointError):
        load_checkpoint(our_head(), str(tmp_path / "x.pth"))


def test_the_error_of_a_damaged_pickle_names_the_cause(tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_bytes(archive(b"\x80\x02\xff."))
    with pytest.raises(CheckpointError, match="unknown"):
        gfl_plugin.checkpoints.read(tmp_path / "x.pth")


# ---------------------------------------------------------------------------------------------------
# Folders
# ---------------------------------------------------------------------------------------------------

WHOLE = dict(meta=dict(epoch=1, iter=1, time="2026"), state_dict={}, message_hub={})
FOLDERS: dict[str, tuple[Callable[[Path], object], str | None]] = {
    "nothing else": (lambda folder: None, None),
    "FIFO": (lambda folder: os.mkfifo(folder / "x.pth"), None),
    "FIFO as last_checkpoint": (lambda folder: os.mkfifo(folder / "last_checkpoint"), None),
    "endless last_checkpoint": (lambda folder: (folder / "last_checkpoint").symlink_to("/dev/zero"), None),
    "endless file": (lambda folder: (folder / "x.pth").symlink_to("/dev/zero"), None),
    "link to itself": (lambda folder: (folder / "x.pth").symlink_to("x.pth"), None),
    "link to itself, and a last_checkpoint": (
        lambda folder: (
            (folder / "x.pth").symlink_to("x.pth"),
            (folder / "last_checkpoint").write_text(str(folder / "gone.pth")),
        ),
        None,
    ),
    "last_checkpoint of 5000 letters": (lambda folder: (folder / "last_checkpoint").write_text("x" * 5000), None),
    "last_checkpoint of a home": (lambda folder: (folder / "last_checkpoint").write_text("~nobody/x.pth"), None),
    "folder of that name": (lambda folder: (folder / "x.pth").mkdir(), None),
    "damaged in many ways": (
        lambda folder: [
            (folder / f"{n}.pth").write_bytes(archives.crafted_zip(random.Random(n))) for n in range(20)
        ],
        None,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The result of the search for a checkpoint in each folder."""
    top, cases = tmp_path_factory.mktemp("folders"), []
    for place, (make, _) in enumerate(FOLDERS.values()):
        folder = top / str(place)
        folder.mkdir()
        torch.save(WHOLE, folder / "a.pth")
        make(folder)
        cases.append(("choose", folder))
    return dict(zip(FOLDERS, results_of(cases, top, seconds=0.8)))


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(what, marks=pytest.mark.xfail(strict=True, reason=why)) if why else what
        for what, (_, why) in FOLDERS.items()
    ],
)
def test_the_complete_checkpoint_of_a_hostile_folder_is_found(chosen: dict[str, str], what: str) -> None:
    assert chosen[what] == "read"


def test_last_checkpoint_may_name_any_folder(tmp_path: Path) -> None:
    from gfl_plugin.runtime.resume import choose

    torch.save(WHOLE, tmp_path / "a.pth")
    (tmp_path / "last_checkpoint").write_text("/etc")
    assert choose(tmp_path).path == tmp_path / "a.pth"


def test_names_in_a_folder_are_escaped_in_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gfl_plugin.runtime.compat import resume

    said: list[str] = []
    monkeypatch.setattr(resume, "print_log", lambda text, **settings: said.append(text))
    torch.save(WHOLE, tmp_path / "a.pth")
    (tmp_path / "last_checkpoint").write_text("\x1b[2J\nx.pth")
    resume.find_latest_checkpoint(str(tmp_path))
    assert said and all(line.isprintable() for line in said)


# ---------------------------------------------------------------------------------------------------
# Servers
# ---------------------------------------------------------------------------------------------------


def answer(body: bytes, length: object = None) -> bytes:
    return b"HTTP/1.0 200 OK\r\nContent-Length: %s\r\n\r\n" % str(length or len(body)).encode() + body


GOOD = archive(archives.PLAIN)
ANSWERS: dict[str, tuple[bytes, str | None]] = {
    "whole": (answer(GOOD), None),
    "too short": (answer(GOOD[:200], len(GOOD)), None),
    "empty": (answer(b""), None),
    "hangs up": (b"", None),
    "length is a word": (answer(GOOD, "x"), None),
    "redirect to a file": (b"HTTP/1.0 302 F\r\nLocation: file:///etc/passwd\r\n\r\n", None),
    "redirect to ftp": (b"HTTP/1.0 302 F\r\nLocation: ftp://127.0.0.1:1/x\r\n\r\n", None),
    "reason with an escape": (b"HTTP/1.0 404 \x1b[2J\r\n\r\n", None),
    "no None": (b"\x1b[2J hello\r\n\r\n", None),
    "many headers": (b"HTTP/1.0 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n", None),
    "long header": (b"HTTP/1.0 200 OK\r\na: " + b"b" * 70_000 + b"\r\n\r\n", None),
    "broken chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc", None),
}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The address of a local server, and its answers to /KEY/ANYTHING by key."""
    answers: dict[str, bytes] = {}
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                key = connection.recv(1 << 16).decode("latin1").split("/")[1:2]
                connection.sendall(answers.get(key[0] if key else "", b""))

    threading.Thread(target=serve, daemon=True).start()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    yield f"http://127.0.0.1:{listening.getsockname()[1]}", answers
    listening.close()


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(what, marks=pytest.mark.xfail(strict=True, reason=why)) if why else what
        for what, (_, why) in ANSWERS.items()
    ],
)
def test_a_hostile_server_is_a_one_line_error(server: tuple[str, dict[str, bytes]], what: str) -> None:
    url, answers = server
    answers["x"] = ANSWERS[what][0]
    if what == "whole":
        assert CheckpointLoader.load_checkpoint(f"{url}/x/a.pth")["meta"] == {"epoch": 1}
        return
    with pytest.raises(CheckpointError) as error:
        CheckpointLoader.load_checkpoint(f"{url}/x/a.pth")
    assert str(error.value).isprintable()


@pytest.mark.parametrize("path", ["a%20b.pth", "a.pth?x=../../y.pth", "%2e%2e%2fa.pth", "a.pth#../x"])
def test_unusual_addresses_stay_in_the_cache_folder(
    server: tuple[str, dict[str, bytes]], tmp_path: Path, path: str
) -> None:
    url, answers = server
    answers["x"] = answer(GOOD)
    CheckpointLoader.load_checkpoint(f"{url}/x/{path}")
    (file,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert file.parent == tmp_path / "cache" / "hub" / "checkpoints"


@pytest.mark.parametrize("path", ["a b.pth", "..", ""])
def test_invalid_addresses_are_refused(server: tuple[str, dict[str, bytes]], tmp_path: Path, path: str) -> None:
    url, answers = server
    answers["x"] = answer(GOOD)
    with pytest.raises(CheckpointError):
        CheckpointLoader.load_checkpoint(f"{url}/x/{path}")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_short_answer_can_be_fetched_again(server: tuple[str, dict[str, bytes]]) -> None:
    url, answers = server
    answers["x"] = answer(GOOD[:200], len(GOOD))
    with pytest.raises(CheckpointError):
        CheckpointLoader.load_checkpoint(f"{url}/x/a.pth")
    answers["x"] = answer(GOOD)
    assert CheckpointLoader.load_checkpoint(f"{url}/x/a.pth")["meta"] == {"epoch": 1}


def test_passwords_in_addresses_are_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(CheckpointError) as error:
        CheckpointLoader.load_checkpoint("http://user:secret@127.0.0.1:1/a.pth")
    assert "secret" not in str(error.value)


# ---------------------------------------------------------------------------------------------------
# Random files
# ---------------------------------------------------------------------------------------------------

BASE = checkpoint(
    fields(w=pickles.tensor(), v=pickles.parameter_with(foo=text("x"))),
    fields(epoch=number(1), x=pickles.built(pickles.empty_array(), pickles.array_state())),
    fields(o=pickles.ordered_with(_metadata=b"}")),
)
KINDS: dict[str, tuple[str, str, Callable[[random.Random], bytes]]] = {
    "grammar": ("walk", "pth", lambda chance: archive(pickles.by_grammar(chance))),
    "pickle": ("walk", "pth", lambda chance: archive(archives.mutated(BASE, chance))),
    "zip": ("walk", "pth", archives.crafted_zip),
    "safetensors": ("read", "safetensors", archives.crafted_safetensors),
    "config": ("text", "py", lambda chance: archives.config_text(chance).encode("utf-8", "surrogatepass")),
}


@pytest.fixture(scope="module")
def random_results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The results of CASES random files of each kind."""
    folder, cases = tmp_path_factory.mktemp("random"), []
    for kind, (route, suffix, make) in KINDS.items():
        chance = random.Random(SEED)
        for place in range(CASES):
            path = folder / f"{kind}_{place}.{suffix}"
            path.write_bytes(make(chance))
            cases.append((route, path))
    results = results_of(cases, folder)
    return {kind: results[place * CASES : (place + 1) * CASES] for place, kind in enumerate(KINDS)}


@pytest.mark.parametrize("kind", KINDS)
def test_random_files_are_read_or_refused_in_one_line(random_results: dict[str, list[str]], kind: str) -> None:
    results = random_results[kind]
    wrong = [f"case {place}: {result}" for place, result in enumerate(results) if result not in FINE]
    assert not wrong, "\n".join(wrong[:20])
    counts = collections.Counter(results)
    assert counts["line"], counts


def test_a_flipped_bit_of_published_weights_is_found(tmp_path: Path) -> None:
    torch.save(
        {"state_dict": {"w": torch.arange(4.0), "n": torch.tensor(3)}, "meta": {"cfg": "a = 1\n"}}, tmp_path / "a.pth"
    )
    path = publish(tmp_path / "a.pth")
    whole = path.read_bytes()
    before = gfl_plugin.checkpoints.read(path)
    flipped = range(len(whole) * 8) if CASES >= 1000 else random.Random(SEED).sample(range(len(whole) * 8), 2 * CASES)
    for bit in flipped:
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        try:
            after = gfl_plugin.checkpoints.read(path)
        except CheckpointError as error:
            assert str(error).isprintable()
        else:
            assert after["meta"] == before["meta"], f"bit {bit}"
            assert all(torch.equal(after["state_dict"][key], value) for key, value in before["state_dict"].items())


def test_a_flipped_bit_of_a_checkpoint_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(whole := archive(BASE))
    before = str(gfl_plugin.checkpoints.read(path))
    flipped = range(len(whole) * 8) if CASES >= 1000 else random.Random(SEED).sample(range(len(whole) * 8), 4 * CASES)
    for bit in flipped:
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        try:
            after = str(gfl_plugin.checkpoints.read(path))
        except CheckpointError as error:
            assert str(error).isprintable()
        else:
            assert after == before, f"bit {bit}"


def test_different_contents_have_different_hashes() -> None:
    """Contents differ by bytes that move between entries, between a name and a value, or between shape and dtype."""
    chance, of_hash = random.Random(SEED), {}
    for _ in range(20 * CASES):
        letters = "".join(chance.choice('ab",[]{}: \\0é') for _ in range(6))
        cut = sorted(chance.randrange(7) for _ in range(2))
        about = {"format": FORMAT, "config": letters[: cut[0]], letters[cut[0] : cut[1]]: letters[cut[1] :]}
        data = torch.tensor([0, 1, 2, 3], dtype=torch.uint8)
        data = chance.choice([data, data.view(2, 2), data.view(torch.int16), data.view(torch.float16), data.view(4, 1)])
        split = chance.randrange(3)
        weights = {"a": data} if split == 0 else {"a": data[:1].contiguous(), letters[:2]: data[1:].contiguous()}
        what = (
            tuple(sorted(about.items())),
            tuple((key, str(weights[key].dtype), str(weights[key].tolist())) for key in sorted(weights)),
        )
        assert of_hash.setdefault(hash_of(weights, about), what) == what
    assert len(of_hash) > CASES


def test_a_changed_config_is_never_used(tmp_path: Path) -> None:
    """Neither an older format nor a missing hash makes a changed config acceptable."""
    weights = {"w": torch.ones(2)}
    about = {"format": FORMAT, "config": "a = 1\n", "dataset_meta": "{}"}
    about["sha256"] = hash_of(weights, about)
    path = tmp_path / "a.safetensors"
    for format in (FORMAT, "gfl_plugin.weights.1", "gfl_plugin.weights.3", "pt", "", None):
        for sha256 in (about["sha256"], "", None):
            forged = {**about, "format": format, "sha256": sha256, "config": "b = 2\n"}
            path.write_bytes(
                save_safetensors(weights, {key: value for key, value in forged.items() if value is not None})
            )
            try:
                assert gfl_plugin.checkpoints.read(path)["meta"] == {}
            except CheckpointError:
                pass


def test_two_threads_can_read_at_the_same_time(tmp_path: Path) -> None:
    paths = []
    for place in range(40):
        paths.append(tmp_path / f"{place}.pth")
        paths[-1].write_bytes(archive(BASE if place % 2 else archives.mutated(BASE, random.Random(place))))

    def told(path: Path) -> str:
        try:
            return str(gfl_plugin.checkpoints.read(path, "cpu"))
        except CheckpointError as error:
            return str(error)

    alone, together = [told(path) for path in paths], []
    threads = [threading.Thread(target=lambda: together.append([told(path) for path in paths])) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == [alone, alone]


def test_reading_works_with_forced_weights_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
    (tmp_path / "a.pth").write_bytes(archive(BASE))
    assert gfl_plugin.checkpoints.read(tmp_path / "a.pth")["meta"]["epoch"] == 1
