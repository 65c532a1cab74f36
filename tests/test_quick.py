"""Answers without click: equal to click's for every command and option, in each shell; everything else is left to it."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from paramctl.cli import NAMES, all_commands, shells
from paramctl.cli import paramctl as group
from paramctl.cli.completions import SHELLS
from paramctl.cli.quick_texts import quick_texts
from paramctl.quick import completion, texts
from tests.conftest import ROOT, Call

COMMANDS = {str(command.name): command for command in all_commands()}


def variables(line: str, shell: str) -> dict[str, str]:
    """Return the variables that a shell sets for a line with the cursor at its end."""
    words = line.split(" ")
    number = words[-1] if shell == "fish" else str(len(words) - 1)
    more = {"COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_WORD": words[-1]} if shell == "bash" else {}
    return {"_PARAMCTL_COMPLETE": f"{shell}_complete", "COMP_WORDS": line, "COMP_CWORD": number} | more


def by_click(line: str, shell: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in variables(line, shell).items():
        monkeypatch.setenv(name, value)
    shown = {"bash": shells.Bash, "zsh": shells.Zsh, "fish": shells.Fish}[shell]
    return f"{shown(group, {}, 'paramctl', '_PARAMCTL_COMPLETE').complete()}\n"


def lines_of(command: click.Command) -> list[str]:
    """Return lines of a command: words, options, options before options, and the values of each option."""
    with click.Context(command, info_name=command.name) as context:
        options = [each for each in command.get_params(context) if isinstance(each, click.Option)]
    names = [name for each in options for name in (*each.opts, *each.secondary_opts)]
    ends = ["", "a", "-", "--", "--f", "--no", "a ", "a b ", "a b c ", "a -", "- ", "-- ", "-- -", "-1/k ", "-qv -"]
    ends += [f"{name} {rest}" for name in names for rest in ("", "a", "--", "a b ", "x --", "x y --", "-v --f")]
    return [f"paramctl {command.name} {end}" for end in ends]


@pytest.mark.parametrize("name", NAMES)
def test_every_answer_about_a_command_is_clicks(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    answered = 0
    for number, line in enumerate(lines_of(COMMANDS[name])):
        shell = SHELLS[number % len(SHELLS)]
        quick = completion.answer(variables(line, shell))
        if quick is not None:
            answered += 1
            assert quick == by_click(line, shell, monkeypatch), (shell, line)
    assert answered > 20


@pytest.mark.parametrize("shell", SHELLS)
def test_lists_of_names_never_need_click(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All commands, those with a prefix, the options of the group, and all options of each command."""
    for line in ("", "s", "summ", "x", "-", "--", "--c", *(f"{name} -" for name in NAMES)):
        quick = completion.answer(variables(f"paramctl {line}", shell))
        assert quick == by_click(f"paramctl {line}", shell, monkeypatch), line
    assert completion.answer(variables("paramctl s", shell)).count("summary") == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "line",
    [
        "paramctl",
        "paramctl nope -",
        "paramctl paramctl -",
        "paramctl --color always s",
        "paramctl summary 'a -",
        "paramctl summary a\\ b -",
        "paramctl summary --format=t",
        "paramctl summary --format",
        "paramctl summary é -",
        "paramctl summary --help -",
        "paramctl summary --depth -1 -",
        "paramctl summary m.yaml dense",
    ],
)
def test_other_lines_are_left_to_click(line: str) -> None:
    """A line with --format alone is a list of names; bash then has the word in COMP_WORD."""
    expected = line.endswith("--format")
    assert (completion.answer(variables(line, "zsh")) is not None) is expected


def test_words_that_bash_splits_are_left_to_click() -> None:
    split = variables("paramctl init m.yaml --rule a:b", "bash") | {"COMP_WORD": "b"}
    assert completion.answer(split) is None
    cursor = variables("paramctl summ --depth", "bash") | {"COMP_POINT": "13", "COMP_WORD": "summ"}
    assert completion.answer(cursor) == "plain,summary\n"


