"""A suggestion can be typed as it is printed: every hint is run in a shell, with the quotes that it shows."""

import os
import re
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import pytest

from paramctl.address.quoting import address_of, nearest_address_hint, shell_quoted
from paramctl.address.resolve import resolve
from paramctl.edit.assign import split_assignment
from paramctl.store.checkpoint import build_model, stored_parameter
from tests.conftest import ROOT

NAMES = (
    "x[0]",
    "x[0]/w",
    "a*b",
    "what?",
    "it's",
    'say "x"',
    "'q'",
    "$HOME",
    "a b",
    " a",
    "-x",
    "re:x",
    "re:.*",
    "a/b",
    "plain/k",
)


class Hint(NamedTuple):
    """A command that fails with a hint, and the command that follows it; {0} is what the hint shows."""

    fails: str
    pattern: str
    works: str


NEAREST = r"Did you mean (.+)\?$"
HINTS = {
    "a command": Hint("paramctl sumary m.yaml", r"Did you mean '(\w+)'\?", "paramctl {0} m.yaml"),
    "an option": Hint("paramctl summary m.yaml --paramters", r"Did you mean '(--\w+)'\?", "paramctl summary m.yaml {0}"),
    "an address": Hint("paramctl dump m.yaml dense/kernl", NEAREST, "paramctl dump m.yaml {0}"),
    "a layer": Hint("paramctl summary m.yaml dens_1", NEAREST, "paramctl summary m.yaml {0}"),
    "a name with brackets": Hint("paramctl dump odd.npz 'x[0]'", NEAREST, "paramctl dump odd.npz {0}"),
    "a name in an assignment": Hint("paramctl set odd.npz 'x[1] = 1' --dry-run", NEAREST, "paramctl stat odd.npz {0}"),
    "a malformed address": Hint("paramctl dump odd.npz 'a[b'", NEAREST, "paramctl dump odd.npz {0}"),
    "an empty name": Hint("paramctl dump odd.npz c//d", NEAREST, "paramctl dump odd.npz {0}"),
    "a name like an index": Hint("paramctl dump odd.npz 'layers[0].weights[1]'", NEAREST, "paramctl dump odd.npz {0}"),
    "a block to rename": Hint("paramctl save net.npz --rename net=x -o block.npz", r"block: (\S+) renames", "paramctl save net.npz --rename {0} -o block.npz"),
    "a name to rename": Hint("paramctl save odd.npz --rename \"it=x\" -o renamed.npz", NEAREST, "paramctl save odd.npz --rename {0}=x -o renamed.npz"),
    "the names of a file": Hint("paramctl dump odd.npz zzzzzz", r"Known names: (.+?), ", "paramctl dump odd.npz {0}"),
    "a column": Hint("paramctl summary m.yaml --columns x", r"columns are ([\w, ]+?)\.", "paramctl summary m.yaml --columns {0!r}"),
    "a layer type": Hint("paramctl layers dens", NEAREST, "paramctl layers {0}"),
    "a scheme": Hint("paramctl init m.yaml --scheme glorrot", NEAREST, "paramctl init m.yaml --scheme {0}"),
    "a variable": Hint("paramctl summary vars.yaml -D widht=3", NEAREST, "paramctl summary vars.yaml -D {0}=3"),
    "a destination": Hint("paramctl set m.npz 'dense/bias = 1'", r"use (-o FILE) or", "FILE=x.npz; option='{0}'; paramctl set m.npz 'dense/bias = 1' ${option/FILE/$FILE}"),
    "in place": Hint("paramctl set m.npz 'dense/bias = 1'", r"or (--in-place)\.", "paramctl set m.npz 'dense/bias = 1' {0}"),
    "an existing file": Hint("paramctl save m.yaml -o m.npz", r"(--force)", "paramctl save m.yaml -o m.npz {0}"),
    "a prefix": Hint("paramctl save net.npz --like m.yaml -o prefix.npz", r"(--rename '.*?')", "paramctl save net.npz --like m.yaml {0} -o prefix.npz"),
    "a complex array": Hint("paramctl save complex.npz -o y.safetensors", r"Use (.+)$", "paramctl save complex.npz {0} --allow overflow -o y.safetensors"),
    "a loss": Hint("paramctl save large.npz --dtype float16 -o loss.npz", r"(--allow \w+)", "paramctl save large.npz --dtype float16 {0} -o loss.npz"),
    "a transposed tie": Hint("paramctl tie wide.npz a b -o tied.npz", r"(--transpose)", "paramctl tie wide.npz a b {0} -o tied.npz"),
}  # fmt: skip


