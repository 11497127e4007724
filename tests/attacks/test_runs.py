"""Trainings with random kills, full disks, non-finite numbers and resumes; GFL_ATTACK_CASES sets their number."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from attacks.small_training import (
    EPOCHS,
    STEPS,
    Plan,
    Server,
    content,
    difference,
    random_kinds,
    state,
    tail,
    train,
    with_changes,
)

from gfl_plugin.runtime.resume import choose
from gfl_plugin.runtime.step_record import non_finite

CASES = int(os.environ.get("GFL_ATTACK_CASES", "4"))
SEED = int(os.environ.get("GFL_ATTACK_SEED", "0"))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _one_thread_and_quick_ends_of_workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)
    monkeypatch.setattr("time.sleep", lambda seconds, sleep=time.sleep: sleep(min(seconds, 0.05)))  # MMEngine sleeps
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# ---------------------------------------------------------------------------------------------------
# Kills
# ---------------------------------------------------------------------------------------------------


def a_training(chance: random.Random) -> Plan:
    """A training with all hooks, several checkpoints and a skipped step."""
    loop = chance.choice([EPOCHS, STEPS])
    accumulate = chance.choice([1, 1, 2])
    by_epoch = loop == EPOCHS and accumulate == 1 and chance.random() < 0.4
    keep = chance.choice([1, 2, -1])
    return Plan(
        loop=loop,
        length=4 if loop == EPOCHS else 12,
        sampler=chance.choice(["DefaultSampler", "InfiniteSampler"]) if loop == STEPS else "DefaultSampler",
        accumulate=accumulate,
        schedule=True,
        ema=chance.choice([None, dict(), dict(update_buffers=True, momentum=0.1), dict(begin_iter=4, interval=2)]),
        bad={str(chance.randrange(12)): chance.choice(["input nan", "target inf", "gradient nan inner.weight"])},
        guard=dict(max_records=2),
        checkpoint=dict(
            by_epoch=by_epoch,
            interval=1 if by_epoch else accumulate * chance.choice([1, 2]),
            max_keep_ckpts=keep,
        ),
        score=False,
    )


def whole_checkpoints(folder: Path) -> list[Path]:
    """Read all checkpoints of a folder, and return those that are not the best ones."""
    paths = [path for path in folder.glob("*.pth") if not path.name.startswith(".")]
    for path in paths:
        torch.load(path, weights_only=True)
    return [path for path in paths if not path.name.startswith("best_")]


@pytest.mark.parametrize("seed", range(SEED, SEED + max(CASES // 4, 1)))
def test_kills(server: Server, tmp_path: Path, seed: int) -> None:
    """After about six kills at function calls, during writes and at random times, the result is the same."""
    chance = random.Random(seed)
    plan = a_training(chance)
    assert server.train(tmp_path / "alone", plan) == 0, tail(tmp_path / "alone")
    (last,) = [path for path in [choose(tmp_path / "alone").path] if path is not None]
    folder, killed, had_one = tmp_path / "killed", [], False
    kinds = random_kinds(chance)
    while len(killed) < 6:
        if chance.random() < 0.25:
            seconds = chance.uniform(0, 0.6)

            def kill(child: int, seconds: float = seconds) -> None:
                subprocess.run(["sleep", str(seconds)])
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)

            status, moment = server.train(folder, plan, wait=kill), ("seconds", seconds)
        else:
            moment = next(kinds)
            status = server.train(folder, plan, die=moment)
        killed.append((moment, status))
        assert status in (0, -signal.SIGKILL), (seed, plan, killed, tail(folder))
        there = whole_checkpoints(folder) if folder.exists() else []
        assert there or not had_one, (seed, plan, killed)
        had_one = bool(there)
    assert server.train(folder, plan) == 0, (seed, plan, killed, tail(folder))
    found = difference(content(last), content(folder / last.name))
    assert not found, (seed, plan, killed, found)
    assert (folder / "last_checkpoint").read_text() == str(folder / last.name)
    left = [path.name for path in folder.glob("*.part")] + [path.name for path in folder.glob(".*.part")]
    assert not left, (seed, plan, killed, left)


# ---------------------------------------------------------------------------------------------------
# Damaged folders
# ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoints of six steps, and one of an older training with more steps."""
    folder = tmp_path_factory.mktemp("trained") / "work"
    train(folder, Plan(length=2, ema={}))
    saved = torch.load(folder / "iter_6.pth", weights_only=True)
    saved["meta"].update(time="20200101_000000", experiment_name="run_20200101_000000", iter=90)
    torch.save(saved, folder / "iter_90.pth")
    return folder


