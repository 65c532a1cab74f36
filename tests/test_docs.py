"""docs/library.md and CONTRIBUTING.md: their examples run as shown, and they name everything that they should.

``pytest tests/test_docs.py --update`` writes the output of CONTRIBUTING.md's commands into it instead.
"""

import doctest
import re
import shutil
import sys
from pathlib import Path

import pytest

import paramctl
from paramctl.store.registry import FORMATS
from tests.conftest import ROOT
from tests.pages import code_blocks, install, links, rerun
from tests.test_architecture import FLOORS

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
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the sample models."""
    (tmp_path / "sample_models").symlink_to(ROOT / "sample_models")
    monkeypatch.chdir(tmp_path)
    return tmp_path


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


def test_the_page_of_formats_has_every_suffix_that_is_written() -> None:
    page = (ROOT / "docs/formats.md").read_text()
    suffixes = [suffix for format_ in FORMATS if format_.writable for suffix in format_.suffixes]
    assert len(suffixes) > 5
    assert [suffix for suffix in suffixes if f"{suffix}`" not in page] == []


CONTRIBUTING = ROOT / "CONTRIBUTING.md"
ADDITION = re.compile(r"```(python|diff)\n# (paramctl/\S+\.py)\n(.*?)```", re.DOTALL)


@pytest.fixture
def extended(tmp_path: Path) -> Path:
    """A copy of the package with every addition of CONTRIBUTING.md, and ``tools/paramctl``, which runs it."""
    shutil.copytree(ROOT / "paramctl", tmp_path / "paramctl", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "sample_models").symlink_to(ROOT / "sample_models")
    additions = ADDITION.findall(CONTRIBUTING.read_text())
    assert len(additions) == 8
    for language, name, code in additions:
        file = tmp_path / name
        text = file.read_text() if file.exists() else ""
        file.write_text(f"{text}\n\n{code}" if language == "python" and text else with_diff(text, code))
    install(tmp_path / "tools", f'env PYTHONPATH="{tmp_path}" "{sys.executable}" -m paramctl')
    return tmp_path


def with_diff(text: str, code: str) -> str:
    """Return a file with the lines of a diff that begin with a plus, after the line that does not; or a new file."""
    if not text:
        return code
    context, *added = code.splitlines()
    assert all(line.startswith("+") for line in added)
    assert text.count(f"\n{context[1:]}\n") == 1
    return text.replace(f"\n{context[1:]}\n", "\n".join(["", context[1:], *(line[1:] for line in added), ""]))


def test_each_addition_works_as_contributing_shows(extended: Path, request: pytest.FixtureRequest) -> None:
    shown = CONTRIBUTING.read_text()
    printed = rerun(shown, extended, extended / "tools")
    if request.config.getoption("--update"):
        CONTRIBUTING.write_text(printed)
    assert shown == printed


def test_contributing_has_the_packages_in_their_order() -> None:
    (house,) = code_blocks(CONTRIBUTING.read_text(), "text")
    packages = [[room for room in rooms if any((ROOT / "paramctl").glob(f"{room}*"))] for rooms in FLOORS]
    assert [line.partition("  ")[0].split(", ") for line in house.splitlines()] == packages


def test_contributing_names_files_and_links_that_exist() -> None:
    page = re.sub(r"```.*?```", "", CONTRIBUTING.read_text(), flags=re.DOTALL)
    files = re.findall(r"`?\b((?:paramctl|tests|store|init)/[\w/]+(?:\.\w+|/))", page)
    assert len(files) > 10
    assert [name for name in files if not (ROOT / name).exists() and not (ROOT / "paramctl" / name).exists()] == []
    assert [link for link in links(page) if not (ROOT / link).exists()] == []
