"""The page of a report in a real browser, headless Chromium, from a file and without a network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from time import monotonic
from typing import Any

import axe_playwright_python
import nbclient
import nbformat
import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from safetensors.numpy import save_file

import paramctl as pc
from tests.conftest import ROOT

CHROMIUM = shutil.which("chromium")
HOSTILE = '</script><img src=x onerror="document.title=1">'
LAYERS = 1250

if CHROMIUM is None:
    pytest.skip("chromium is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pages: a small one, one of 10,000 arrays, a comparison, and one of hostile names."""
    folder = tmp_path_factory.mktemp("pages")
    rng = np.random.default_rng(0)
    small = {
        f"layers.{layer}.{name}": (rng.standard_normal((8, 4)) * 0.1**layer).astype("f4")
        for layer in range(3)
        for name in ("weight", "gate.weight", "up.weight", "down.weight")
    }
    changed = {name: values + np.float32(0.5 * ("gate" in name)) for name, values in small.items()}
    small["layers.1.up.weight"][2, 3] = np.nan
    many = {
        f"model.layers.{layer}.{name}.weight": rng.standard_normal((2, 3), dtype="f4")
        for layer in range(LAYERS)
        for name in ("q", "k", "v", "o", "up", "down", "norm1", "norm2")
    }
    hostile = {f"{HOSTILE}.{name}": np.ones((2, 2), "f4") for name in ("weight", "a\u202eb")}
    for name, arrays in (("small", small), ("changed", changed), ("many", many), ("hostile", hostile)):
        save_file(arrays, folder / f"{name}.safetensors", {HOSTILE: f"{HOSTILE}\n</noscript>{HOSTILE}"})
        pc.report(folder / f"{name}.safetensors").save(folder / f"{name}.html")
    pc.report(folder / "small.safetensors", other=folder / "changed.safetensors").save(folder / "diff.html")
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Opened:
    """A page that a browser has opened, with everything that it requested or complained about."""

    def __init__(self, browser: Browser, path: Path, fragment: str = "", **options: Any) -> None:
        self.context: BrowserContext = browser.new_context(**{"viewport": {"width": 1200, "height": 900}} | options)
        self.context.route(
            "**/*", lambda route: route.continue_() if route.request.url.startswith("file:") else route.abort()
        )
        self.page: Page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        start = monotonic()
        self.page.goto(f"{path.as_uri()}{fragment}")
        self.seconds = monotonic() - start

    def __enter__(self) -> Page:
        return self.page

    def __exit__(self, *error: object) -> None:
        self.context.close()


def column(page: Page, table: str, name: str) -> list[str]:
    """Return the cells of a column, as a reader sees them."""
    heads = page.locator(f'[data-table="{table}"] thead th').all_inner_texts()
    place = next(number for number, head in enumerate(heads) if head.startswith(name))
    rows = page.locator(f'[data-table="{table}"] tbody tr').all()
    return [row.locator("th, td").nth(place).inner_text() for row in rows]


@pytest.mark.parametrize("name", ["small", "many", "diff", "hostile"])
def test_a_page_requests_nothing_and_has_no_error(browser: Browser, pages: Path, name: str) -> None:
    """Only itself; also no violation of its own policy, which the console would show. No hostile name runs."""
    opened = Opened(browser, pages / f"{name}.html")
    with opened as page:
        assert page.locator("h1").inner_text()
        assert page.locator(".tree summary").count() >= 1
        page.locator(".tree summary").first.click()
        assert opened.requests == [(pages / f"{name}.html").as_uri()]
        assert opened.complaints == []
        assert page.locator("img").count() == 0
        assert page.title().endswith("– parameters")


def test_the_keyboard_alone_reaches_an_array(browser: Browser, pages: Path) -> None:
    """Tab to the tree, arrows to open it, and its statistics are shown; left closes the line again."""
    with Opened(browser, pages / "small.html") as page:
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.tagName") == "SUMMARY":
                break
        focused = "document.activeElement.querySelector('.name').firstChild.textContent"
        assert page.evaluate(focused) == "layers"  # a single outermost group is open
        page.keyboard.press("ArrowDown")
        first = page.evaluate(focused)
        page.keyboard.press("ArrowRight")
        page.wait_for_selector("details[open] details[open] > ul")
        page.keyboard.press("ArrowRight")
        assert page.evaluate(focused) != first
        page.keyboard.press("Enter")
        page.keyboard.press("ArrowUp")
        assert page.evaluate(focused) == first
        page.keyboard.press("ArrowLeft")
        assert page.evaluate("document.activeElement.parentElement.open") is False
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"


