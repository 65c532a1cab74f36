"""The command line as a whole: help, suggestions, exit codes, closed pipes, completion."""

import ast
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import click
import h5py
import pytest

from paramctl import __version__
from paramctl.cli import CONTEXT, NAMES, all_commands
from paramctl.cli import paramctl as group
from paramctl.cli.main import run
from tests import forks
from tests.conftest import ROOT, Run

HEAVY = ("numpy", "h5py", "yaml", "tabulate", "ml_dtypes", "paramctl.model", "paramctl.init")
MLP = str(ROOT / "sample_models/mlp.yaml")


CLI = ROOT / "paramctl/cli"
HELP_COLUMNS = 44
"""The columns that click leaves for the help of an option on a terminal of 80 columns."""
BY_NAME = {str(command.name): command for command in all_commands()}


def test_every_command_is_one_file_and_one_name() -> None:
    """A module with a click command is in NAMES: else it would be in no help, man page, completion or test."""
    files = {path.stem.replace("_", "-") for path in CLI.glob("*.py") if "@click.command(" in path.read_text()}
    assert files == set(NAMES) == set(BY_NAME)
    assert len(NAMES) == len(files) > 10


@pytest.mark.parametrize("name", NAMES)
def test_no_command_imports_another(name: str) -> None:
    modules = {other.replace("-", "_") for other in NAMES}
    tree = ast.parse((CLI / f"{name.replace('-', '_')}.py").read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    from_cli = {alias.name for node in imports if node.module == "paramctl.cli" for alias in node.names}
    assert not {f"paramctl.cli.{other}" for other in modules} & {node.module for node in imports}
    assert not modules & from_cli


def test_the_list_of_commands_is_not_abbreviated(paramctl: Run) -> None:
    shown = paramctl("--help", env={"COLUMNS": "80"}).stdout
    assert "..." not in shown.partition("Commands:")[2]
    for name, command in BY_NAME.items():
        assert f"\n  {name} " in shown
        assert command.short_help
        assert len(command.short_help) <= 45
        assert not command.short_help.endswith(".")


def help_records(name: str) -> list[tuple[str, str]]:
    """The two columns of a command's options."""
    context = click.Context(BY_NAME[name], parent=click.Context(group, **CONTEXT), info_name=name)
    options = [each for each in BY_NAME[name].get_params(context) if isinstance(each, click.Option)]
    return [record for option in options if (record := option.get_help_record(context))]


@pytest.mark.parametrize("name", NAMES)
def test_option_help_is_a_phrase_of_two_lines(name: str) -> None:
    """On 80 columns, and the names of values say what they are."""
    records = help_records(name)
    assert records
    for term, text in records:
        assert not text.partition("  [")[0].endswith("."), text
        assert "RANGE" not in term
        assert "TEXT" not in term
        assert len(textwrap.wrap(text, HELP_COLUMNS)) <= 2, text


LISTS_MODULES = """
import json, sys
from paramctl.cli.main import run
try:
    code = run(sys.argv[1:])
except SystemExit as end:
    code = end.code
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        (["--help"], {}),
        (["--version"], {}),
        (["summary", "--help"], {}),
        (["completion", "zsh"], {}),
        ([], {"_PARAMCTL_COMPLETE": "bash_complete", "COMP_WORDS": "paramctl summ", "COMP_CWORD": "1"}),
        ([], {"_PARAMCTL_COMPLETE": "bash_complete", "COMP_WORDS": "paramctl summary --", "COMP_CWORD": "2"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value.get("COMP_WORDS", ""),
)
def test_help_version_and_completion_import_nothing_heavy(arguments: list[str], env: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LISTS_MODULES, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
        cwd=ROOT,
    )
    modules = json.loads(done.stderr.splitlines()[-1])
    assert "click" in modules
    assert not [name for name in modules if name in HEAVY]
    assert done.stdout


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_the_version_alone_is_printed_without_click_and_as_click_prints_it(option: str) -> None:
    code = "import sys; from paramctl.__main__ import main; main(); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-S", "-c", code, option], capture_output=True, text=True, cwd=ROOT)
    ours = [name for name in done.stderr.split() if name.startswith("paramctl")]
    assert ours == ["paramctl", "paramctl.__main__"]
    assert not {"click", "typing", "re", "importlib"} & {*done.stderr.split()}
    with_click = subprocess.run([sys.executable, "-c", LISTS_MODULES, option], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == with_click.stdout == f"paramctl {__version__}\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_the_version_on_a_full_disk_is_an_error() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "paramctl", "--version"], stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
    assert (done.returncode, done.stderr) == (2, "standard output: No space left on device\n")


def test_help_that_lists_presets_imports_the_registry_and_nothing_heavier() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LISTS_MODULES, "init", "--help"], capture_output=True, text=True, cwd=ROOT
    )
    modules = json.loads(done.stderr.splitlines()[-1])
    assert "paramctl.init.presets" in modules
    assert [name for name in modules if name in HEAVY] == ["paramctl.init"]


def test_summary_imports_neither_numpy_nor_h5py_nor_another_command() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LISTS_MODULES, "summary", MLP], capture_output=True, text=True, cwd=ROOT
    )
    modules = json.loads(done.stderr.splitlines()[-1])
    assert "yaml" in modules
    assert not {"numpy", "h5py", "ml_dtypes"} & set(modules)
    assert {f"paramctl.cli.{name}" for name in NAMES} & set(modules) == {"paramctl.cli.summary"}


@pytest.mark.parametrize("options", [[], ["--parameters", "--format", "json"], ["--format", "tree"]], ids=" ".join)
@pytest.mark.parametrize("name", ["w.safetensors", "w/", "w.h5", "old.h5"])
def test_summary_of_a_header_imports_no_numpy(paramctl: Run, tmp_path: Path, name: str, options: list[str]) -> None:
    """A header is read without NumPy, which takes longer to import than the header to read."""
    file = tmp_path / name
    if name.endswith(".h5"):
        with h5py.File(file, "w") as new:
            for dtype, order in itertools.product(("f2", "f4", "i8", "u2", "c8"), "<>"):
                new.create_dataset(f"layer_{dtype}/{'big' if order == '>' else 'kernel'}", (3, 2), f"{order}{dtype}")
            if name == "w.h5":
                new["layer_f4"].attrs["note"] = "trained"
    else:
        target = f"{file}/" if name.endswith("/") else str(file)
        assert paramctl("init", MLP, "--dtype", "bfloat16", "-o", target).returncode == 0
    done = subprocess.run(
        [sys.executable, "-c", LISTS_MODULES, "summary", str(file), *options], capture_output=True, text=True, cwd=ROOT
    )
    modules = json.loads(done.stderr.splitlines()[-1])
    assert "paramctl.store.checkpoint" in modules
    assert "kernel" in done.stdout or "layer_f4" in done.stdout or "dense" in done.stdout
    assert not {"numpy", "h5py", "ml_dtypes"} & set(modules)


def test_version(paramctl: Run) -> None:
    assert paramctl("--version").stdout == f"paramctl {__version__}\n"


@pytest.mark.parametrize("name", [command.name for command in all_commands()])
def test_every_command_has_help_with_examples_that_name_it(paramctl: Run, name: str) -> None:
    long, short = paramctl(name, "--help"), paramctl(name, "-h")
    assert (long.returncode, long.stdout) == (0, short.stdout)
    assert f"paramctl {name}" in long.stdout.partition("\n")[2]
    assert all(option in long.stdout for option in ("-h, --help", "Show this message and exit\n"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["sumary"], "paramctl: No such command 'sumary'. Did you mean 'summary'? See paramctl --help."),
        (["summary", "--paramters"], "paramctl summary: No such option '--paramters'. Did you mean '--parameters'?"),
        (["summary", "--depth", "0"], "Invalid value for '--depth': 0 is not in the range x>=1."),
        (
            ["summary", "--format", "yaml"],
            "'yaml' is not one of 'table', 'tree', 'json', 'jsonl', 'csv', 'markdown', 'html', 'latex'.",
        ),
        (["summary", "missing.yaml"], "missing.yaml: No such file or directory"),
        (["layers", "dens"], "no layer or activation function has this type (got 'dens'). Did you mean 'dense'?"),
        (["completion", "tcsh"], "'tcsh' is not one of 'bash', 'zsh', 'fish'."),
    ],
)
def test_an_error_is_one_line_on_standard_error_and_exit_code_2(paramctl: Run, arguments: list[str], says: str) -> None:
    failed = paramctl(*arguments)
    assert (failed.returncode, failed.stdout) == (2, "")
    assert says in failed.stderr
    assert failed.stderr.count("\n") == 1


def test_no_arguments_prints_help_with_exit_code_2(paramctl: Run) -> None:
    shown = paramctl()
    assert shown.returncode == 2
    assert "summary" in shown.stderr


def large_model(folder: Path) -> str:
    path = folder / "large.yaml"
    path.write_text("input: [4]\nlayers:\n  - dense: {units: 4, repeat: 20000}\n")
    return str(path)


def test_a_closed_pipe_ends_quietly(paramctl: Run, tmp_path: Path) -> None:
    command = f"{sys.executable} -m paramctl summary {large_model(tmp_path)} --format csv"
    piped = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | head -1"], capture_output=True, text=True, cwd=ROOT
    )
    assert (piped.stdout, piped.stderr) == ("path,type,output_shape,parameters,reuse_of,from\n", "")
    assert piped.returncode == 141


@pytest.mark.parametrize("arguments", [["--help"], ["layers"], ["completion", "bash"]], ids=" ".join)
def test_a_closed_pipe_ends_quietly_for_every_kind_of_output(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "paramctl", *arguments], stdout=writer, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("unbuffered", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["buffered", "unbuffered"])
def test_a_full_standard_error_changes_no_exit_code(unbuffered: dict[str, str]) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"} | unbuffered
    command = [sys.executable, "-m", "paramctl", "summary", "missing"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stderr=full, cwd=ROOT, env=environment)
    assert done.returncode == 2


def test_a_closed_standard_input_is_one_line() -> None:
    closed = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m paramctl summary - <&-"], capture_output=True, text=True, cwd=ROOT
    )
    assert (closed.returncode, closed.stderr) == (2, "<stdin>: closed\n")


def test_a_pipe_can_replace_a_file() -> None:
    """As in a shell's process substitution."""
    command = f"{sys.executable} -m paramctl summary <(cat {MLP}) --format csv"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout.count("\n")) == (0, 4)


