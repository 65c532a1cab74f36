"""The house: imports run one way, and what only one room may use is used only there."""

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "paramctl"
FILES = sorted(PACKAGE.rglob("*.py"))

# From the ground up: a module may import what stands above it in this list, and its own folder.
FLOORS = [
    ["errors", "parallel", "quick"],
    ["declare"],
    ["core"],
    ["address"],
    ["model"],
    ["init"],
    ["store"],
    ["source"],
    ["conversion"],
    ["edit"],
    ["compute"],
    ["inspect"],
    ["library"],
    ["cli"],
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}

# Within model/ the same holds; a layer never sees the tree that holds it.
MODEL_FLOORS = [
    ["document", "expressions", "budget"],
    ["names"],
    ["layers", "display"],
    ["tree", "entry", "header"],
    ["scope"],
    ["context", "template"],
    ["expand"],
    ["build"],
    ["__init__"],
]
MODEL_FLOOR = {room: number for number, rooms in enumerate(MODEL_FLOORS) for room in rooms}

ONLY_IN = {
    "yaml": {"model/document.py"},
    "click": {"cli/"},
    "tabulate": {"cli/render.py"},
    "h5py": {
        f"store/hdf5/{name}.py"
        for name in ("attributes", "carry_over", "element_types", "layout", "parser", "storage", "values", "walk")
    },
    "numpy": {
        "core/dtypes.py",
        "init/engines/",
        "init/parse.py",
        "store/",
        "source/",
        "conversion/",
        "edit/",
        "compute/",
        "inspect/check/",
        "inspect/combined.py",
        "inspect/diff.py",
        "inspect/measured.py",
        "inspect/difference.py",
        "inspect/histogram.py",
        "inspect/scaled.py",
        "inspect/tolerance.py",
        "inspect/moments.py",
        "inspect/matrix.py",
        "inspect/powers.py",
        "inspect/quantiles.py",
        "inspect/spectral.py",
        "inspect/stat.py",
        "inspect/tally.py",
        "library/",
        "cli/",  # in the bodies of commands: tests/test_command_line.py
    },
    "ml_dtypes": {"core/dtypes.py"},
    "random": {"init/engines/keras.py"},  # Keras draws the seeds of its initializers by Python's own generator
    "secrets": {"cli/options.py"},
    "subprocess": {"cli/pager.py", "store/hdf5/client.py", "address/expressions.py"},
    "ssl": {"store/remote/http.py", "store/remote/http_ranges.py"},
    "fsspec": {"store/remote/fsspec_files.py"},
    "time": {"cli/verbose.py", "cli/progress.py", "store/io/locks.py", "store/remote/retries.py"},
    "datetime": set(),
}


class Facts(NamedTuple):
    """The modules that a file imports, anywhere in it, those for type checkers alone too; its calls; its docstring."""

    imports: list[str]
    calls: list[str]
    docstring: str | None


@cache
def facts(path: Path) -> Facts:
    tree = ast.parse(path.read_text())
    calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return Facts(imported_by(tree, path), calls, ast.get_docstring(tree))


def imported(path: Path) -> list[str]:
    return facts(path).imports


def imported_by(tree: ast.Module, path: Path) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names += [node.module or ""] + [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def room(module: str, depth: int = 1) -> str | None:
    parts = module.split(".")
    return parts[depth] if len(parts) > depth else None


def test_there_are_files() -> None:
    assert len(FILES) > 30
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES}
    assert rooms - {"__init__", "__main__"} <= FLOOR.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    parts = path.relative_to(PACKAGE).parts
    own = parts[0].removesuffix(".py")
    if own in ("__init__", "__main__"):
        return
    for module in imported(path):
        other = room(module) if module.startswith("paramctl.") else None
        if other in FLOOR and other != own:
            assert FLOOR[other] < FLOOR[own], f"{own} imports {module}"
        if own == "model" and other == "model" and (inner := room(module, 2)) in MODEL_FLOOR:
            mine = parts[1].removesuffix(".py")
            assert MODEL_FLOOR[inner] < MODEL_FLOOR[mine] or inner == mine, f"{mine} imports {module}"


def test_no_files_import_each_other_in_a_circle() -> None:
    """Imports inside functions count; those for type checkers alone do not."""
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}
    graph = {}
    for module, path in modules.items():
        tree = ast.parse(path.read_text())  # which is changed here
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                node.body = []
        graph[module] = {name for name in imported_by(tree, path) if name in modules} - {module}
    TopologicalSorter(graph).prepare()  # raises CycleError, which shows the circle


@pytest.mark.parametrize(("library", "allowed"), ONLY_IN.items())
def test_packages_used_by_one_place_only(library: str, allowed: set[str]) -> None:
    users = {
        str(path.relative_to(PACKAGE))
        for path in FILES
        if any(name.split(".")[0] == library for name in imported(path))
    }
    assert all(any(user.startswith(place) for place in allowed) for user in users), users
    assert bool(users) is bool(allowed)


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in FILES
        if "cli" not in path.relative_to(PACKAGE).parts and path.name not in ("__main__.py", "worker.py")
    ],  # two programs
    ids=lambda path: path.name,
)
def test_the_core_does_not_print_or_exit(path: Path) -> None:
    calls = facts(path).calls
    assert not set(calls) & {"print", "exit", "quit", "input", "eval", "exec", "breakpoint", "sys.exit", "os._exit"}
    assert not [name for name in calls if name.startswith(("sys.stdout", "sys.stderr"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_has_one_idea_and_says_which(path: Path) -> None:
    assert facts(path).docstring, "a module says in its docstring what it is for"
    assert len(path.read_text().splitlines()) <= 400


def test_the_parts_of_a_page_are_as_short_as_modules() -> None:
    """The style and the script of a report."""
    parts = [path for kind in ("css", "js", "html") for path in PACKAGE.rglob(f"*.{kind}")]
    assert len(parts) >= 3
    assert all(len(path.read_text().splitlines()) <= 400 for path in parts)


def test_every_file_of_the_repository_is_python() -> None:
    """Also in folders that this environment does not collect."""
    files = [path for path in ROOT.rglob("*.py") if not path.relative_to(ROOT).parts[0].startswith(".")]
    assert len(files) > 60
    for path in files:
        ast.parse(path.read_text(), str(path))


def test_hdf5_knows_no_framework() -> None:
    """A framework's layout is handed to it as a dialect."""
    files = [path for path in FILES if path.parent == PACKAGE / "store/hdf5"]
    assert len(files) > 10
    assert not [path.name for path in files if any(name.startswith("paramctl.store.keras") for name in imported(path))]


def test_the_hdf5_worker_imports_little() -> None:
    """It starts with each command that reads HDF5, and needs no model."""
    code = "import sys; import paramctl.store.hdf5.worker; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(done.stdout.split())
    assert "h5py" in loaded
    assert not loaded & {
        "paramctl.model",
        "paramctl.store.checkpoint",
        "paramctl.core.dtypes",
        "ml_dtypes",
        "yaml",
        "click",
    }