@pytest.mark.parametrize("name", ["help.txt", "words.txt"])
def test_the_texts_are_those_of_the_commands(name: str) -> None:
    assert (ROOT / "paramctl/quick" / name).read_text() == quick_texts()[name], "Run make man"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the files from which the texts are written, and of the texts."""
    for folder in ("cli", "inspect", "quick"):
        shutil.copytree(ROOT / "paramctl" / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.mark.parametrize("change", ["cli/summary.py", "cli/render.py", "inspect/sorts.py", "cli/new.py"])
def test_texts_of_other_commands_are_left_to_click(change: str, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "__file__", str(package / "quick/texts.py"))
    assert texts.help_text(None)
    assert completion.complete([], "s")
    file = package / change
    file.write_text(file.read_text().replace("a", "b") if file.exists() else "")  # of the same size
    assert texts.help_text(None) == ""
    assert completion.complete([], "s") is None


def test_every_choice_is_from_a_file_that_the_mark_covers() -> None:
    """A name in click.Choice is of the module itself, or imported from the command line or one of ELSEWHERE."""
    covered = {f"paramctl.{name.removesuffix('.py').replace('/', '.')}" for name in texts.ELSEWHERE}
    used = set()
    for path in (ROOT / "paramctl/cli").glob("*.py"):
        tree = ast.parse(path.read_text())
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        choices = [each for call in calls if ast.unparse(call.func) == "click.Choice" for each in call.args]
        names = {node.id for each in choices for node in ast.walk(each) if isinstance(node, ast.Name)}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and names & {alias.name for alias in node.names}:
                used.add(str(node.module))
    assert {module for module in used if not module.startswith("paramctl.cli.")} == covered


def test_the_help_has_the_encoding_of_standard_output() -> None:
    for encoding in ("utf-16", "ascii"):
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding}
        environment = {key: value for key, value in environment.items() if key not in ("COLUMNS", "LINES")}
        program = [sys.executable, "-m", "paramctl", "--help"]
        done = subprocess.run(program, capture_output=True, env=environment)
        assert done.stdout.decode(encoding) == texts.help_text(None)


def test_without_the_texts_click_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "__file__", "/nowhere/texts.py")
    assert texts.help_text(None) == ""
    assert completion.complete(["summary"], "--") is None
    assert completion.complete([], "s") is None


@pytest.mark.parametrize("screen", [None, (80, 100), (300, 100)])
def test_the_help_is_clicks(screen: tuple[int, int] | None, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(screen[0] if screen else 80))
    assert texts.help_text(screen) == call("--help")[1]


def test_help_that_does_not_fit_the_screen_is_clicks() -> None:
    """click wraps it for 79 columns, and a pager shows it on a screen with too few lines."""
    lines = texts.help_text(None).count("\n")
    assert texts.help_text((80, lines + 2))
    assert not texts.help_text((80, lines + 1))
    assert not texts.help_text((79, 100))


STARTS = {
    "version": (["--version"], ""),
    "help": (["--help"], ""),
    "commands": ([], "paramctl su"),
    "options": ([], "paramctl summary --"),
    "choices": ([], "paramctl summary m.yaml --format "),
    "files": ([], "paramctl summary m"),
}


@pytest.mark.parametrize("start", STARTS)
def test_a_quick_answer_imports_nothing_heavy(start: str) -> None:
    """Neither click, nor what takes long in the standard library; and it prints what click prints."""
    arguments, line = STARTS[start]
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    environment |= {"PYTHONPATH": str(ROOT)} | (variables(line, "bash") if line else {})
    code = "import sys; from paramctl.__main__ import main; main(); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, *arguments], capture_output=True, text=True, env=environment
    )
    loaded = set(done.stderr.split())
    assert not loaded & {"click", "typing", "re", "json", "importlib", "shlex", "collections", "dataclasses"}
    assert {name for name in loaded if name.startswith("paramctl.")} <= {
        "paramctl.__main__",
        "paramctl.quick",
        "paramctl.quick.completion",
        "paramctl.quick.texts",
    }
    code = "import sys; from paramctl.cli.main import main; main()"
    slow = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment)
    assert done.stdout == slow.stdout != ""


def test_a_line_that_the_table_lacks_reaches_click(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("input: [4]\nlayers: [{dense: {units: 1, name: body}}]\n")
    environment = os.environ | variables("paramctl summary m.yaml bo", "bash") | {"PYTHONPATH": str(ROOT)}
    program = [sys.executable, "-m", "paramctl"]
    done = subprocess.run(program, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert json.dumps(done.stdout.split()) == '["plain,body", "plain,body/kernel", "plain,body/bias"]'
