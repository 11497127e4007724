"""The page of a report: complete, self-contained, safe with any text, small, and there even if parts are not."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from analysis.report.made_report import Amount, MadeReport, make_report, picture, without_parts
from PIL import Image

from gfl_plugin.analysis.report.page import write_page
from gfl_plugin.analysis.report.page.images import around, data_uri
from gfl_plugin.analysis.report.page.shown_images import MAX_IMAGES, badness

HOSTILE = (
    "</script><script>alert(1)</script>",
    "\"><img src=x onerror='alert(2)'>",
    "<!--",
    "{{ 7 * 7 }}",
    "é “ü” 細胞",
)
LARGEST_PAGE = 10_000_000  # bytes
# Names of XML vocabularies, which are not loaded.
NAMES = ("http://www.w3.org/",)


class Elements(HTMLParser):
    """Start tags and texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, text: str) -> None:
        self.texts.append(text)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of all elements of a kind."""
        return [attributes for own, attributes in self.tags if own == tag]


def write(made: MadeReport, folder: Path) -> str:
    """Write a report; return the page."""
    write_page(made.content, made.examinations, folder)
    return (folder / "report.html").read_text(encoding="utf-8")


def data_of(page: str) -> dict:
    """What the page's script reads."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> tuple[MadeReport, str, Path]:
    """A report with all parts and hostile names, its page and its folder."""
    folder = tmp_path_factory.mktemp("report")
    names = ("a <b>model</b> & co", 'another "one"')
    made = make_report(Amount(images=5, classes=HOSTILE, names=names), folder)
    return made, write(made, folder), folder


def test_each_chart_is_also_a_png_file(complete: tuple[MadeReport, str, Path]) -> None:
    _, page, folder = complete
    files = sorted((folder / "figures").glob("*.png"))
    assert len(files) == len(Elements(page).named("figcaption")) == 2 + 3 * 2  # of all models, and per model
    for file in files:
        with Image.open(file) as image:
            assert np.asarray(image.convert("L")).std() > 5  # something is drawn


def test_the_page_names_nothing_outside_itself(complete: tuple[MadeReport, str, Path]) -> None:
    _, page, _ = complete
    assert [one for one in re.findall(r"https?://[^\s\"'<>]*", page) if not one.startswith(NAMES)] == []
    places = [
        value for _, own in Elements(page).tags for key, value in own.items() if key in ("src", "href", "xlink:href")
    ]
    assert len(places) > 10
    assert [one[:80] for one in places if not one.startswith(("data:", "#"))] == []


def test_texts_stay_texts(complete: tuple[MadeReport, str, Path]) -> None:
    made, page, _ = complete
    elements = Elements(page)
    assert len(elements.named("script")) == 2 and elements.named("img") == []
    assert not any(name.startswith("on") for _, own in elements.tags for name in own)
    assert data_of(page)["classes"] == list(HOSTILE)
    options = [text.strip() for text in elements.texts]
    assert all(name in options for name in (*HOSTILE, *(one.name for one in made.content.models)))


def test_the_gallery_has_the_boxes_and_distributions(complete: tuple[MadeReport, str, Path]) -> None:
    made, page, _ = complete
    data, examination = data_of(page), made.examinations[0]
    for shown in data["images"]:
        (image,) = (one for one in examination.images if one.path == shown["path"])
        seen = shown["seen"][0]["detections"]
        assert len(seen) == len(image.scores)
        for one in seen:
            row = one["n"]
            np.testing.assert_allclose(one["b"], image.detections.boxes[row], atol=0.051)
            full = np.zeros((4, len(examination.bins)))
            for side, (first, *values) in enumerate(one["p"]):
                full[side, first : first + len(values)] = values
            np.testing.assert_allclose(full / 1000, image.sides.probabilities[row], atol=0.00051)
            np.testing.assert_allclose(one["g"], image.sides.origins[row], atol=0.051)
            np.testing.assert_allclose(one["z"], image.sides.scales[row], atol=0.00051)


def test_the_worst_images_come_first(complete: tuple[MadeReport, str, Path]) -> None:
    made, page, _ = complete
    total = {
        examination.images[place].path: sum(
            badness(model.judged[place], own.images[place])
            for model, own in zip(made.content.models, made.examinations)
        )
        for examination in made.examinations[:1]
        for place in range(len(examination.images))
    }
    order = [total[one["path"]] for one in data_of(page)["images"]]
    assert order == sorted(total.values(), reverse=True)


def test_suspect_labels_show_edges_and_interval(complete: tuple[MadeReport, str, Path]) -> None:
    made, page, _ = complete
    crops = page.split('<svg class="crop"')[1:]
    suspects = [one for model in made.content.models for one in model.suspects]
    assert len(crops) == len(suspects) > 4
    for crop, suspect in zip(crops, suspects):
        axis = "xyxy"[("left", "top", "right", "bottom").index(suspect.side)]
        edges = {}
        for kind in ("label-edge", "found-edge"):
            line = re.search(rf'<line class="{kind}"([^/]*)/>', crop)[1]
            ends = [float(re.search(rf' {axis}{end}="([^"]*)"', line)[1]) for end in (1, 2)]
            assert ends[0] == ends[1]
            edges[kind] = ends[0]
        assert edges["label-edge"] == pytest.approx(suspect.labelled, abs=0.051)
        assert edges["found-edge"] == pytest.approx(suspect.predicted, abs=0.051)
        band = re.search(r'<rect class="interval"([^/]*)/>', crop)[1]
        low = float(re.search(rf' {axis}="([^"]*)"', band)[1])
        size = float(re.search(rf' {"width" if axis == "x" else "height"}="([^"]*)"', band)[1])
        outside = max(low - suspect.labelled, suspect.labelled - low - size)
        assert outside == pytest.approx(suspect.beyond, abs=0.16)


