"""The bins that gfl-plugin check-data proposes: the shortest that clip at most 0.1 % of the sides of every level."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from cases import our_head
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.registry import init_default_scope

from gfl_plugin.analysis.data_check.bin_proposals import MAX_CLIPPED, bin_coverage, needed_range
from gfl_plugin.analysis.data_check.training_view import TrainingView, gfl_head
from gfl_plugin.analysis.data_check.walk import check
from gfl_plugin.demo.dataset import DemoSize, make_dataset

pytestmark = pytest.mark.once

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "demo" / "gfl_r18_demo.py"


def clipped(sides: list[torch.Tensor], last: float) -> list[float]:
    """Share of the sides of each level beyond the last bin."""
    return [float((level > last).double().mean()) for level in sides if len(level)]


@given(counts=st.lists(st.integers(0, 5000), min_size=1, max_size=5), seed=st.integers(0, 1000))
def test_the_needed_range_is_the_smallest(counts: list[int], seed: int) -> None:
    """It clips at most 0.1 % of every level, and the next shorter side as last bin would clip more of some level."""
    random = torch.Generator().manual_seed(seed)
    sides = [torch.randn(count, generator=random).exp() * 4 for count in counts]
    needed = needed_range(sides)
    assert all(share <= MAX_CLIPPED for share in clipped(sides, needed))
    every = torch.cat(sides)
    if len(every):
        shorter = float(every[every < needed].max()) if (every < needed).any() else 0.0
        assert any(share > MAX_CLIPPED for share in clipped(sides, shorter))


@pytest.mark.parametrize(
    ("coder", "uniform"),
    [
        (dict(), dict(n=41, last=41.0, settings={})),
        (dict(step=0.5), dict(n=81, last=40.5, settings=dict(step=0.5))),
        (dict(first=-1.0, step=2.0), dict(n=21, last=41.0, settings=dict(first=-1.0, step=2.0))),
        (dict(bins=[0, 1, 50]), dict(n=41, last=41.0, settings={})),
    ],
)
def test_proposals_for_sides_of_40_2_strides(coder: dict, uniform: dict) -> None:
    """Uniform bins keep first and step; geometric bins are 17 up to the next whole number."""
    head = our_head(bbox_coder=dict(type="gfl_plugin.IntegralBBoxCoder", **coder))
    view = TrainingView(1, (), (torch.tensor([3.0, 40.2]), torch.tensor([1.0]), torch.zeros(0)))
    own, flat, geometric = bin_coverage(view, head).bins
    assert (own.last, own.reg_max) == (head.bbox_coder.last, head.bbox_coder.reg_max)
    assert (flat.reg_max, flat.last) == (uniform["n"], uniform["last"])
    plain = dict(_delete_=True, type="gfl_plugin.IntegralBBoxCoder")
    assert flat.settings["bbox_coder"] == {**plain, **uniform["settings"]}
    assert geometric.settings["bbox_coder"]["bins"] == dict(spacing="geometric", last=41, first_step=1)
    assert (geometric.reg_max, geometric.last) == (16, 41.0)


def test_the_table() -> None:
    sides = (torch.tensor([3.0, 40.0, 20.0, 10.0]), torch.ones(4), torch.zeros(0))
    table = bin_coverage(TrainingView(1, (), sides), our_head()).table
    assert [column.heading for column in table.columns] == [
        "level",
        "sides",
        "config: n=16, to 16",
        "uniform: n=40, to 40",
        "geometric: n=16, to 40",
    ]
    assert table.rows == (
        ("stride 8", "4", "50.00%", "0.00%", "0.00%"),
        ("stride 16", "4", "0.00%", "0.00%", "0.00%"),
        ("stride 32", "0", "-", "-", "-"),
        ("all", "8", "25.00%", "0.00%", "0.00%"),
    )


def test_no_geometric_bins_where_sixteen_unit_steps_suffice() -> None:
    view = TrainingView(1, (), (torch.tensor([3.0, 15.5]),))
    assert [one.name for one in bin_coverage(view, our_head()).bins] == ["config", "uniform"]


def test_heads_without_bins_and_data_without_objects_have_no_table() -> None:
    view = TrainingView(1, (), (torch.tensor([3.0]),))
    assert bin_coverage(view, our_head(bbox_coder=dict(type="DiracBBoxCoder"), loss_dfl=None)) is None
    assert bin_coverage(TrainingView(0, (), (torch.zeros(0),)), our_head()) is None


class Quiet:
    def note(self, text: str) -> None:
        raise AssertionError(text)

    def begin(self, task: str):
        return lambda done, total: None


@pytest.mark.parametrize("proposal", ["uniform", "geometric"])
@pytest.mark.parametrize("kind", ["gfl_plugin.GFLHead", "mmdet.GFLHead"])
def test_the_lines_set_the_proposed_bins(monkeypatch, tmp_path: Path, proposal: str, kind: str) -> None:
    """A config with the lines clips what the table says, whichever bins and head class its base has."""
    monkeypatch.setenv("GFL_DEMO_DATA", str(make_dataset(tmp_path / "data", DemoSize(train=8, val=2, side=96))))
    init_default_scope("mmdet")
    # Digits on 96 px with a stride of 1 have sides of more than 16 strides.
    base = Config.fromfile(CONFIG)
    base.model.bbox_head.type = kind
    base.model.bbox_head.anchor_generator.strides = [1, 1, 1][: len(base.model.bbox_head.anchor_generator.strides)]
    if kind == "gfl_plugin.GFLHead":
        base.model.bbox_head.bbox_coder = dict(type="gfl_plugin.IntegralBBoxCoder", step=0.25)
    base.dump(tmp_path / "base.py")
    coverage = check(base, images=False, limit=100, progress=Quiet())[0].bins
    (tmp_path / "new.py").write_text(f'_base_ = "base.py"\n{dict(coverage.lines)[proposal]}\n')
    new = Config.fromfile(tmp_path / "new.py")
    (wanted,) = [one for one in coverage.bins if one.name == proposal]
    coder = gfl_head(new).bbox_coder
    assert (coder.reg_max, coder.last) == (wanted.reg_max, wanted.last)
    assert math.isclose(float(coder.bins()[-1]), wanted.last, rel_tol=1e-6)
    again = check(new, images=False, limit=100, progress=Quiet())[0].bins
    column = 2 + coverage.bins.index(wanted)
    assert [row[2] for row in again.table.rows] == [row[column] for row in coverage.table.rows]
