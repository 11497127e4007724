"""model-index.yml and the metafiles, which mim and MMEngine read: configs, and results with their source."""

from __future__ import annotations

from pathlib import Path

import mmdet
import pytest
import yaml
from mmengine.config import Config
from mmengine.config.utils import _get_cfg_metainfo

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[2]
METAFILES = [ROOT / name for name in yaml.safe_load((ROOT / "model-index.yml").read_text())["Import"]]
MODELS = [model for path in METAFILES for model in yaml.safe_load(path.read_text())["Models"]]
ZOO = Path(mmdet.__file__).parent / ".mim"
# MMDetection's config for each config of this package with another name.
OTHER_NAMES = {"ld_r18_gfl_r101_coco": "ld_r18-gflv1-r101_fpn_1x_coco"}


def average_precision(model: dict) -> float | None:
    results = model.get("Results")
    return results and results[0]["Metrics"]["box AP"]


def published(name: str) -> dict:
    """The entry of MMDetection's model zoo."""
    family = name.split("_")[0]
    models = yaml.safe_load((ZOO / "configs" / family / "metafile.yml").read_text())["Models"]
    return next(model for model in models if model["Name"] == name)


def test_every_config_of_the_three_folders_is_listed_once() -> None:
    listed = [model["Config"] for model in MODELS]
    folders = ("gfl", "gflv2", "ld")
    files = [path.relative_to(ROOT).as_posix() for name in folders for path in (ROOT / "configs" / name).glob("*.py")]
    assert sorted(listed) == sorted(files)
    assert [model["Name"] for model in MODELS] == [Path(config).stem for config in listed]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model["Name"])
def test_a_listed_config_loads_and_has_the_listed_number_of_epochs(model: dict) -> None:
    cfg = Config.fromfile(ROOT / model["Config"])
    assert cfg.model.bbox_head.type in ("gfl_plugin.GFLHead", "gfl_plugin.LDHead")
    assert model["Metadata"]["Epochs"] == cfg.train_cfg.max_epochs


@pytest.mark.parametrize("path", METAFILES, ids=lambda path: path.parent.name)
def test_each_model_is_of_a_collection_of_its_file(path: Path) -> None:
    """mim refuses a file with another collection, and one name in two files."""
    content = yaml.safe_load(path.read_text())
    names = [one["Name"] for one in content["Collections"]]
    assert {model["In Collection"] for model in content["Models"]} == set(names)
    everywhere = [one["Name"] for file in METAFILES for one in yaml.safe_load(file.read_text())["Collections"]]
    assert all(everywhere.count(name) == 1 for name in names)


def test_results_have_a_source_and_say_that_they_were_not_reproduced() -> None:
    for model in MODELS:
        source = model["Metadata"].get("Results From", "")
        assert source.endswith("; not reproduced with gfl_plugin") == (average_precision(model) is not None), model


@pytest.mark.parametrize(
    "model", [one for one in MODELS if not one["Name"].startswith("gflv2_")], ids=lambda model: model["Name"]
)
def test_results_and_weights_are_those_of_mmdetections_model_zoo(model: dict) -> None:
    theirs = published(OTHER_NAMES.get(model["Name"], model["Name"]))
    assert average_precision(model) == average_precision(theirs)
    assert model["Weights"] == theirs["Weights"]
    assert model["Metadata"]["Epochs"] == theirs["Metadata"]["Epochs"]


def test_mmengine_reads_the_index(tmp_path: Path) -> None:
    """MMEngine's reader finds each model in an installed package, where the files are in .mim."""
    (tmp_path / ".mim").symlink_to(ROOT)
    for model in MODELS:
        name = model["Config"].removeprefix("configs/")
        assert _get_cfg_metainfo(str(tmp_path), name) == model
