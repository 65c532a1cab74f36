"""README.md and docs/: each command is run, and its output must be what the page shows.

``pytest tests/test_readme.py --update`` writes the output into the pages instead.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.forks import shell_command
from tests.pages import CONSOLE, code_blocks, install, links, rerun

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
pages = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)


def test_there_are_pages_with_commands() -> None:
    assert len(PAGES) > 4
    assert sum(len(CONSOLE.findall(path.read_text())) for path in PAGES) > 20


@pages
def test_each_command_prints_the_output_that_a_page_shows(
    path: Path, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    for folder in ("sample_models", "tests"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    shown = path.read_text()
    if "| jq " in shown and shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    printed = rerun(shown, tmp_path, install(tmp_path / "tools", shell_command()))
    if request.config.getoption("--update"):
        path.write_text(printed)
    assert shown == printed


@pages
def test_links_lead_to_files(path: Path) -> None:
    page = path.read_text()
    assert [link for link in links(page) if not (path.parent / link).exists()] == []


@pages
def test_no_line_is_longer_than_a_screen(path: Path) -> None:
    """Except those of tables and code blocks."""
    prose = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    assert [line for line in prose.splitlines() if len(line) > 120 and not line.startswith("|")] == []


def test_the_readme_is_short_and_links_every_page() -> None:
    page = README.read_text()
    assert len(page.splitlines()) <= 250
    assert {f"docs/{path.name}" for path in PAGES[1:]} <= set(links(page))


def test_the_python_of_the_readme_runs() -> None:
    (code,) = code_blocks(README.read_text(), "python")
    completed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (completed.stderr, completed.stdout.splitlines()[-1]) == ("", "124439808")


def test_the_model_shown_is_the_sample() -> None:
    (shown,) = re.findall(r"```yaml\n# sample_models/mlp.yaml\n(.*?)```", README.read_text(), re.DOTALL)
    assert (ROOT / "sample_models/mlp.yaml").read_text().endswith(shown)


def test_the_readme_has_the_chapter_in_one_table() -> None:
    """Each command of the table is one that the chapter's script runs."""
    script = (ROOT / "tests/chapter.sh").read_text()
    table = README.read_text().partition("| in the chapter | in paramctl |")[2].partition("\n\n")[0]
    commands = re.findall(r"`(paramctl [^`]+)`", table)
    assert len(commands) >= 12
    assert [command for command in commands if command not in script] == []


def test_a_page_lists_every_sample_model() -> None:
    page = (ROOT / "docs/models.md").read_text()
    samples = {f"../sample_models/{path.name}" for path in (ROOT / "sample_models").glob("*.yaml")}
    assert len(samples) > 10
    assert samples == {link for link in links(page) if "sample_models" in link}
