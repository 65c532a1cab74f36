"""The chapter "Parameter Management" as one script of commands: it runs in an empty folder, and prints what it should."""

import json
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests import forks
from tests.conftest import ROOT

SCRIPT = ROOT / "tests/chapter.sh"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chapter")


@pytest.fixture(scope="module")
def sections(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the script's output under each of its headings. It runs once, with paramctl on the PATH."""
    commands = tmp_path_factory.mktemp("bin")
    command = commands / "paramctl"
    command.write_text(f'#!/bin/sh\nexec {forks.shell_command()} "$@"\n')
    command.chmod(0o755)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PARAMCTL", "NO_COLOR"))} | {
        "PATH": f"{commands}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "SAMPLES": str(ROOT / "sample_models"),
    }
    ended = subprocess.run(
        ["bash", str(SCRIPT)], cwd=folder, env=environment, capture_output=True, text=True, timeout=forks.patience()
    )
    assert ended.returncode == 0, ended.stderr
    _, *parts = re.split(r"^## (.*)\n", ended.stdout, flags=re.MULTILINE)
    return {heading: text.strip("\n") for heading, text in zip(parts[::2], parts[1::2], strict=True)}


def arrays(text: str) -> list[np.ndarray]:
    """The matrices that were printed, in order."""
    return [
        np.array([[float(number) for number in row.strip("[] ").split()] for row in found.splitlines()])
        for found in re.findall(r"\[\[.*?\]\]", text, flags=re.DOTALL)
    ]


def test_parameters_are_reached_as_in_the_book(sections: dict[str, str]) -> None:
    """The output layer's two, its bias by place and by name, its facts, all of them at once, and the second of all."""
    text = sections["Parameter access"]
    assert "Total parameters:  25" in text
    assert "\ndense_1/kernel (4, 1) float32\n[[" in text
    assert "\n\ndense_1/bias (1,) float32\n[0.]\n[0.]\n[0.]\npath,shape,dtype,trainable\n" in text
    assert '\ndense_1/bias,"(1,)",float32,true\n' in text
    everything, end = json.JSONDecoder().raw_decode(text, text.index("{"))
    assert [np.shape(values) for values in everything.values()] == [(4, 4), (4,), (4, 1), (1,)]
    assert text[end:].strip() == "[0. 0. 0. 0.]"


def test_a_bias_in_nested_blocks_has_two_addresses(sections: dict[str, str]) -> None:
    text = sections["Parameters from nested blocks"]
    assert "Total parameters:  85" in text
    assert text.count("block1 ") == 4
    assert text.endswith("\n[0. 0. 0. 0.]\n[0. 0. 0. 0.]")


def test_initialized_as_in_the_book(sections: dict[str, str]) -> None:
    """Small and normal with zero biases; all one; Glorot's law, and 42."""
    (small,) = arrays(sections["Built-in initialization: normal"])
    assert 0 < np.abs(small).max() < 0.05
    assert sections["Built-in initialization: normal"].endswith("\n[0. 0. 0. 0.]")
    (ones,) = arrays(sections["Built-in initialization: constant"])
    assert np.array_equal(ones, np.ones((4, 4)))
    first, second = arrays(sections["Built-in initialization: different blocks"])
    assert 0.4 < np.abs(first).max() <= np.sqrt(6 / 8)
    assert np.array_equal(second, np.full((4, 1), 42))
    planned = [line.split(",") for line in sections["Built-in initialization: different blocks"].splitlines()[-10:]]
    schemes = {row[0]: ",".join(row) for row in planned}
    assert all(
        "glorot_uniform" in text for path, text in schemes.items() if path.startswith("block2") and "kernel" in path
    )
    assert "constant" in schemes["dense/kernel"]


def test_the_custom_law_in_words_and_in_python(sections: dict[str, str]) -> None:
    """0, or between 5 and 10 either way."""
    made = arrays(sections["Custom initialization"])
    assert [array.shape for array in made] == [(4, 4), (4, 6)]
    for array in made:
        assert np.all((array == 0) | ((np.abs(array) >= 5) & (np.abs(array) <= 10)))
        assert (array == 0).any()
        assert (array != 0).any()


