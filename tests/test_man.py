"""The man pages are those that the commands and registries give, and mandoc finds no fault in them."""

import shutil
import subprocess
import sys

import click
import pytest

from paramctl.cli import COMMANDS
from paramctl.init.registry import SCHEMES
from paramctl.model.layers import FUNCTIONS, LAYERS
from tests.conftest import ROOT

PAGES = sorted((ROOT / "man").glob("man*/*.*"))


def test_a_page_for_each_command_and_the_language() -> None:
    names = {f"paramctl-{command.name}.1" for command in COMMANDS} | {"paramctl.1", "paramctl-model.5"}
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
def test_mandoc_finds_no_fault(path: object) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    checked = subprocess.run(["mandoc", "-Tlint", "-W", "warning", str(path)], capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, "")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_a_page_has_every_option(command: click.Command) -> None:
    page = (ROOT / f"man/man1/paramctl-{command.name}.1").read_text()
    options = [name for each in command.params if isinstance(each, click.Option) for name in each.opts]
    assert [name for name in options if f"Fl {name.removeprefix('-')}" not in page] == []


def test_the_languages_page_has_every_type_and_scheme() -> None:
    page = (ROOT / "man/man5/paramctl-model.5").read_text()
    names = [*LAYERS, *FUNCTIONS, *SCHEMES]
    assert len(names) > 60
    assert [name for name in names if f".It Ic {name}\n" not in page] == []