def damage(path: Path, chance: random.Random) -> str:
    kind = chance.choice(["truncated", "flipped", "empty", "garbage", "zeros", "removed"])
    content = bytearray(path.read_bytes())
    if kind == "truncated":
        path.write_bytes(content[: chance.randrange(len(content))])
    elif kind == "flipped":
        for _ in range(chance.choice([1, 1, 20])):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
    elif kind == "zeros":  # as in some file systems after a power failure
        begin = chance.randrange(len(content))
        path.write_bytes(content[:begin] + bytes(len(content) - begin))
    elif kind == "removed":
        path.unlink()
    else:
        path.write_bytes(b"" if kind == "empty" else chance.randbytes(chance.randint(1, 9000)))
    return kind


@pytest.mark.parametrize("seed", range(SEED, SEED + 5 * CASES))
def test_the_newest_complete_checkpoint_is_found(trained: Path, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    folder = tmp_path / "work"
    shutil.copytree(trained, folder)
    (folder / "last_checkpoint").write_text(str(folder / "iter_6.pth"))
    damaged = {}
    for step in (
        chance.sample([6, 5, 4, 3, 2, 1], chance.randint(0, 6))
        if chance.random() < 0.5
        else [6, 5, 4][: chance.randint(1, 3)]
    ):
        damaged[step] = damage(folder / f"iter_{step}.pth", chance)
    last = chance.choice(["kept", "removed", "empty", "binary", "text", "truncated", "folder"])
    if last != "kept":
        (folder / "last_checkpoint").unlink()
    left = dict(empty=b"", binary=chance.randbytes(60), text=b"no such file", truncated=str(folder / "iter_6").encode())
    if last in left:
        (folder / "last_checkpoint").write_bytes(left[last])
    if last == "folder":
        (folder / "last_checkpoint").mkdir()
    for path in folder.glob("*.pth"):
        os.utime(path, (chance.uniform(1e9, 2e9),) * 2)
        path.chmod(chance.choice([0o400, 0o644]))
    if chance.random() < 0.3:
        folder = Path(shutil.move(folder, tmp_path / "moved"))
    found = choose(folder).path
    whole = [step for step in (6, 5, 4, 3, 2, 1, 90) if step not in damaged]
    if found.stem not in [f"iter_{step}" for step in whole]:  # damage in bytes without meaning
        assert not difference(content(trained / found.name), content(found)), (seed, damaged, last, found)
        assert int(found.stem[5:]) > whole[0] or whole[0] == 90, (seed, damaged, last, found)
    else:
        assert found.name == f"iter_{whole[0]}.pth", (seed, damaged, last, found)


# ---------------------------------------------------------------------------------------------------
# Full disks
# ---------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("file systems can be mounted by root only")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def long_training(chance: random.Random) -> Plan:
    return Plan(
        length=5,
        schedule=True,
        ema=chance.choice([None, dict(), dict(update_buffers=True)]),
        guard=dict(max_records=1),
        bad=chance.choice([{}, {"3": "input nan"}]),
        checkpoint=dict(interval=1, max_keep_ckpts=chance.choice([1, 2]), max_failures=3),
    )


@pytest.mark.parametrize("seed", range(SEED, SEED + max(CASES // 4, 1)))
def test_full_disk(server: Server, tmp_path: Path, small_disk: Path, seed: int) -> None:
    """Training continues after up to max_failures failures, ends after more, and can then be resumed."""
    chance = random.Random(seed)
    plan = long_training(chance)
    assert server.train(tmp_path / "alone", plan) == 0, tail(tmp_path / "alone")
    first, failures = chance.randint(2, 10), chance.randint(1, 6)
    full = with_changes(plan, full=[first, first + failures, chance.randrange(0, 60_000, 1000)])
    folder = small_disk / "work"
    status = server.train(folder, full)
    printed = (small_disk / "work.txt").read_text()
    assert status == 0 if failures <= 3 else status in (0, 1), (seed, full, printed[-1500:])
    if status:
        assert "No space left" in printed, (seed, full, printed[-1500:])
    assert whole_checkpoints(folder), (seed, full)
    (small_disk / "ballast").unlink(missing_ok=True)
    kept = plan.checkpoint["max_keep_ckpts"]
    assert server.train(folder, plan) == 0, (seed, full, tail(folder))
    found = difference(content(tmp_path / "alone" / "iter_15.pth"), content(folder / "iter_15.pth"))
    assert not found, (seed, full, found)
    assert len(whole_checkpoints(folder)) <= kept, (seed, full, whole_checkpoints(folder))


@pytest.mark.parametrize("seed", range(SEED, SEED + max(CASES // 4, 1)))
def test_files_that_may_not_grow(server: Server, tmp_path: Path, seed: int) -> None:
    """A training whose checkpoints exceed a maximum file size ends, and can be resumed without the limit."""
    chance = random.Random(seed)
    plan = long_training(chance)
    assert server.train(tmp_path / "alone", plan) == 0, tail(tmp_path / "alone")
    size, folder = (tmp_path / "alone" / "iter_15.pth").stat().st_size, tmp_path / "limited"
    limit = chance.choice([int(size * chance.uniform(0.5, 1.01)), chance.randint(1, 2 * size)])
    status = server.train(folder, plan, largest_file=limit)
    assert status == 0 or "File too large" in tail(folder), (seed, plan, limit, tail(folder))
    whole_checkpoints(folder)
    assert not list(folder.glob(".*.part"))
    assert server.train(folder, plan) == 0, (seed, plan, limit, tail(folder))
    found = difference(content(tmp_path / "alone" / "iter_15.pth"), content(folder / "iter_15.pth"))
    assert not found, (seed, plan, limit, found)


# ---------------------------------------------------------------------------------------------------
# Non-finite numbers
# ---------------------------------------------------------------------------------------------------

FAULTS = (
    "input nan",
    "input inf",
    "target nan",
    "target inf",
    "loss inf",
    "loss -inf",
    "loss nan",
    "gradient nan inner.weight",
    "gradient inf norm.bias",
    "gradient -inf outer.weight",
)


def averages(chance: random.Random) -> dict | None:
    if chance.random() < 0.2:
        return None
    settings = dict(update_buffers=chance.random() < 0.5)
    kind = chance.choice(
        ["ExponentialMovingAverage", "MomentumAnnealingEMA", "StochasticWeightAverage", "ExpMomentumEMA"]
    )
    settings["ema_type"] = kind
    if kind != "StochasticWeightAverage":
        settings["momentum"] = chance.choice([0.0002, 0.1, 0.5])
    if chance.random() < 0.4:
        settings["interval"] = chance.randint(1, 4)
    if chance.random() < 0.3:
        settings["priority"] = chance.choice(["HIGH", "LOW"])
    return settings


def poisoned_plan(chance: random.Random) -> tuple[Plan, Plan]:
    """A training with bad batches, and the same training without them."""
    accumulate, size = chance.randint(1, 4), 2
    ema = averages(chance)
    batches = chance.randint(2 * accumulate + 1, 16)
    plan = Plan(
        length=1,
        samples=size * batches,
        batch=size,
        sampler="SequentialSampler",
        noise=False,
        wrapper=chance.choice(["OptimWrapper", "AmpOptimWrapper"]),
        optimizer=chance.choice(["SGD", "AdamW"]),
        accumulate=accumulate,
        clip=chance.choice([None, dict(max_norm=1.0), dict(max_norm=0.1, error_if_nonfinite=True)]),
        ema=ema,
        guard=dict(max_records=chance.randint(1, 3), patience=99),
        exact=chance.random() < 0.5,
        checkpoint=dict(type=chance.choice(["CheckpointHook", "gfl_plugin.WholeCheckpointHook"])),
        infinite_buffer=chance.random() < 0.3 and not (ema and ema["update_buffers"]),
    )
    bad = {str(chance.randrange(plan.samples)): chance.choice(FAULTS) for _ in range(chance.randint(1, 4))}
    window = size * accumulate
    if len({int(index) // window for index in bad}) >= -(-batches // accumulate):
        bad = dict([next(iter(bad.items()))])
    gone = {int(index) // window for index in bad}
    left_out = [index for index in range(plan.samples) if index // window in gone]
    return with_changes(plan, bad=bad), with_changes(plan, left_out=left_out)


@pytest.mark.parametrize("seed", range(SEED, SEED + 5 * CASES))
def test_skipped_steps_have_no_effect(tmp_path: Path, seed: int) -> None:
    plan, without = poisoned_plan(random.Random(seed))
    run, said = train(tmp_path / "bad", plan)
    other, _ = train(tmp_path / "without", without)
    found = difference(state(other), state(run))
    assert not found, (seed, plan, found)
    window = plan.batch * plan.accumulate
    skipped = {int(index) // window for index in plan.bad}
    assert sum("skipped optimizer step" in text for text in said) == len(skipped), (seed, plan, said)
    for path in (tmp_path / "bad").glob("*.pth"):
        tensors = torch.utils._pytree.tree_flatten_with_path(content(path))[0]
        names = [(torch.utils._pytree.keystr(key), value) for key, value in tensors]
        assert not [name for name in non_finite(names) if "mask" not in name], (seed, plan, path)


# ---------------------------------------------------------------------------------------------------
# Resumes
# ---------------------------------------------------------------------------------------------------


def resumable_plan(chance: random.Random) -> Plan:
    loop = chance.choice([EPOCHS, STEPS])
    endless = loop == STEPS and chance.random() < 0.3
    by_epoch = loop == EPOCHS and chance.random() < 0.3
    samples, batch = chance.choice([8, 12, 13, 18]), chance.choice([2, 3, 4, 5])
    return Plan(
        loop=loop,
        length=chance.randint(2, 4) if loop == EPOCHS else chance.randint(6, 14),
        samples=samples,
        batch=batch,
        sampler="InfiniteSampler"
        if endless
        else chance.choice(["DefaultSampler", "SequentialSampler", "DefaultSampler", "RandomSampler"]),
        by_shape=chance.random() < 0.3,
        drop_last=chance.random() < 0.3 and not endless,
        workers=chance.choice([0, 0, 0, 0, 0, 2]),
        persistent=chance.random() < 0.5,
        wrapper=chance.choice(["OptimWrapper", "OptimWrapper", "AmpOptimWrapper"]),
        optimizer=chance.choice(["SGD", "AdamW"]),
        accumulate=chance.choice([1, 1, 2, 3]),
        schedule=chance.random() < 0.5,
        ema=chance.choice([None, dict(), dict(update_buffers=True, momentum=0.1)]),
        guard=chance.choice([None, dict(patience=99)]),
        bad=chance.choice([{}, {str(chance.randrange(samples)): "input nan"}]),
        checkpoint=dict(
            type=chance.choice(["CheckpointHook", "gfl_plugin.WholeCheckpointHook"]),
            by_epoch=by_epoch,
            interval=chance.randint(1, 1 if by_epoch else 5),
            save_last=False,
        ),
    )


CHANGES = (
    lambda plan, chance: dict(workers=2 - plan.workers),
    lambda plan, chance: dict(persistent=not plan.persistent),
    lambda plan, chance: dict(batch=plan.batch + 1),
    lambda plan, chance: dict(samples=plan.samples + chance.choice([-3, 3])),
    lambda plan, chance: dict(accumulate=plan.accumulate % 3 + 1),
    lambda plan, chance: dict(by_shape=not plan.by_shape),
    lambda plan, chance: dict(drop_last=not plan.drop_last),
    lambda plan, chance: dict(sampler=chance.choice(["DefaultSampler", "SequentialSampler", "RandomSampler"])),
    lambda plan, chance: dict(
        loop=STEPS if plan.loop == EPOCHS else EPOCHS,
        length=12 if plan.loop == EPOCHS else 4,
        sampler="DefaultSampler",  # an infinite sampler would never end an epoch
        checkpoint=dict(plan.checkpoint, by_epoch=False),
    ),
)


def changed(plan: Plan, chance: random.Random) -> Plan:
    return with_changes(plan, **chance.choice(CHANGES)(plan, chance)) if chance.random() < 0.5 else plan


def checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.pth")) if folder.exists() else []


@pytest.mark.parametrize("seed", range(SEED, SEED + 5 * CASES))
def test_resumed_exactly_or_with_one_warning(tmp_path: Path, seed: int) -> None:
    """A chain of resumes, each from a random checkpoint of the previous training, possibly with other settings."""
    chance = random.Random(seed)
    plan = resumable_plan(chance)
    if plan.bad and plan.guard is None:
        plan = with_changes(plan, guard=dict(patience=99))
    try:
        run, _ = train(tmp_path / "0", plan)
    except Exception as error:  # such as a data loader without batches
        pytest.skip(f"this plan cannot be trained: {type(error).__name__}: {error}")
    alone, exact, history = state(run), True, [plan]
    for number in range(1, chance.randint(2, 4)):
        there = checkpoints(tmp_path / str(number - 1))
        if not there:
            break
        chosen, plan = chance.choice(there), changed(plan, chance)
        history.append((chosen.name, plan))
        settings = dict(resume=True, load_from=str(chosen))
        try:
            run, said = train(tmp_path / str(number), plan, **settings)
        except Exception as error:
            with pytest.raises(type(error)):  # MMEngine without the hook cannot resume, either
                train(tmp_path / f"{number}_stock", with_changes(plan, exact=False), **settings)
            return
        warned = [text for text in said if "not exact" in text]
        assert len(warned) <= 1 and "\n" not in "".join(warned), (seed, history, warned)
        exact = exact and not warned
        found = difference(alone, state(run)) if exact else ""
        assert not found, (seed, history, said, found)
