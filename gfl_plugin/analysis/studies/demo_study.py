"""The demo: a study of two variants, MMDetection's ATSS and the plugin's GFL, on the embedded dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from ...demo.dataset import DemoSize
from .scale import train_for
from .study import Study, Variant
from .study_data import EmbeddedData, StudyData, environment_variable


def demo_study(configs: Path) -> Study:
    """Create the study of the demo.

    Args:
        configs: the folder ``configs``.

    Returns:
        The study, with two variants.

    Raises:
        FileNotFoundError: if the config of a variant is missing.
    """
    folder = configs / "demo"
    variants = (
        Variant("atss", folder / "atss_r18_demo.py", "ATSS (baseline)", order=0, against=None, small_model={}),
        Variant("gfl", folder / "gfl_r18_demo.py", "GFL", order=1, against="atss", small_model={}),
    )
    missing = [str(variant.path) for variant in variants if not variant.path.is_file()]
    if missing:
        raise FileNotFoundError(f"configs of the demo are missing: {', '.join(missing)}")
    return Study("demo", variants, metrics=("AP", "AP50", "AP75"))


@dataclass(frozen=True)
class DemoScale:
    """Configs of the demo with a given number of epochs; see :class:`gfl_plugin.analysis.studies.scale.Scale`."""

    data: StudyData
    epochs: int

    def config(self, variant: Variant, configs: Path, data: Path) -> Config:
        """See :class:`gfl_plugin.analysis.studies.scale.Scale`."""
        with environment_variable(self.data.variable, data):
            cfg = Config.fromfile(variant.path)
        train_for(cfg, self.epochs)
        return cfg


def demo_scale(images: int = 600, epochs: int = 10, seed: int = 0) -> DemoScale:
    """Create the scale of the demo.

    Args:
        images: number of training images; a quarter of this number is generated for validation.
        epochs: number of training epochs per variant.
        seed: random seed of the data.

    Returns:
        The scale.
    """
    return DemoScale(EmbeddedData(DemoSize(train=images, val=max(1, images // 4)), seed), epochs)