def test_missing_parts_say_why(tmp_path: Path) -> None:
    why = "The boxes of <DeltaXYWH> have no distribution."
    made = without_parts(make_report(Amount(images=2, names=("only",))), why)
    page = write(made, tmp_path)
    assert [text.strip() for text in Elements(page).texts].count(why) == 3  # scores, sides, labels
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"ap", "errors"}


@pytest.mark.parametrize(
    "amount",
    [Amount(images=0), Amount(images=2, detections=0), Amount(images=2, objects=0), Amount(images=2, classes=("",))],
)
def test_empty_parts(tmp_path: Path, amount: Amount) -> None:
    page = write(make_report(amount), tmp_path)
    assert len(data_of(page)["images"]) == amount.images
    assert page.rstrip().endswith("</html>")


def test_figures_without_a_value(tmp_path: Path) -> None:
    made = make_report(Amount(images=1, names=("only",)))
    nan = float("nan")
    (model,) = made.content.models
    accuracy = replace(
        model.accuracy,
        metrics={"AP": nan},
        perfect_ranking={"AP": nan},
        per_class={"cell": nan},
        errors=tuple(replace(one, ap50_gain=nan) for one in model.accuracy.errors),
    )
    page = write(
        MadeReport(replace(made.content, models=(replace(model, accuracy=accuracy),)), made.examinations), tmp_path
    )
    assert not any(re.search(r"\bnan\b", text, re.IGNORECASE) for text in Elements(page.split("<script")[0]).texts)


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    made = make_report(Amount(images=3), tmp_path)
    broken = Path(made.examinations[0].images[1].path)
    broken.write_bytes(broken.read_bytes()[:100])
    Path(made.examinations[0].images[2].path).unlink()
    sources = {Path(one["path"]).name: one["src"] for one in data_of(write(made, tmp_path))["images"]}
    assert sources["image_0000.jpg"].startswith("data:image/webp;base64,")
    assert sources["image_0001.jpg"] is sources["image_0002.jpg"] is None


def test_only_the_worst_images_of_many_are_shown(tmp_path: Path) -> None:
    made = make_report(Amount(images=MAX_IMAGES + 5, objects=1, detections=1, names=("only",)))
    (model,) = made.content.models
    judged = [replace(one, missed=(0,), detections=()) for one in model.judged]
    judged[:5] = [replace(one, missed=()) for one in judged[:5]]
    page = write(
        MadeReport(replace(made.content, models=(replace(model, judged=tuple(judged)),)), made.examinations), tmp_path
    )
    names = [one["name"] for one in data_of(page)["images"]]
    assert names == [f"image_{number:04d}.jpg" for number in range(5, MAX_IMAGES + 5)]
    assert f"the {MAX_IMAGES} images with the most errors of {MAX_IMAGES + 5}" in page


def test_the_examinations_must_be_those_of_the_models(tmp_path: Path) -> None:
    made = make_report(Amount(images=1))
    with pytest.raises(ValueError, match="they must be of the report's models"):
        write_page(made.content, made.examinations[::-1], tmp_path)


@pytest.mark.parametrize("limit", [6_000, 20_000, 80_000])
def test_an_image_stays_within_its_bytes(limit: int) -> None:
    image = picture(np.random.default_rng(0))
    uri = data_uri(image, limit)
    assert len(uri) <= limit
    shown = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))
    assert shown.width / shown.height == pytest.approx(image.width / image.height, rel=0.02)


def test_a_crop_shows_its_boxes_and_lies_in_the_image() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        width, height = random.integers(20, 900, 2)
        boxes = np.sort(random.uniform(0, 1, (2, 2, 2)), axis=1).reshape(2, 4) * np.tile((width, height), 2)
        left, top, right, bottom = around(boxes, width, height)
        assert 0 <= left <= boxes[:, 0].min() and 0 <= top <= boxes[:, 1].min()
        assert boxes[:, 2].max() <= right <= width and boxes[:, 3].max() <= bottom <= height


@pytest.mark.slow
def test_200_images_of_two_models_stay_below_10_mb(tmp_path: Path) -> None:
    made = make_report(Amount(images=200, objects=20, detections=60), tmp_path)
    page = write(made, tmp_path)
    assert len(data_of(page)["images"]) == 200
    assert (tmp_path / "report.html").stat().st_size < LARGEST_PAGE


def test_an_image_with_very_many_detections_shows_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gfl_plugin.analysis.report.page.gallery.DETECTION_BYTES", 20_000)
    made = make_report(Amount(images=3, detections=40))
    page = write(made, tmp_path)
    data = data_of(page)
    most = data["most"]
    assert 10 <= most < 40
    assert f"at most {most} detections with the highest scores" in page
    for shown in data["images"]:
        for model, seen in enumerate(shown["seen"]):
            (image,) = (one for one in made.examinations[model].images if one.path == shown["path"])
            best = np.sort(image.scores)[::-1][:most]
            np.testing.assert_allclose([one["s"] for one in seen["detections"]], best, atol=0.00051)
    assert sum(len(json.dumps(seen)) for shown in data["images"] for seen in shown["seen"]) < 1.3 * 20_000