def typed(command: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a command in bash, where paramctl is a function that runs this package."""
    script = f'paramctl() {{ "{sys.executable}" -m paramctl "$@"; }}\n{command}'
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hints")
    text = "input: [4]\nlayers: [{dense: 4}, {dense: 2}]\n"
    (path / "m.yaml").write_text(text)
    (path / "vars.yaml").write_text("vars: {width: 3}\ninput: [4]\nlayers: [{dense: '${width}'}]\n")
    shapes = {"dense/kernel": (4, 4), "dense/bias": (4,), "dense_1/kernel": (4, 2), "dense_1/bias": (2,)}
    np.savez(path / "m.npz", **{name: np.ones(shape, "f4") for name, shape in shapes.items()})
    np.savez(path / "net.npz", **{f"net/{name}": np.ones(shape, "f4") for name, shape in shapes.items()})
    odd = ("x[0]", "it's", "re:f", "a[b", "c//d", "layers[0].weights[1]")
    np.savez(path / "odd.npz", **{name: np.ones(3, "f4") for name in odd})
    np.savez(path / "complex.npz", **{"x[0]": np.ones(3, "c16")})
    np.savez(path / "large.npz", w=np.full(3, 1e30))
    np.savez(path / "wide.npz", a=np.ones((2, 3), "f4"), b=np.ones((3, 2), "f4"))
    return path


@pytest.mark.parametrize("what", HINTS)
def test_a_hint_works_as_it_is_printed(what: str, folder: Path) -> None:
    hint = HINTS[what]
    failed = typed(hint.fails, folder)
    assert failed.returncode == 2, failed.stdout
    shown = re.search(hint.pattern, failed.stderr.strip())
    assert shown is not None, failed.stderr
    done = typed(hint.works.replace("{0!r}", f"'{shown[1]}'").replace("{0}", shown[1]), folder)
    assert done.returncode == 0, (failed.stderr, done.stderr)


@pytest.mark.parametrize("separator", ["/", "."])
@pytest.mark.parametrize("name", NAMES)
def test_the_address_of_a_path_means_that_path_alone(name: str, separator: str) -> None:
    """Even if the file has paths that another reading of the address would match; a shell passes it on unchanged."""
    path = name.replace("/", separator)
    others = ("x", "x[1]", "ab", "whatx", "q", "a", "axb", f"x{separator}w", f"t{separator}o")
    tree, _ = build_model("m", {other: stored_parameter(other, (2,), "float32") for other in (path, *others)}, ())
    assert tree.separator == separator
    address = address_of(path, separator)
    assert resolve(tree, address).paths == [path]
    shown = shell_quoted(address)
    assert subprocess.run(["bash", "-c", f"printf %s {shown}"], capture_output=True, text=True).stdout == address


NASTY = "'\"*?[]=./ \\$`!#~-:,\n\t\r{}()&|<>%@+é\x1b0a"


def nasty_names(separator: str, count: int) -> list[str]:
    random = Random(separator)  # noqa: S311
    letters = NASTY if separator == "/" else NASTY.replace("/", "")
    names = ["".join(random.choices(letters, k=random.randint(1, 7))) for _ in range(count)]
    return [*dict.fromkeys(f"{name}{separator}w" for name in names)]


@pytest.mark.parametrize("separator", ["/", "."])
def test_the_hint_of_any_name_works_when_it_is_typed(separator: str) -> None:
    """The shell gives the command the address that selects exactly this array of many, also in an assignment."""
    names = nasty_names(separator, 400)
    tree, _ = build_model("m", {name: stored_parameter(name, (2,), "float32") for name in names}, ())
    assert tree.separator == separator
    hints = [nearest_address_hint(name, [name], separator) for name in names]
    shown = [hint.removeprefix("Did you mean ").removesuffix("?") for hint in hints]
    script = "\n".join(f"printf '%s\\0' {text}" for text in shown)
    typed = subprocess.run(["bash", "-c", script], capture_output=True, text=True).stdout.split("\0")[:-1]
    assert len(typed) == len(names) > 300
    for name, address in zip(names, typed, strict=True):
        assert resolve(tree, address).paths == [name], address
        assert split_assignment(f"{address} = 1") == (address, "=", "1")
        if not address.startswith("re:"):  # an expression has no slices
            assert resolve(tree, f"{address}[0]").paths == [name]


def test_a_name_inside_a_wrapper_is_suggested_whole() -> None:
    """DataParallel's names begin with module, so that a user asks for encoder."""
    paths = ["module.stem.weight", "module.encoder.0.weight", "module.encoder.0.bias"]
    for name in ("encoder", "encoder.0", "encoder.0.bias"):
        assert nearest_address_hint(name, paths, ".") == f"Did you mean 'module.{name}'?"
    assert "Did you mean" not in nearest_address_hint("coder", ["module.encoder.weight"], ".")
