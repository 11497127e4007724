"""The documentation site builds without warnings, has no broken links, needs no network, and agrees with the code."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Generator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

import gfl_plugin

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PARTS = ("mkdocs.yml", "docs", "docs_site", "gfl_plugin", "CHANGELOG.md", "CONTRIBUTING.md")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WIDE, PHONE = (1280, 900), (390, 844)
# Elements by which a browser loads a file at once; a link is loaded only when it is clicked.
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}


class Page(HTMLParser):
    """The addresses and anchors of an HTML page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []  # of elements a
        self.loaded: list[str] = []  # files that the page consists of
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if values.get(LOADED.get(tag)):
            self.loaded.append(values[LOADED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site, built from a copy of its sources as `make docs` does. Any warning fails."""
    pytest.importorskip("zensical", reason="the extra docs is not installed")
    folder = tmp_path_factory.mktemp("sources")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, folder / part)
    build = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    done = subprocess.run(build, cwd=folder, capture_output=True, text=True, timeout=300)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "No issues found" in said and not re.search(r"griffe:|Warning|ERROR", said), said
    return folder / "build" / "site"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """All pages of the site."""
    return {path: Page(path.read_text()) for path in sorted(site.rglob("*.html")) if path.name != "report_example.html"}


def _is_outside(address: str) -> bool:
    return bool(re.match(r"[a-z]+:|//", address)) and not address.startswith("data:")


def _faults(folder: Path, address: str, pages: dict[Path, Page], path: Path) -> list[str]:
    """Why a relative address leads nowhere."""
    file, _, anchor = unquote(address).partition("#")
    target = (folder / file).resolve() if file else path
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return [f"{path.name}: {address}: no such file"]
    if anchor and target in pages and anchor not in pages[target].anchors:
        return [f"{path.name}: {address}: no such anchor"]
    return []


def test_every_link_and_picture_exists(pages: dict[Path, Page]) -> None:
    """The builder checks links between pages; this includes pictures, files, and links made by the builder."""
    assert len(pages) > 30
    faults = []
    for path, page in pages.items():
        if path.name == "404.html":  # its links begin at the root of a server
            continue
        for address in [*page.links, *page.loaded]:
            if not _is_outside(address) and not address.startswith("data:"):
                faults += _faults(path.parent, address, pages, path)
    assert faults == []


def test_links_of_the_readme_exist(site: Path, pages: dict[Path, Page]) -> None:
    """Links of README.md to files of the checkout, and to the anchors of pages as the site has them."""
    faults = []
    for address in re.findall(r"\]\(([^)\s]+)\)", (ROOT / "README.md").read_text()):
        file, _, anchor = address.partition("#")
        if _is_outside(address):
            continue
        assert (ROOT / file).exists(), address
        page = site / Path(file).relative_to("docs").with_suffix(".html") if file.startswith("docs/") else None
        if anchor:
            page = page.with_name("index.html") if page.name == "README.html" else page
            faults += [] if anchor in pages[page].anchors else [address]
    assert faults == []


def test_no_page_loads_anything_from_another_server(pages: dict[Path, Page]) -> None:
    assert [(path.name, one) for path, page in pages.items() for one in page.loaded if _is_outside(one)] == []


def _in_navigation(entry: object) -> list[str]:
    """The files that an entry of ``nav`` names."""
    if isinstance(entry, str):
        return [entry]
    return [one for part in (entry.values() if isinstance(entry, dict) else entry) for one in _in_navigation(part)]


def test_every_page_is_in_the_navigation() -> None:
    """Except for the tables of results, to which the page about results links."""
    named = _in_navigation(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert sorted(named) == sorted([*(path.name for path in DOCS.glob("*.md")), "results/README.md"])


# ------------------------------------------------------------------------------------------------------
# Pages and code agree
# ------------------------------------------------------------------------------------------------------


def _texts(path: Path) -> list[str]:
    """All strings of a Python file, with … for what is filled in."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            found.append("".join(one.value if isinstance(one, ast.Constant) else "…" for one in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(re.sub(r"%[dsr]", "…", node.value))
    return [" ".join(text.split()) for text in found]


@pytest.fixture(scope="module")
def texts() -> str:
    """All strings of gfl_plugin, one per line."""
    return "\n".join(text for path in sorted((ROOT / "gfl_plugin").rglob("*.py")) for text in _texts(path))


QUOTED = re.findall(r"^\| `(.+?)` \|", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE)


def test_many_messages_are_quoted() -> None:
    rows = [line for line in (DOCS / "troubleshooting.md").read_text().splitlines() if line.startswith("| ")]
    headings = sum(line == "| message | cause, and what to do |" for line in rows)
    assert len(QUOTED) == len(set(QUOTED)) == len(rows) - headings > 50


@pytest.mark.parametrize("message", QUOTED)
def test_quoted_messages_occur_in_the_code(message: str, texts: str) -> None:
    """A quoted message is part of one string of the code, apart from what is filled in."""
    pattern = ".*".join(re.escape(part.strip()) for part in message.split("…"))
    assert re.search(pattern, texts), message


def test_the_api_page_has_every_public_name() -> None:
    documented = {name.rpartition(".")[2] for name in re.findall(r"^::: (\S+)$", (DOCS / "api.md").read_text(), re.M)}
    named = set(re.findall(r"`(\w+)`", (DOCS / "api.md").read_text()))
    public = [name for name in (*gfl_plugin.__all__, *gfl_plugin._LAZY) if callable(getattr(gfl_plugin, name))]
    assert len(public) > 35
    assert [name for name in public if name not in documented | named] == []


def test_the_picture_of_imports_is_up_to_date() -> None:
    """If it is not, run docs_site/draw_imports.py."""
    pytest.importorskip("grimp", reason="the extra dev is not installed")
    program = ROOT / "docs_site" / "draw_imports.py"
    scope: dict = {"__file__": str(program), "__name__": "draw_imports"}
    exec(compile(program.read_text(), program, "exec"), scope)
    assert scope["draw"](scope["read_imports"]()) == scope["PICTURE"].read_text()


def test_changes_and_citation_have_the_version() -> None:
    newest = re.search(r"^## (\d+\.\d+\.\d+) ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert newest == cited["version"] == gfl_plugin.__version__


# ------------------------------------------------------------------------------------------------------
# In a browser without a network
# ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Generator:
    """Chromium."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with playwright.sync_playwright() as started:
        # Containers have no user namespaces for Chromium's sandbox, and little shared memory.
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield opened
        opened.close()


@pytest.fixture
def window(browser, site: Path, request: pytest.FixtureRequest) -> Generator:
    """A window of a size and a color scheme. Errors in the console and requests to other places fail the test."""
    size, scheme = getattr(request, "param", (WIDE, "light"))
    viewport = {"width": size[0], "height": size[1]}
    context = browser.new_context(viewport=viewport, color_scheme=scheme, offline=True, reduced_motion="reduce")
    page = context.new_page()
    faults: list[str] = []
    page.on("console", lambda said: faults.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    own = (site.as_uri(), "data:", "blob:", "about:")
    page.on("request", lambda sent: faults.append(sent.url) if not sent.url.startswith(own) else None)
    yield page
    context.close()
    assert faults == []


@pytest.mark.slow
@pytest.mark.parametrize("window", [(WIDE, "light"), (PHONE, "dark")], indirect=True, ids=["wide", "phone"])
def test_every_page_of_the_navigation_opens_as_a_file_and_fits_the_window(window, site: Path) -> None:
    for name in _in_navigation(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]):
        path = site / name.replace("README", "index").replace(".md", ".html")
        window.goto(path.as_uri())
        assert window.locator("article h1").count() == 1, path
        assert window.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path


@pytest.mark.slow
def test_search_finds_a_page_that_was_opened_as_a_file(window, site: Path) -> None:
    window.goto((site / "index.html").as_uri())
    window.keyboard.press("Control+k")
    window.keyboard.type("geometric bins")
    window.get_by_text("Choosing bins").first.wait_for(timeout=20_000)
