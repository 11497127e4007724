"""The page in a browser without a network: pointing, keys, filters, themes, narrow windows, accessibility."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from analysis.report.made_report import Amount, MadeReport, make_report

from gfl_plugin.analysis.report.page import write_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]
WIDE, PHONE = (1280, 900), (390, 844)
CARDS = "#cards .card"
BOXES = f"{CARDS}:first-child [role=option]"


@dataclass
class Opened:
    """A page, and everything that must not happen on it."""

    page: object  # of Playwright
    made: MadeReport
    faults: list[str] = field(default_factory=list)  # console errors, exceptions, requests


@pytest.fixture(scope="module")
def browser() -> Generator:
    """Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with playwright.sync_playwright() as started:
        # Containers have no user namespaces for Chromium's sandbox, and little shared memory.
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[MadeReport, Path]:
    """A report with more images than the gallery shows at once, one of which cannot be read."""
    folder = tmp_path_factory.mktemp("report")
    made = make_report(Amount(images=11, objects=9, classes=("cell", "<i>platelet</i>")), folder)
    Path(made.examinations[0].images[3].path).unlink()
    write_page(made.content, made.examinations, folder)
    return made, folder / "report.html"


@pytest.fixture
def opened(browser, written: tuple[MadeReport, Path], request: pytest.FixtureRequest) -> Generator[Opened]:
    """The page in a window; a parameter may give its size and color scheme. Faults fail the test at its end."""
    made, path = written
    size, scheme = getattr(request, "param", (WIDE, "light"))
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, offline=True, reduced_motion="reduce"
    )
    page = context.new_page()
    own = Opened(page, made)
    page.on("console", lambda said: own.faults.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: own.faults.append(str(error)))
    page.on("request", lambda sent: own.faults.append(sent.url) if not _is_own(sent.url, path) else None)
    page.goto(path.as_uri())
    yield own
    context.close()
    assert own.faults == []


def _is_own(url: str, path: Path) -> bool:
    return url.startswith("data:") or url.split("#")[0] == path.as_uri()


def _shown(page) -> dict[str, int]:
    """Images, boxes and errors that the gallery says it shows."""
    words = page.locator("#count").inner_text().replace(",", "").split()
    return dict(zip(("images", "boxes", "errors"), map(int, words[::2])))


def _judged(made: MadeReport, model: int = 0) -> list:
    """All shown detections of a model with their images."""
    images = made.examinations[model].images
    return [(images[one.image], own) for one in made.content.models[model].judged for own in one.detections]


def _curves(page) -> int:
    return page.locator(".active-drawing .curve").count()


def test_pointing_at_a_detection_draws_its_four_sides(opened: Opened) -> None:
    page = opened.page
    assert _curves(page) == 0
    detection = page.locator(f"{BOXES}[data-detection]").first
    name = detection.get_attribute("aria-label")
    detection.dispatch_event("pointerenter")
    assert _curves(page) == 4
    details = page.locator(f"{CARDS}:first-child .details")
    assert details.locator(".name").inner_text().strip() == name.split(";")[0]
    assert details.locator("li").count() == 4
    page.locator(f"{CARDS}:first-child .overlay").dispatch_event("pointerleave")
    assert _curves(page) == 0


def test_a_tap_keeps_the_distributions(opened: Opened) -> None:
    page = opened.page
    page.locator(f"{BOXES}[data-detection]").last.click(force=True)  # small boxes may lie over it
    assert _curves(page) == 4
    page.mouse.move(1, 1)
    assert _curves(page) == 4


def test_the_curve_lies_at_the_predicted_distribution(opened: Opened) -> None:
    """The highest point of each curve is at the bin with the highest probability."""
    page = opened.page
    node = page.locator(f"{BOXES}[data-detection]").first
    node.focus()
    number = int(node.get_attribute("data-detection"))
    name = page.locator(f"{CARDS}:first-child h3").inner_text()
    (image,) = (one for one in opened.made.examinations[0].images if one.path.endswith(name))
    paths = page.locator(".active-drawing .curve")
    for side in range(4):
        text = paths.nth(side).get_attribute("d")
        points = [tuple(map(float, one.split(","))) for one in text[1:-1].split("L")]
        across = side % 2 == 0
        tip = min(points, key=lambda one: one[1]) if across else max(points, key=lambda one: one[0])
        best = int(image.sides.probabilities[number, side][1:-1].argmax()) + 1  # bins at the ends have half the width
        expected = image.sides.origins[number, side] + image.sides.scales[number, side] * best
        ends = image.sides.probabilities[number, side][[0, -1]]
        if ends.max() < image.sides.probabilities[number, side][best] / 2:
            assert tip[0 if across else 1] == pytest.approx(expected, abs=0.2)


