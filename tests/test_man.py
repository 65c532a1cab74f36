"""The man pages follow from the commands and registries, and mandoc accepts them without a warning."""

import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from paramctl import __version__
from paramctl.cli import all_commands
from paramctl.init.registry import SCHEMES
from paramctl.model.layers import FUNCTIONS, LAYERS
from tests.conftest import ROOT

PAGES = sorted((ROOT / "man").glob("man*/*.*"))


def test_a_page_for_each_command_and_the_language() -> None:
    names = {f"paramctl-{command.name}.1" for command in all_commands()} | {"paramctl.1", "paramctl-model.5"}
    assert {path.name for path in PAGES} == names


def test_the_pages_are_not_stale() -> None:
    checked = subprocess.run(
        [sys.executable, "man/generate.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": "."},
    )
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_mandoc_gives_no_warning(path: Path) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    checked = subprocess.run(["mandoc", "-Tlint", "-W", "warning", str(path)], capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, "")


@pytest.mark.parametrize("command", all_commands(), ids=lambda command: command.name)
def test_a_page_has_every_option(command: click.Command) -> None:
    page = (ROOT / f"man/man1/paramctl-{command.name}.1").read_text()
    options = [option for option in command.params if isinstance(option, click.Option)]
    names = [name for option in options for name in (*option.opts, *option.secondary_opts)]
    assert [name for name in names if f"Fl {name.removeprefix('-')}" not in page] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_names_the_program_and_no_operating_system(path: Path) -> None:
    assert f"\n.Os paramctl {__version__}\n" in path.read_text()


def test_the_page_of_the_language_has_every_type_and_scheme() -> None:
    page = (ROOT / "man/man5/paramctl-model.5").read_text()
    names = [*LAYERS, *FUNCTIONS, *SCHEMES]
    assert len(names) > 60
    assert [name for name in names if f".It Ic {name}\n" not in page] == []
