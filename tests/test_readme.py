"""What the README shows is what happens: every command in it is run, and the Python too.

``pytest tests/test_readme.py --update`` writes the outputs again.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

README = ROOT / "README.md"
CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)


def shell(command: str, folder: Path) -> str:
    """What a command prints, errors too, in a folder with the sample models, where paramctl is installed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PARAMCTL_")} | {"PATH": path}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.stdout


def run_again(block: re.Match[str], folder: Path) -> str:
    commands = [line for line in block[1].splitlines() if line.startswith("$ ")]
    return "```console\n" + "".join(f"{command}\n{shell(command[2:], folder)}" for command in commands) + "```"


def test_every_command_prints_what_the_readme_shows(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """One after the other in one folder, so that a file which one writes is there for the next."""
    (tmp_path / "sample_models").symlink_to(ROOT / "sample_models")
    shown = README.read_text()
    assert len(CONSOLE.findall(shown)) >= 10
    happens = CONSOLE.sub(lambda block: run_again(block, tmp_path), shown)
    if request.config.getoption("--update"):
        README.write_text(happens)
    assert shown == happens


def test_the_python_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "124439808"


def test_the_model_shown_is_the_sample() -> None:
    (shown,) = re.findall(r"```yaml\n# sample_models/mlp.yaml\n(.*?)```", README.read_text(), re.DOTALL)
    assert (ROOT / "sample_models/mlp.yaml").read_text().endswith(shown)


def test_every_file_it_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README.read_text())
    assert len(links) > 5
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_chapter_in_one_table() -> None:
    """Each command of the table "in the chapter / in paramctl" is one that the chapter's script runs."""
    script = (ROOT / "tests/chapter.sh").read_text()
    table = README.read_text().partition("| in the chapter | in paramctl |")[2].partition("\n\n")[0]
    commands = re.findall(r"`(paramctl [^`]+)`", table)
    assert len(commands) >= 12
    assert [command for command in commands if command not in script] == []