def test_a_normal_distribution_without_bins(opened: Opened) -> None:
    page = opened.page
    page.select_option("[name=model]", "1")
    page.locator(f"{BOXES}[data-detection]").first.focus()
    assert _curves(page) == 4


def test_arrow_keys_reach_all_boxes_and_tab_leaves_them(opened: Opened) -> None:
    page = opened.page
    nodes = page.locator(BOXES)
    count = nodes.count()
    page.locator(f"{CARDS}:first-child .enlarge").focus()
    page.keyboard.press("Tab")
    names = []
    for _ in range(count):
        focused = page.evaluate("document.activeElement.getAttribute('aria-label')")
        assert page.locator(f"{BOXES}[aria-selected=true]").get_attribute("aria-label") == focused
        names.append(focused)
        page.keyboard.press("ArrowRight")
    everything = sorted(nodes.nth(one).get_attribute("aria-label") for one in range(count))
    assert sorted(names) == everything
    errors = ["correct" not in name and "ignored" not in name for name in names]
    assert errors == sorted(errors, reverse=True)  # errors come first
    page.keyboard.press("Escape")
    assert _curves(page) == 0
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "enlarge"  # of the next card


def test_names_say_class_score_kind_iou_and_sides(opened: Opened) -> None:
    page = opened.page
    heading = page.locator(f"{CARDS}:first-child h3").inner_text()
    images = opened.made.examinations[0].images
    (place,) = (number for number, one in enumerate(images) if one.path.endswith(heading))
    kinds = {"background": "background", "classification": "wrong class", "localization": "poor position"}
    kinds |= {"both": "wrong class and position", "duplicate": "duplicate", "correct": "correct"}
    for one in opened.made.content.models[0].judged[place].detections:
        image, row = images[place], one.detection
        label = opened.made.examinations[0].classes[image.detections.labels[row]]
        sides = ", ".join(
            f"{side} {std:.1f} px"
            for side, std in zip(("left", "top", "right", "bottom"), image.sides.std[row].round(2))
        )
        start = f"{label}, score {image.scores[row].round(3):.2f}, {kinds[one.kind]}, IoU {round(one.iou, 3):.2f}; σ "
        name = page.locator(f"{BOXES}[data-detection='{row}']").get_attribute("aria-label")
        assert name.startswith(start[:-12]) and name.count(" px") == sides.count(" px") == 4


def test_filters_show_exactly_what_they_say(opened: Opened) -> None:
    page, judged = opened.page, _judged(opened.made)
    missed = sum(len(one.missed) for one in opened.made.content.models[0].judged)
    assert _shown(page)["boxes"] == len(judged) + missed
    for box in page.locator("[name=kind]").all():
        if box.get_attribute("value") != "localization":
            box.uncheck()
    expected = [(image, own) for image, own in judged if own.kind == "localization"]
    assert _shown(page) == {
        "images": len({image.path for image, _ in expected}),
        "boxes": len(expected),
        "errors": len(expected),
    }
    page.select_option("[name=class]", label="<i>platelet</i>")
    expected = [(image, own) for image, own in expected if image.detections.labels[own.detection] == 1]
    assert _shown(page)["boxes"] == len(expected)
    page.locator("[name=score]").fill("0.5")
    expected = [(image, own) for image, own in expected if image.scores[own.detection] >= 0.5]
    assert 0 < _shown(page)["boxes"] == len(expected)
    page.get_by_role("button", name="Reset filters").click()
    page.wait_for_function(f"document.querySelector('#count').textContent.includes('{len(judged) + missed} boxes')")