def test_the_treemap_is_one_stop_and_leads_to_the_tree(browser: Browser, pages: Path) -> None:
    """Arrow keys move between its tiles; Enter opens the array, which has the focus then."""
    with Opened(browser, pages / "small.html") as page:
        assert page.locator('.map a[tabindex="0"]').count() == 1
        page.locator('.map a[tabindex="0"]').focus()
        page.keyboard.press("End")
        href = page.evaluate("document.activeElement.getAttribute('href')")
        label = page.evaluate("document.activeElement.getAttribute('aria-label')")
        assert "bytes" in label
        page.keyboard.press("Enter")
        page.wait_for_selector(f"{href}[open] .facts")
        assert page.evaluate("document.activeElement.parentElement.id") == href[1:]


def test_sorting_and_filtering(browser: Browser, pages: Path) -> None:
    """A heading sorts down, up, and back; the state is in aria-sort, and the filter counts its matches."""
    with Opened(browser, pages / "small.html") as page:
        paths = column(page, "arrays", "Array")
        stds = [row.stddev for row in pc.stat(pages / "small.safetensors").rows]
        heading = page.locator('[data-table="arrays"] thead th', has_text="Std")
        heading.locator("button").click()
        assert heading.get_attribute("aria-sort") == "descending"
        falling = [float(text) for text in column(page, "arrays", "Std")]
        assert falling == sorted(falling, reverse=True)
        assert falling[0] == pytest.approx(max(value for value in stds if value is not None), rel=1e-3)
        heading.locator("button").press("Enter")
        assert heading.get_attribute("aria-sort") == "ascending"
        assert [float(text) for text in column(page, "arrays", "Std")] == sorted(falling)
        heading.locator("button").press("Enter")
        assert column(page, "arrays", "Array") == paths
        page.get_by_label("Filter").fill("1. WEIGHT up")
        assert column(page, "arrays", "Array") == ["layers.1.up.weight"]
        assert page.locator('[data-table="arrays"] [role="status"]').inner_text() == "1 of 12 rows match"


def test_links_open_the_details_of_an_array(browser: Browser, pages: Path) -> None:
    """From a finding, from a row, and from an address with a fragment."""
    with Opened(browser, pages / "small.html") as page:
        page.locator('[data-table="findings"] a').first.click()
        detail = page.locator("details.target .detail")
        assert "1 of 32 values is NaN" in detail.inner_text()
        assert detail.locator("svg[role=img]").get_attribute("aria-label")
        key = page.locator("details.target").get_attribute("id")
    with Opened(browser, pages / "small.html", f"#{key}") as page:
        assert "1 of 32 values is NaN" in page.locator(f"#{key}[open] .detail").inner_text()


def test_differences_are_in_the_details_too(browser: Browser, pages: Path) -> None:
    """The largest relative difference is the first row, and its array has a mark in the tree."""
    with Opened(browser, pages / "diff.html") as page:
        rows = column(page, "changes", "Array")
        assert rows[0] == "layers.1.up.weight"  # its NaN differs, which no number ranks
        assert sorted(rows[1:]) == [f"layers.{layer}.gate.weight" for layer in range(3)]
        page.locator('[data-table="changes"] a').nth(1).click()
        assert "Max abs diff" in page.locator("details.target .changed").inner_text()
        assert page.locator("details.target > summary .mark").inner_text() == "differs"


def test_tables_fit_or_show_that_they_go_on(browser: Browser, tmp_path: Path) -> None:
    """With the names and sizes of GPT-2, in a window of 1200 pixels; in a narrow one, an edge has a shadow."""
    rng = np.random.default_rng(0)
    names = ("attention/multi_head_attention/attention_output/kernel", "attention/layer_normalization/gamma")
    arrays = {
        f"block-{n}/{name}": rng.standard_normal((768, 12, 64), dtype="f4") * 0.01 for n in (1, 11) for name in names
    }
    save_file(arrays, tmp_path / "a.safetensors")
    save_file(
        {name: values * np.float32(1 + k / 4) for k, (name, values) in enumerate(arrays.items())},
        tmp_path / "b.safetensors",
    )
    report = pc.report(tmp_path / "a.safetensors", other=tmp_path / "b.safetensors")
    report.save(tmp_path / "wide.html")
    sizes = "[...document.querySelectorAll('.scroll')].map((each) => each.scrollWidth - each.clientWidth)"
    with Opened(browser, tmp_path / "wide.html") as page:
        assert set(page.evaluate(sizes)) == {0}
        bars = page.locator('[data-table="changes"] td svg path').all()
        lengths = [float(str(bar.get_attribute("d")).split("h")[1].split("v")[0]) for bar in bars]
        assert lengths == pytest.approx([100, 200 / 3, 100 / 3], abs=0.1)  # of 3/4, 2/4 and 1/4
    with Opened(browser, tmp_path / "wide.html", viewport={"width": 400, "height": 900}) as page:
        assert max(page.evaluate(sizes)) > 0
        assert (
            page.evaluate("getComputedStyle(document.querySelector('.scroll')).backgroundAttachment").count("local")
            == 2
        )