def test_parameters_set_directly(sections: dict[str, str]) -> None:
    """1 is added to each, and the first becomes 42."""
    (expected, _), (found,) = (arrays(sections[name]) for name in ("Custom initialization", "Parameters set directly"))
    expected = expected + 1
    expected[0, 0] = 42
    assert np.allclose(found, expected, rtol=1e-6)


def test_a_layer_used_twice_is_one_object(sections: dict[str, str]) -> None:
    text = sections["Tied parameters"]
    assert "Total parameters:  25" in text
    assert text.endswith("\nequal\n100.")


def test_two_arrays_become_one_and_part_again(sections: dict[str, str]) -> None:
    """A change under one name shows under the other, until they are untied; a document gets three lines and loses none."""
    tied, name = "block2/block-0/dense/kernel", "block2/block-1/dense/kernel"
    lines = sections["Tied parameters: two arrays become one"].splitlines()
    assert lines[:3] == ["100.", "keep,tie,transpose", f"{tied},{name},false"]
    assert [line for line in lines if line.startswith("<")] == []
    assert [line for line in lines if line.startswith(">")] == [
        "> ",
        "> ties:",
        f">   - {{keep: {tied}, tie: {name}}}",
    ]
    assert lines[-3:] == ["path,i0,i1,value", f"{tied},0,0,1.0", f"{name},0,0,100.0"]


def test_the_constant_is_not_trained_and_no_scheme_touches_it(sections: dict[str, str]) -> None:
    text = sections["Exercises: FancyMLP"]
    assert "trainable:     420" in text
    assert "non-trainable: 400" in text
    assert "\n[7. 7. 7.]\n" in text
    (drawn,) = arrays(text)
    assert np.all((drawn > 0) & (drawn < 1))
    assert "\nshared/kernel,values" in text
    assert "\nconstant/kernel,values" not in text
    assert text.splitlines()[-1].strip() == "401"


def test_the_chimera(sections: dict[str, str]) -> None:
    text = sections["Exercises: the chimera"]
    assert "Total parameters:  5,112" in text
    assert "non-trainable:   400" in text
    assert text.splitlines()[-1] == "nest_mlp/net/dense/bias,63,0.0"


def test_the_network_runs(sections: dict[str, str]) -> None:
    """A row for each example; the chimera gives one number, of at most 1 by FancyMLP's loop."""
    *rows, scalar = sections["Running the network"].splitlines()
    assert len(rows) == 2
    facts = json.loads(scalar)
    assert facts["shape"] == []
    assert abs(facts["values"]) <= 1


def test_a_shared_layer_is_trained(sections: dict[str, str]) -> None:
    """The loss falls, and the gradient of the shared kernel is at most as long as those of its two uses together."""
    steps = [json.loads(line) for line in sections["Exercises: train with a shared layer"].splitlines()]
    assert len(steps) == 200
    losses = [step["loss"] for step in steps]
    assert sum(losses[-10:]) < sum(losses[:10]) / 3
    for step in steps:
        kernel = step["parameters"]["shared/kernel"]
        assert {*kernel["uses"]} == {"shared/kernel#1", "shared/kernel#2"}
        assert 0 < kernel["gradient_norm"] <= sum(kernel["uses"].values())


def test_only_the_files_of_the_script_are_left(sections: dict[str, str], folder: Path) -> None:
    documents = {f"{name}.yaml" for name in "mlp rgnet nest_mlp chimera fancy_mlp tied_mlp two sum".split()}
    files = {f"{name}.h5" for name in "mlp normal constant blocks custom python tied rgnet fancy chimera".split()}
    assert {each.name for each in folder.iterdir()} - {"__pycache__"} == {*documents, *files, "my_init.py", "xy.npz"}


def test_each_command_prints_the_values_of_the_book() -> None:
    """Every paramctl of the script stands below a comment, of its own or of the commands with it."""
    lines = SCRIPT.read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert "set -euo pipefail" in lines
    comments = [line for line in lines if line.startswith("# ") and "://" not in line]
    assert len(comments) >= 30
    for heading in (number for number, line in enumerate(lines) if line.startswith("section ")):
        assert lines[heading + 1].startswith("# "), lines[heading]
