"""The imports of each command: a module that takes long to import, only if the command needs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from paramctl.cli import NAMES
from tests.conftest import ROOT, Run

MLP = str(ROOT / "sample_models/mlp.yaml")
NUMPY = {"numpy", "h5py", "ml_dtypes"}
THREADS = {"concurrent.futures", "logging", "secrets", "random", "tempfile"}
"""Modules that no command which reads headers alone, or nothing, imports."""
MODELS = {"yaml", "paramctl.model", "paramctl.init"}
NEVER = {"tabulate", "h5py", "matplotlib", "fsspec", "ssl", "email", "socket", "asyncio", "multiprocessing", "unittest"}
"""Modules that no command below imports. tabulate is for HTML and LaTeX, h5py for its worker, ssl for URLs."""
RANDOM = {"secrets", "random"}
"""Modules that numpy.random imports, and so each command that draws values."""
VALUES = {"autograd", "paramctl.compute"} | RANDOM
"""Modules that commands import which compute with values, not those that read and write them."""

COMMANDS: dict[str, tuple[str, set[str]]] = {
    "summary": (f"{MLP}", NUMPY | THREADS),
    "dump": ("w.safetensors dense/bias", VALUES | {"paramctl.init", "tempfile"}),
    "stat": ("w.safetensors", VALUES | {"paramctl.init", "tempfile"}),
    "histogram": ("w.safetensors", VALUES | {"paramctl.init", "tempfile"}),
    "ties": (MLP, NUMPY | THREADS),
    "report": ("w.safetensors -o r.html", VALUES - {"random"}),
    "diff": ("w.safetensors w.safetensors", VALUES | {"paramctl.init", "tempfile"}),
    "check": ("w.safetensors", VALUES | {"tempfile"}),
    "verify": ("w.safetensors", VALUES | {"paramctl.init", "tempfile"}),
    "sum": ("w.safetensors", VALUES | {"paramctl.init", "tempfile"}),
    "init": (f"{MLP} -o x.safetensors", VALUES - RANDOM),
    "set": ("w.safetensors dense/bias=1 -o y.safetensors", VALUES),
    "tie": ("m.npz a/w b/w -o t.safetensors", VALUES),
    "untie": ("m.npz a/w -o u.safetensors", VALUES),
    "freeze": (f"{MLP} dense -o f.yaml", VALUES | THREADS | {"paramctl.init"}),
    "unfreeze": (f"{MLP} dense -o g.yaml", VALUES | THREADS | {"paramctl.init"}),
    "save": ("w.safetensors -o s.safetensors", VALUES),
    "average": ("w.safetensors w.safetensors -o a.safetensors", VALUES),
    "arithmetic": ("a+b a=w.safetensors b=w.safetensors -o b.safetensors", VALUES),
    "merge": ("m.npz --lora m.npz -o e.safetensors", VALUES),
    "extract-lora": ("m.npz m.npz --rank 1 -o l.safetensors", VALUES),
    "run": (MLP, {"autograd"}),
    "grad": (f"{MLP} --data m.npz", {"h5py"}),
    "train": (f"{MLP} --data m.npz -o n.safetensors", {"h5py"}),
    "probe": (MLP, {"h5py"}),
    "layers": ("dense", NUMPY | THREADS),
    "schemes": ("", NUMPY | THREADS),
    "schema": ("", NUMPY | THREADS),
    "help": ("", NUMPY | THREADS | MODELS),
    "completion": ("fish", NUMPY | THREADS | MODELS),
    "env": ("", {"paramctl.model"}),
}
"""For each command: arguments, and what it may not import. A command that fails has imported what it needs to fail."""

LISTS = """
import json, sys
from paramctl.cli.main import run
code = run(sys.argv[1:])
print(json.dumps([code, *sys.modules]), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import numpy as np

    made = tmp_path_factory.mktemp("imports")
    np.savez(made / "m.npz", **{"a/w": np.ones((2, 3)), "b/w": np.ones((2, 3))})
    assert Run(made)("init", MLP, "-o", "w.safetensors").returncode == 0
    return made


def test_every_command_has_a_row() -> None:
    assert set(COMMANDS) == set(NAMES)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_imports_only_what_it_needs(name: str, folder: Path) -> None:
    arguments, forbidden = COMMANDS[name]
    program = [sys.executable, "-c", LISTS, name, *arguments.split()]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(program, capture_output=True, text=True, cwd=folder, env=environment)
    code, *loaded = json.loads(done.stderr.splitlines()[-1])
    fails = name in (
        "untie",
        "merge",
        "extract-lora",
        "grad",
        "train",
    )  # an error about their files, after these are read
    assert fails or code in (0, 1), done.stderr
    assert (forbidden | (NEVER if name != "env" else set())) & {*loaded} == set()
    others = {f"paramctl.cli.{other.replace('-', '_')}" for other in NAMES if other != name}
    assert name in ("help", "env") or not others & {*loaded}
