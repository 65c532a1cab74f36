"""The place of a benchmark: a folder for its files, the interpreters, and the sides of its rows."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from measure import Proof, Side
from proofs import size_of

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "sample_models"
T = TypeVar("T")


class Missing(Exception):
    """A module that a group cannot do without, and that is not installed."""


@dataclass(frozen=True)
class Bench:
    """A temporary folder, an interpreter that has the peers, and full or toy sizes."""

    folder: Path
    peers: str
    small: bool

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def size(self, full: T, small: T) -> T:
        return small if self.small else full

    def ours(self, *arguments: str, **options: Any) -> Side:
        """Return a command of paramctl: its script, or the module where no script is installed."""
        script = Path(sys.executable).parent / "paramctl"
        program = [str(script)] if script.exists() else [sys.executable, "-m", "paramctl"]
        return Side("paramctl", [*program, *arguments], **options)

    def script(self, name: str, code: str, needs: str = "", **options: Any) -> Side:
        """Return a script: run by paramctl's own interpreter if that has the modules, or else by that of the peers."""
        modules = needs.split()
        python = next((python for python in (sys.executable, self.peers) if all(has(python, m) for m in modules)), None)
        missing = ", ".join(module for module in modules if not has(self.peers, module)) if python is None else ""
        return Side(name, [python or sys.executable, "-c", code], missing=missing, **options)

    def tool(self, name: str, program: str, *arguments: str, package: str, **options: Any) -> Side:
        """Return a program of others: beside the peers' interpreter, or on the PATH."""
        beside = Path(self.peers).parent / program
        path = str(beside) if beside.exists() else shutil.which(program)
        missing = "" if path else f"{program} ({package})"
        return Side(name, [path or program, *arguments], missing=missing, **options)

    def cat(self, *paths: str) -> Side:
        size = sum(os.path.getsize(path) for path in paths)
        return Side("cat", ["cat", *paths], proof=size_of, expected=size, at_least=True)

    def require(self, *modules: str) -> None:
        """Raise an error unless the peers' interpreter has modules that a whole group needs."""
        missing = [module for module in modules if not has(self.peers, module)]
        if missing:
            raise Missing(", ".join(missing))

    def run(self, side: Side) -> None:
        """Run a command that prepares a file."""
        subprocess.run(side.command, check=True, capture_output=True)

    def make(self, code: str, *arguments: object) -> None:
        """Run a script that writes files, in a process of its own, with the interpreter of the peers."""
        command = [self.peers, "-c", code, *map(str, arguments)]
        subprocess.run(command, check=True, cwd=self.folder, stderr=subprocess.DEVNULL)
        os.sync()

    def remover(self, *names: str) -> Callable[[], None]:
        """Return a function that removes files, and waits until the disk is idle."""

        def remove() -> None:
            for name in names:
                for path in self.folder.glob(name):
                    path.unlink()
            os.sync()

        return remove


@cache
def has(python: str, module: str) -> bool:
    if python == sys.executable:
        return importlib.util.find_spec(module) is not None
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    return subprocess.run([python, "-c", code], check=False, capture_output=True).returncode == 0


def copied(source: str, out: str, proof: Proof, expected: Any) -> Side:
    """Return the yardstick of everything that writes a file: a copy that is synced."""
    command = ["sh", "-c", 'cp "$1" "$2" && sync "$2"', "sh", source, out]
    return Side("cp and sync", command, proof=proof, expected=expected, at_least=True)


def differs(side: Side) -> Side:
    """Return a command that ends with 1 if what it compares differs, which is no error."""
    command = ["sh", "-c", '"$@" 2>&1; test $? -le 1', "sh", *side.command]
    return Side(**(vars(side) | {"command": command}))
