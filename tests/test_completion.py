"""TAB completion of values: by the metavar of an option, in real shells, with few imports."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest

from paramctl.cli import all_commands
from paramctl.cli.completions import BY_METAVAR, FILES, SHELLS
from paramctl.cli.shells import Bash, Fish, Zsh
from tests import forks
from tests.conftest import ROOT, Call, Run
from tests.test_command_line import HEAVY, LISTS_MODULES

DOCUMENT = "vars: {width: 4, depth: 2}\ninput: [4]\nlayers: [{dense: {units: '${width}', name: body}}, {dense: 1}]\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "m.yaml").write_text(DOCUMENT)
    np.savez(tmp_path / "w.npz", **{"a/kernel": np.zeros(2), "a/bias": np.zeros(2)})
    (tmp_path / "more").mkdir()
    return tmp_path


def completed(call: Call, monkeypatch: pytest.MonkeyPatch, line: str, shell: str = "bash") -> list[str]:
    """Return the whole words that complete the last word of a line."""
    words = line.split(" ")
    monkeypatch.setenv("_PARAMCTL_COMPLETE", f"{shell}_complete")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", words[-1] if shell == "fish" else str(len(words) - 1))
    code, out, err = call()
    assert (code, err) == (0, "")
    lines = out.splitlines()
    if shell == "zsh":
        return [value if kind == "plain" else kind for kind, value in zip(lines[::3], lines[1::3], strict=True)]
    return [each.removeprefix("plain,") for each in lines if each]


CASES = {
    "init m.yaml --scheme glorot_": ["glorot_uniform", "glorot_normal"],
    "init m.yaml --scheme normal:": ["normal:mean=", "normal:stddev="],
    "init m.yaml --scheme normal:mean=1,": ["normal:mean=1,stddev="],
    "init m.yaml --scheme fro": ["from:"],
    "init m.yaml --scheme from:w": ["from:w.npz"],
    "init m.yaml --scheme=glorot_n": ["--scheme=glorot_normal"],
    "init m.yaml --rule body/": ["body/kernel=", "body/bias="],
    "init m.yaml --rule body/kernel=he_": ["body/kernel=he_uniform", "body/kernel=he_normal"],
    "init m.yaml --rule body/kernel=normal:m": ["body/kernel=normal:mean="],
    "init m.yaml --rule=body/kernel=lecun_n": ["--rule=body/kernel=lecun_normal"],
    "init m.yaml --preset tor": ["torch"],
    "init m.yaml --dtype b": ["bfloat16"],
    "init m.yaml -D ": ["width=", "depth="],
    "init m.yaml --define de": ["depth="],
    "init w.npz a/k": ["a/kernel"],
    "probe m.yaml --compare zeros,glorot_n": ["zeros,glorot_normal"],
    "save w.npz --dtype bf": ["bfloat16"],
    "save w.npz --dtype a/kernel=bf": ["a/kernel=bfloat16"],
    "save w.npz --allow ov": ["overflow"],
    "save w.npz --allow overflow=a/b": ["overflow=a/bias"],
    "save w.npz --drop a/b": ["a/bias"],
    "set w.npz a/kernel=@w": ["a/kernel=@w.npz"],
    "set w.npz a/kernel=zer": ["a/kernel=zero", "a/kernel=zeros"],
    "run m.yaml --input x=w": ["x=w.npz"],
    "run m.yaml --input mo": ["more/"],
    "schemes he_normal --parameter m.yaml:body/k": ["m.yaml:body/kernel"],
    "schemes he_n": ["he_normal"],
    "summary m.yaml --columns path,macs,ac": ["path,macs,activations"],
    "summary m.yaml --parameters --columns fan_": ["fan_in", "fan_out"],
    "summary m.yaml --format ma": ["markdown"],
    "summary m.yaml w.n": ["w.npz"],
    "stat w.npz --columns path,me": ["path,mean"],
    "check w.npz --select err": ["error"],
    "layers conv2d_": ["conv2d_transpose"],
    "help summ": ["summary"],
    "completion fi": ["fish"],
    "arithmetic base+tuned base=w": ["base=w.npz"],
    "diff w.npz --color al": ["always"],
}


@pytest.mark.parametrize("line", CASES)
def test_values_are_completed(line: str, folder: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    words = completed(call, monkeypatch, f"paramctl {line}")
    assert sorted(words) == sorted(CASES[line])


@pytest.mark.parametrize("shell", ["zsh", "fish"])
@pytest.mark.parametrize("line", [*CASES][::4])
def test_every_shell_gets_the_same_words(
    line: str, shell: str, folder: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sorted(completed(call, monkeypatch, f"paramctl {line}", shell)) == sorted(CASES[line])


@pytest.mark.parametrize(
    "option", ["init -o", "init --like", "probe m.yaml --weights", "train m.yaml --data", "merge a --lora"]
)
def test_files_are_left_to_the_shell(option: str, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    assert completed(call, monkeypatch, f"paramctl {option} x") == ["file,x"]


@pytest.mark.parametrize(
    "line",
    [
        "init missing.yaml -D w",
        "init bad.yaml -D w",
        "init - --rule b",
        "init w.npz -D w",
        "init hf://a/b --rule b",
        "summary m.yaml --columns nope",
    ],
)
def test_what_cannot_be_completed_is_nothing_and_no_error(
    line: str, folder: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "bad.yaml").write_text("layers: [")
    assert completed(call, monkeypatch, f"paramctl {line}") == []


def test_every_value_that_names_something_known_is_completed() -> None:
    """A new option for a file, a scheme, a dtype or a pattern, in whatever form, is noticed here."""
    known = {"FILE", "MODEL", "SCHEME", "DTYPE", "PATTERN", "ADAPTER"}
    missing, count = [], 0
    for command in all_commands():
        for each in command.params:
            words = set(re.split(r"\W+", str(each.metavar)))
            if isinstance(each, click.Option) and isinstance(each.type, type(click.STRING)) and words & known:
                count += 1
                missing += [] if each.metavar in {*BY_METAVAR, *FILES} else [f"{command.name} {each.metavar}"]
    assert missing == []
    assert count > 30


@pytest.mark.parametrize(
    ("line", "imports"),
    [
        ("init --scheme glo", {"paramctl.init"}),
        ("init m.yaml -D w", {"yaml", "paramctl.model"}),
        ("summary m.yaml --columns pa", set()),
        ("save w.npz --dtype bf", set()),
        ("init m.yaml --rule body/k", {"yaml", "paramctl.model", "paramctl.init"}),
    ],
)
def test_completion_imports_no_numpy(line: str, imports: set[str], folder: Path) -> None:
    words = {
        "_PARAMCTL_COMPLETE": "bash_complete",
        "COMP_WORDS": f"paramctl {line}",
        "COMP_CWORD": str(line.count(" ") + 1),
    }
    done = subprocess.run(
        [sys.executable, "-c", LISTS_MODULES],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, **words, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout
    modules = json.loads(done.stderr.splitlines()[-1])
    assert {name for name in modules if name in HEAVY} <= imports
    assert not {"numpy", "h5py"} & set(modules)


def program(folder: Path) -> dict[str, str]:
    """Return an environment in which paramctl is a command."""
    (folder / "bin").mkdir(exist_ok=True)
    command = folder / "bin/paramctl"
    command.write_text(f'#!/bin/sh\nexec {forks.shell_command()} "$@"\n')
    command.chmod(0o755)
    return {**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


SHELL_CASES = {
    "paramctl init m.yaml --rule body/kernel=he_n": "body/kernel=he_normal",
    "paramctl init m.yaml --rule 'body/kernel=he_n": "body/kernel=he_normal",
    "paramctl init m.yaml --rule=body/kernel=normal:s": "--rule=body/kernel=normal:stddev=",
    "paramctl summary m.yaml --columns path,output_s": "path,output_shape",
    "paramctl init m.yaml -D w": "width=",
}


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_inserts_what_its_words_lack(folder: Path) -> None:
    """bash splits words at = and :, unless they are in quotes, and replaces the last only."""
    lines = []
    for line in SHELL_CASES:
        words = line.split(" ")
        last = words.pop()
        parts = [last] if "'" in last else last.replace("=", " = ").replace(":", " : ").split(" ")
        quoted = " ".join(f'"{word}"' for word in [*words, *parts])
        lines += [
            f'COMP_WORDS=({quoted}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_LINE="{line}"; COMP_POINT=${{#COMP_LINE}}',
            '_paramctl_completion paramctl; echo "${COMPREPLY[@]}"',
        ]
    script = 'compopt() { :; }; eval "$(paramctl completion bash)"\n' + "\n".join(lines)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=folder, env=program(folder))
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["he_normal", "body/kernel=he_normal", "stddev=", "path,output_shape", "width="]


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_itself(folder: Path) -> None:
    script = "paramctl completion fish | source\n" + "".join(
        f"complete -C {json.dumps(line)}\n" for line in SHELL_CASES if "'" not in line
    )
    done = subprocess.run(
        ["fish", "--no-config"], input=script, capture_output=True, text=True, cwd=folder, env=program(folder)
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [word for line, word in SHELL_CASES.items() if "'" not in line]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_gets_words_with_and_without_a_space(folder: Path) -> None:
    """The function is called as zsh calls it, with a compadd that prints its arguments."""
    lines = [f"words=({line}); CURRENT=$#words; _paramctl_completion" for line in SHELL_CASES if "'" not in line]
    script = (
        "compdef() { : }; compadd() { local last=$@[-1]; print -r -- ${${(M)@:#-S}:+open} ${(P)last} }\n"
        'eval "$(paramctl completion zsh)"; rehash\n' + "\n".join(lines)
    )
    done = subprocess.run(["zsh", "-f", "-c", script], capture_output=True, text=True, cwd=folder, env=program(folder))
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "body/kernel=he_normal",
        "open --rule=body/kernel=normal:stddev=",
        "path,output_shape",
        "open width=",
    ]


def test_the_changes_to_clicks_scripts_apply() -> None:
    """They replace parts of click's own, which another release may write differently."""
    assert "unfinished+=" in Zsh.source_template
    assert "compadd -S '' -U" in Zsh.source_template
    assert "completions unfinished" in Zsh.source_template
    assert 'split -m 1 ","' in Fish.source_template
    assert "COMP_LINE" in Bash.source_template


def test_each_shell_has_a_script(paramctl: Run) -> None:
    for shell in SHELLS:
        assert "_PARAMCTL_COMPLETE" in paramctl("completion", shell).stdout
