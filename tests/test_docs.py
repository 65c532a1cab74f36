"""docs/library.md: its examples run as shown, and it names everything that the library offers."""

import doctest
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import paramctl
from tests.conftest import ROOT
from tests.pages import code_blocks

LIBRARY = ROOT / "docs/library.md"


def session(page: str) -> str:
    """Return a page with every line outside its sessions emptied, so that a failure has the page's line number."""
    sessions = re.compile(r"(?<=```pycon\n).*?(?=```)", re.DOTALL)
    lines: list[str] = []
    end = 0
    for match in sessions.finditer(page):
        lines += ["\n" * page.count("\n", end, match.start()), match[0]]
        end = match.end()
    return "".join(lines)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A working folder with the sample models."""
    (tmp_path / "sample_models").symlink_to(ROOT / "sample_models")
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


def test_the_examples_of_the_library_run_as_shown(folder: Path) -> None:
    page = LIBRARY.read_text()
    (document,) = code_blocks(page, "yaml")
    (folder / "mlp.yaml").write_text(document)
    examples = doctest.DocTestParser().get_doctest(session(page), {}, LIBRARY.name, str(LIBRARY), 0)
    assert len(examples.examples) > 40
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF)
    runner.run(examples, out=report.append)
    if report:
        pytest.fail("".join(report), pytrace=False)


def test_the_page_names_everything_in_the_library() -> None:
    examples = session(LIBRARY.read_text())
    names = [name for name in paramctl.__all__ if not name.startswith("__")]
    assert len(names) > 20
    assert [name for name in names if not re.search(rf"\bpc\.{name}\b", examples)] == []