def test_an_internal_error_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Never exit code 1, which means differences."""

    def defective(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a slip")

    monkeypatch.setattr("paramctl.library.structure.summarize", defective)
    assert run(["summary", MLP]) == 2
    assert (
        capsys.readouterr().err
        == "internal error: ZeroDivisionError: a slip. Set PARAMCTL_TRACEBACK=1 for a traceback.\n"
    )
    monkeypatch.setenv("PARAMCTL_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        run(["summary", MLP])


@pytest.mark.parametrize("format_", ["table", "csv"])
def test_a_full_device_is_one_line_and_exit_code_2(paramctl: Run, tmp_path: Path, format_: str) -> None:
    for path in (MLP, large_model(tmp_path)):
        with open("/dev/full", "w") as full:
            failed = paramctl(
                "summary", path, "--format", format_, capture_output=False, stdout=full, stderr=subprocess.PIPE
            )
        assert (failed.returncode, failed.stderr) == (2, "standard output: No space left on device\n")


def test_a_closed_standard_output_is_one_line_and_exit_code_2() -> None:
    closed = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m paramctl summary {MLP} >&-"], capture_output=True, text=True, cwd=ROOT
    )
    assert (closed.returncode, closed.stderr) == (2, "standard output: closed\n")


def test_an_interrupt_is_quiet_and_130(tmp_path: Path) -> None:
    """Standard input stays open, so that the process is waiting for it when the interrupt comes."""
    command = [sys.executable, "-u", "-m", "paramctl", "summary", "-"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdin is not None
        process.stdin.write(b"x" * 65536 * 3)  # more than a pipe holds: it returns when paramctl has begun to read
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        process.stdin.close()
        assert process.wait(forks.patience()) == 130
        assert process.stderr is not None
        assert process.stderr.read().strip() == b""


def test_characters_that_the_encoding_lacks_are_escaped(paramctl: Run) -> None:
    text = 'name: "gr\\xf6\\xdfe"\ninput: [4]\nlayers: [flatten, {residual: [flatten]}]\n'
    shown = paramctl(
        "summary", "-", "--format", "tree", input=text, env={"PYTHONIOENCODING": "ascii"}, encoding="ascii"
    )
    assert shown.stdout.startswith("gr\\xf6\\xdfe: ")
    assert "\n`- residual" in shown.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_loads_in_the_shell(paramctl: Run, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = paramctl("completion", shell).stdout
    assert "_PARAMCTL_COMPLETE" in script
    prelude = "autoload -U compinit && compinit -D\n" if shell == "zsh" else ""
    loaded = subprocess.run([shell], input=prelude + script, capture_output=True, text=True)
    assert (loaded.returncode, loaded.stderr) == (0, "")


def test_options_can_come_from_the_environment(paramctl: Run) -> None:
    assert paramctl("summary", MLP, env={"PARAMCTL_SUMMARY_FORMAT": "csv"}).stdout.startswith("path,type,")


def test_layers_lists_types_and_options(paramctl: Run) -> None:
    listed = json.loads(paramctl("layers", "--format", "json").stdout)
    by_type = {row["type"]: row for row in listed}
    assert by_type["conv2d"]["options"][:3] == ["filters", "kernel_size", "strides"]
    assert by_type["gelu"]["kind"] == "activation"
    table = paramctl("layers", "conv2d").stdout
    assert "conv2d  filters             (required)" in table
    assert "conv2d  strides             1" in table
    options = {row["option"]: row for row in json.loads(paramctl("layers", "conv2d", "--format", "json").stdout)}
    assert (options["filters"]["required"], options["filters"]["default"]) == (True, None)
    assert (options["activation"]["required"], options["activation"]["default"]) == (False, None)
    assert options["use_bias"]["default"] is True


def test_layer_types_are_completed(paramctl: Run) -> None:
    words = {"_PARAMCTL_COMPLETE": "bash_complete", "COMP_WORDS": "paramctl layers conv2", "COMP_CWORD": "2"}
    assert paramctl(env=words).stdout.split() == ["plain,conv2d", "plain,conv2d_transpose"]
