"""Writes the text of a new project's config."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config_writer import as_code
from .image_scale import ImageScale
from .labelled_set import LabelledSet
from .project_model import ProjectModel, model_changes
from .schedule import Schedule

_SCHEDULE_BASE = "gfl_plugin::_base_/small_schedule.py"
_META = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor", "flip", "flip_direction")
_WIDTH = 100  # characters of a line
_CLASS_COUNT = "<number of classes>"  # replaced by an expression, so that both cannot differ


@dataclass(frozen=True)
class Project:
    """Everything that a config is written from."""

    command: str  # with which it was made
    data: Path  # the folder of the data, absolute
    form: str  # of the annotations, for the reader
    sets: Sequence[LabelledSet]  # "train", "val" and possibly "test", with annotation files
    scale: ImageScale
    schedule: Schedule
    model: ProjectModel
    model_reason: str  # why its levels and bins were chosen; one sentence


def project_config(project: Project) -> str:
    """Write a config.

    Args:
        project: what was chosen.

    Returns:
        Python text.

    Raises:
        ValueError: if the head is unknown.
    """
    train = next(one for one in project.sets if one.split == "train")
    counts = ", ".join(f"{len(one.images)} {one.split}" for one in project.sets)
    parts = (
        _comment(f"Written by: {project.command}"),
        _comment(f"{project.form}; images: {counts}."),
        f"_base_ = {as_code([project.model.base, _SCHEDULE_BASE])}",
        _classes(train.classes),
        "",
        _comment(project.model_reason),
        _model(project.model),
        "",
        _comment(f"The longer side of the images. {project.scale.reason}."),
        f"image_size = {project.scale.side}",
        _pipelines(),
        "",
        _datasets(project),
        'val_evaluator = dict(type="CocoMetric", metric="bbox")',
        "test_evaluator = val_evaluator",
        "",
        _comment(f"{project.schedule.reason}. {_rate_reason(project)}"),
        _schedule(project.schedule),
    )
    return "\n".join(part for part in parts if part is not None) + "\n"


def _comment(text: str) -> str | None:
    """Wrapped lines of a comment; None without text."""
    text = text if text.isprintable() else repr(text)
    return "\n".join(textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ")) or None


def _classes(names: Sequence[str]) -> str:
    line = f"classes = {as_code(tuple(names))}"
    if "\n" not in line:
        return line
    rows = textwrap.wrap(
        ", ".join(as_code(one).replace(" ", "\0") for one in names) + ",",  # names are not broken
        _WIDTH,
        initial_indent="    ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(("classes = (", *rows, ")")).replace("\0", " ")


def _model(model: ProjectModel) -> str:
    changes = model_changes(model)
    changes["bbox_head"]["num_classes"] = _CLASS_COUNT
    return f"model = {as_code(changes)}".replace(f'"{_CLASS_COUNT}"', "len(classes)")


def _pipelines() -> str:
    return f"""\
meta_keys = {as_code(_META)}
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=(image_size, image_size), keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs", meta_keys=meta_keys),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(image_size, image_size), keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    # The metric reads the ground truth from "instances".
    dict(type="PackDetInputs", meta_keys=(*meta_keys, "instances")),
]"""


def _datasets(project: Project) -> str:
    by_split = {one.split: one for one in project.sets}
    kind = "CocoDataset" if project.sets[0].place.form == "coco" else "XMLDataset"
    tested = by_split.get("test", by_split["val"])
    note = "" if tested.split == "test" else "# The data has no test images; those of val are used.\n"
    places = [_location(one, project.data) for one in (by_split["train"], by_split["val"], tested)]
    common = {key: value for key, value in places[0].items() if all(one[key] == value for one in places)}
    train, val, test = (
        "".join(f"{key}={as_code(value)}, " for key, value in one.items() if key not in common) for one in places
    )
    shared = "".join(f"    {key}={as_code(value)},\n" for key, value in common.items())
    return f"""\
dataset = dict(
    type="{kind}",
    data_root={as_code(f"{project.data.as_posix()}/")},
    metainfo=dict(classes=classes),
{shared})
loader = dict(batch_size={project.schedule.batch}, num_workers=2, persistent_workers=True)
train_dataloader = dict(
    sampler=dict(type="DefaultSampler", shuffle=True),
    batch_sampler=dict(type="AspectRatioBatchSampler"),
    dataset=dict({train}pipeline=train_pipeline, **dataset),
    **loader,
)
in_order = dict(sampler=dict(type="DefaultSampler", shuffle=False), **loader)
held_out = dict(test_mode=True, pipeline=test_pipeline, **dataset)
val_dataloader = dict(dataset=dict({val}**held_out), **in_order)
{note}test_dataloader = dict(dataset=dict({test}**held_out), **in_order)
"""


def _location(found: LabelledSet, data: Path) -> dict:
    """The settings that say where the annotations and images of a split lie."""
    place = found.place
    annotations = dict(ann_file=_relative(place.ann_file, data))
    if place.form == "voc":
        prefix = dict(sub_data_root="")
        return dict(annotations, data_prefix=prefix, img_subdir=place.images, ann_subdir=place.annotations)
    folder = _relative(place.root, data)
    return dict(annotations, data_prefix=dict(img="" if folder == "." else f"{folder}/"))


def _relative(path: Path | None, data: Path) -> str:
    """Relative to the data if it is inside, else absolute."""
    path = Path(os.path.abspath(path or ""))
    return path.relative_to(data).as_posix() if data in (path, *path.parents) else path.as_posix()


def _schedule(plan: Schedule) -> str:
    return f"""\
max_epochs = {plan.epochs}
train_cfg = dict(max_epochs=max_epochs, val_interval={plan.val_interval})
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end={plan.warm_up}),
    dict(type="CosineAnnealingLR", T_max=max_epochs, by_epoch=True, convert_to_iter_based=True, eta_min=0),
]
optim_wrapper = dict(optimizer=dict(lr={plan.learning_rate}))
auto_scale_lr = dict(enable=False, base_batch_size={plan.batch})  # reference of --auto-scale-lr"""


def _rate_reason(project: Project) -> str:
    if project.model.small:
        return "Learning rate of the plugin's configs for the small detector."
    if project.model.from_scratch:
        return "Learning rate: MMDetection's 0.01."
    return f"Learning rate: MMDetection's 0.01 for 16 images per step, scaled to {project.schedule.batch}."
