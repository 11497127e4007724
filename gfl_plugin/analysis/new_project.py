"""Makes a new project from a folder of labelled images: reads it, chooses settings, and writes a config."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import init_default_scope

from ..projects.init_project.folder_form import FORMS
from ..projects.init_project.image_scale import ImageScale, image_scale
from ..projects.init_project.labelled_set import LabelledSet
from ..projects.init_project.project_config import Project, project_config
from ..projects.init_project.project_model import ProjectModel
from ..projects.init_project.read_folder import FolderData, read_folder
from ..projects.init_project.schedule import schedule_for
from ..projects.init_project.set_checks import objects_per_class
from ..projects.init_project.write_data import write_data
from ..runtime.atomic_files import write_whole
from .data_check.level_choice import LevelChoice, choose_levels
from .progress import ProgressDisplay
from .tables import Column, Table

_VIEWED = 500  # training images whose targets are computed to choose levels and bins
_LONGEST = {True: 640, False: 1344}  # pixels, of the small detector and of the others
_SMALLEST_SIZE = 32  # pixels, the divisor of image sizes


@dataclass(frozen=True)
class ProjectRequest:
    """What the user asks for."""

    data: Path  # folder of the data
    out: Path | None  # config to write; None for a name that says what it is, in the current folder
    form: str | None  # of the annotations; None to recognize it
    model: str  # "r18" or "r50"
    head: str  # see swap_head
    from_scratch: bool
    image_size: int | None  # longer side of the images, in pixels; None to choose it
    seed: int  # of the validation split
    command: str  # the whole command, for the config


@dataclass(frozen=True)
class NewProject:
    """What was written, and why."""

    config: Path
    project: Project
    notes: tuple[str, ...]  # one line each

    @property
    def sets_table(self) -> Table:
        """One row per split."""
        columns = (Column("split", numeric=False), Column("images"), Column("objects"), Column("classes with objects"))
        return Table((*columns, Column("annotations", numeric=False)), tuple(map(_set_row, self.project.sets)))

    @property
    def settings_table(self) -> Table:
        """One row per setting, with the reason."""
        made, plan = self.project, self.project.schedule
        start = (
            "from scratch"
            if made.model.from_scratch
            else "starts from ImageNet weights, which the first training downloads; without a network: --from-scratch"
        )
        rows = (
            ("model", f"{made.model.head}, {made.model.size}", start),
            ("image size", f"{made.scale.side} px", made.scale.reason),
            ("levels, bins", f"from stride {4 if made.model.fine else 8}", made.model_reason),
            ("schedule", f"{plan.epochs} epochs", plan.reason),
        )
        return Table(tuple(Column(name, numeric=False) for name in ("setting", "value", "why")), rows)


def make_project(request: ProjectRequest, display: ProgressDisplay) -> NewProject:
    """Read the data and write a config.

    Args:
        request: what the user asks for.
        display: shows progress.

    Returns:
        What was written.

    Raises:
        OSError: if the data does not exist, or a file would be replaced.
        ValueError: if the data cannot be used, or an argument is wrong; the message is one line.
        DatasetError: if MMDetection cannot load the training set.
    """
    if request.image_size is not None and request.image_size < _SMALLEST_SIZE:
        raise ValueError(f"--image-size is {request.image_size}; it must be at least {_SMALLEST_SIZE}")
    data = request.data.absolute()
    out = _config_path(request, data)
    with display.task(f"reading {request.data}") as task:
        found = read_folder(
            data, request.form, request.seed, lambda done, total: task.update(completed=done, total=total)
        )
    folder = out.with_name(f"{out.stem}_data")
    out.parent.mkdir(parents=True, exist_ok=True)
    sets = write_data(found.sets, folder.absolute())
    try:
        project = _with_levels(_project(request, data, found, sets), display)
        write_whole(out, project_config(project))
    except BaseException:
        if any(one.place.ann_file and folder.absolute() in one.place.ann_file.parents for one in sets):
            shutil.rmtree(folder)  # it is new, see write_data
        raise
    return NewProject(out, project, found.notes)


def _config_path(request: ProjectRequest, data: Path) -> Path:
    """The config to write, which does not exist and is not inside the data unless the user names it."""
    name = re.sub(r"\W+", "_", data.resolve().name).strip("_") or "data"
    out = request.out or Path(f"{name}_{request.head}_{request.model}.py")
    if out.suffix != ".py":
        raise ValueError(f"-o {out} must end with .py")
    if out.exists():
        raise FileExistsError(f"{out} exists; remove it, or name another file with -o")
    resolved = data.resolve()
    if request.out is None and resolved in (out.resolve().parent, *out.resolve().parents):
        raise ValueError(
            f"{out} would be written into the data, {data}; start in another folder, or name a file with -o"
        )
    return out


def _project(request: ProjectRequest, data: Path, found: FolderData, sets: list[LabelledSet]) -> Project:
    train = next(one for one in sets if one.split == "train")
    model = ProjectModel(request.model, request.from_scratch, request.head, len(train.classes))
    size = request.image_size
    return Project(
        command=request.command,
        data=data,
        form=FORMS[found.form].partition(" (")[0],
        sets=sets,
        scale=image_scale(train, _LONGEST[model.small]) if size is None else ImageScale(size, "chosen by --image-size"),
        schedule=schedule_for(len(train.images), not request.from_scratch, model.small),
        model=model,
        model_reason="",
    )


def _with_levels(project: Project, display: ProgressDisplay) -> Project:
    """The project with levels and bins for its objects."""

    def config_of(fine: bool) -> Config:
        model = replace(project.model, fine=fine)
        return Config.fromstring(project_config(replace(project, model=model)), ".py")

    init_default_scope("mmdet")
    with display.task("choosing levels and bins") as task:
        chosen: LevelChoice = choose_levels(
            config_of, _VIEWED, lambda done, total: task.update(completed=done, total=total)
        )
    model = replace(project.model, fine=chosen.fine, head_settings=chosen.head_settings)
    return replace(project, model=model, model_reason=chosen.reason)


def _set_row(one: LabelledSet) -> tuple[str, ...]:
    counts = objects_per_class(one)
    used = sum(count > 0 for count in counts.values())
    return (
        one.split,
        f"{len(one.images):,}",
        f"{sum(counts.values()):,}",
        f"{used} of {len(counts)}",
        str(one.place.ann_file),
    )