def test_a_browser_without_scripts_shows_the_same_cells(browser: Browser, pages: Path) -> None:
    """The texts of Python and of the script are equal, for every array."""
    with Opened(browser, pages / "small.html") as page:
        rows = page.locator('[data-table="arrays"] tbody tr').all()
        scripted = [[*row.locator("th, td").all_inner_texts()][:-1] for row in rows]
    with Opened(browser, pages / "small.html", java_script_enabled=False) as page:
        plain = [row.locator("td").all_inner_texts() for row in page.locator("#arrays noscript tbody tr").all()]
        assert page.locator(".map a").first.is_visible()
    assert len(plain) == 12
    assert scripted == plain


def test_dark_mode_and_print_have_their_own_colors(browser: Browser, pages: Path) -> None:
    """The screenshots differ, and the printed page shows no controls and has every row."""
    shots = {}
    for scheme in ("light", "dark"):
        with Opened(browser, pages / "small.html", color_scheme=scheme) as page:
            shots[scheme] = page.screenshot()
            background = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, background[4:-1].split(","))) > 600) is (scheme == "light")
    assert shots["light"] != shots["dark"]
    with Opened(browser, pages / "many.html") as page:
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.locator('[data-table="arrays"] tbody tr').count() == 100  # too long a table is printed as shown
        page.get_by_label("Filter").first.fill("norm1")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.locator('[data-table="arrays"] tbody tr').count() == LAYERS
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.locator('[data-table="arrays"] tbody tr').count() == 100
    with Opened(browser, pages / "small.html", color_scheme="dark") as page:
        page.emulate_media(media="print")
        assert not page.locator("nav").is_visible()
        assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
        assert len(page.pdf(format="A4")) > 10_000


def test_10_000_arrays_open_quickly(browser: Browser, pages: Path) -> None:
    """In a few times the time of a small page, because the rows and the tree are made on demand."""
    with Opened(browser, pages / "small.html"):
        pass  # the browser's own start
    small, many = (min(self_time(browser, pages / f"{name}.html") for _ in range(2)) for name in ("small", "many"))
    assert many < 1.5 + 5 * small
    with Opened(browser, pages / "many.html") as page:
        assert page.locator("*").count() < 6_000
        start = monotonic()
        page.locator('[data-table="arrays"] thead button', has_text="Mean").click()
        page.get_by_label("Filter").first.fill("1249")
        assert len(column(page, "arrays", "Array")) == 8
        page.evaluate("location.hash = '#p9999'")
        assert monotonic() - start < 10


def self_time(browser: Browser, path: Path) -> float:
    opened = Opened(browser, path)
    with opened:
        return opened.seconds


@pytest.mark.parametrize(("width", "scheme"), list(product([400, 1200], ["light", "dark"])))
def test_the_page_has_no_barrier(browser: Browser, pages: Path, width: int, scheme: str) -> None:
    """No violation of the rules of axe-core, in either theme, with lines of the tree open, and no sideways scroll."""
    rules = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
    options = {"color_scheme": scheme, "viewport": {"width": width, "height": 900}, "bypass_csp": True}
    with Opened(browser, pages / "diff.html", "#p1", **options) as page:
        page.add_script_tag(content=rules)
        found = page.evaluate("axe.run()")
        assert [(each["id"], [node["html"][:200] for node in each["nodes"][:3]]) for each in found["violations"]] == []
        assert any(each["id"] == "color-contrast" for each in found["passes"])
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_notebook_shows_the_report_in_a_frame(browser: Browser, pages: Path, tmp_path: Path) -> None:
    """By a real kernel; the frame works in a browser, links too, and leaves the notebook's page in its place."""
    book = nbformat.v4.new_notebook()
    code = f"import paramctl as pc\nreport = pc.report({str(pages / 'small.safetensors')!r})\nreport"
    book.cells = [nbformat.v4.new_code_cell(code), nbformat.v4.new_code_cell("report.save('saved.html')")]
    os.environ["PYTHONPATH"] = str(ROOT)
    nbclient.NotebookClient(book, timeout=None, resources={"metadata": {"path": str(tmp_path)}}).execute()
    (output,) = book.cells[0]["outputs"]
    assert output["data"]["text/plain"] == "<report of small.safetensors: 12 arrays>"
    assert (tmp_path / "saved.html").read_text() == (pages / "small.html").read_text()
    (tmp_path / "book.html").write_text(f"<!DOCTYPE html><title>book</title>{output['data']['text/html']}")
    opened = Opened(browser, tmp_path / "book.html")
    with opened as page:
        frame = page.frame_locator("iframe")
        frame.locator('[data-table="findings"] a').first.click()
        assert "1 of 32 values is NaN" in frame.locator("details.target .detail").inner_text()
        frame.locator("nav a").first.click()
        assert frame.locator("h1").inner_text() == "small.safetensors"
        assert page.title() == "book"
        assert opened.complaints == []