def test_sizes_and_thirds_of_certainty_divide_all_detections(opened: Opened) -> None:
    page, count = opened.page, len(_judged(opened.made))
    page.locator("[name=kind][value=missed]").uncheck()
    sizes = []
    for value in ("small", "medium", "large"):
        page.select_option("[name=size]", value)
        sizes.append(_shown(page)["boxes"])
    areas = [
        float((box[2] - box[0]) * (box[3] - box[1]))
        for image, own in _judged(opened.made)
        for box in [image.detections.boxes[own.detection]]
    ]
    assert sizes == [sum(low <= one < high for one in areas) for low, high in ((0, 1024), (1024, 9216), (9216, 1e9))]
    page.select_option("[name=size]", "")
    thirds = []
    for value in ("0", "1", "2"):
        page.select_option("[name=certainty]", value)
        thirds.append(_shown(page)["boxes"])
    assert sum(thirds) == count and max(thirds) - min(thirds) <= 2


def test_labelled_objects_can_be_switched_on(opened: Opened) -> None:
    page = opened.page
    assert page.locator(".k-truth.box").count() == 0
    page.locator("[name=truth]").check()
    cards = page.locator(CARDS).count()
    assert page.locator(".k-truth.box").count() == 9 * cards


def test_more_images_on_request(opened: Opened) -> None:
    page = opened.page
    before = page.locator(CARDS).count()
    page.get_by_role("button", name="Show more images").first.click()
    assert before < page.locator(CARDS).count() == 11
    assert page.evaluate("document.activeElement.tagName") == "H3"
    assert page.locator("#cards .unreadable").count() == 1


def test_a_suspect_label_leads_to_its_detection(opened: Opened) -> None:
    page = opened.page
    button = page.locator("#labels .goto").first
    name = page.locator("#labels .suspects li").first.locator(".file").inner_text().removeprefix("Cannot be read: ")
    button.click()
    page.wait_for_function("document.activeElement.getAttribute('role') === 'option'")
    assert page.evaluate("document.activeElement.dataset.detection") == "0"
    assert page.locator(CARDS).count() == 1
    assert name.endswith(page.locator(f"{CARDS} h3").inner_text())
    page.get_by_role("button", name="Back to all images").click()
    assert _shown(page)["images"] == 11


def test_two_models_side_by_side(opened: Opened) -> None:
    page = opened.page
    pair = page.locator("#compared .pair").first
    texts = [pair.locator("figcaption").nth(one).inner_text() for one in range(2)]
    assert texts[0].startswith("first ") and texts[1].startswith("second ")
    assert ("finds none" in texts[0]) == ("misses none" in texts[1]) != ("finds none" in texts[1])
    assert pair.locator(".box").count() == 2


@pytest.mark.parametrize("opened", [(WIDE, "light"), (WIDE, "dark")], indirect=True)
def test_the_theme_follows_the_system_until_it_is_chosen(opened: Opened) -> None:
    page = opened.page
    color = "getComputedStyle(document.body).backgroundColor"
    by_system = page.evaluate(color)
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    page.select_option("#theme", "light" if dark else "dark")
    assert page.evaluate(color) != by_system
    page.select_option("#theme", "dark" if dark else "light")
    assert page.evaluate(color) == by_system


@pytest.mark.parametrize("opened", [(PHONE, "light")], indirect=True)
def test_a_narrow_window_does_not_scroll_sideways(opened: Opened) -> None:
    page = opened.page
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    page.locator("details summary").first.click()
    page.locator(f"{BOXES}[data-detection]").first.focus()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    assert page.locator(".drawing.narrow").first.is_visible() and not page.locator(".drawing.wide").first.is_visible()


@pytest.mark.parametrize("opened", [(WIDE, "light"), (WIDE, "dark"), (PHONE, "light")], indirect=True)
def test_axe_finds_no_serious_fault(opened: Opened) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = opened.page
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.locator(f"{BOXES}[data-detection]").first.focus()
    found = axe.Axe().run(page).response["violations"]
    serious = [
        (one["id"], one["impact"], [node["html"][:200] for node in one["nodes"]][:3])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []
