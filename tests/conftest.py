"""Helpers of the tests: the sample models, a model from a text, and paramctl run as its users run it."""

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from paramctl.cli.main import run
from paramctl.model import Model, build
from paramctl.model.document import parse, parse_value
from paramctl.store.hdf5 import client
from tests import forks

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # in the background of a script; children would inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)

forks.serve_workers(client)

ROOT = Path(__file__).parent.parent
UNSET = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "PAGER", "PYTHONIOENCODING")
"""The variables that would change what a command prints."""
Call = Callable[..., tuple[int, str, str]]
SAMPLES = sorted((ROOT / "sample_models").glob("*.yaml"))

with suppress(ImportError):  # the environment of tests/interop has no hypothesis
    from hypothesis import settings

    settings.register_profile("paramctl", deadline=None)
    settings.load_profile("paramctl")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", help="write the output that pages show, instead of comparing it")


def model(text: str, **variables: str) -> Model:
    """The model of a document, with values for its variables."""
    return build(parse(text, "m.yaml"), variables={k: parse_value(v, f"-D {k}") for k, v in variables.items()})


def layers(text: str) -> Model:
    """The model of a list of layers on an input of 4 features."""
    return model(f"input: [4]\nlayers:\n{text}")


class Run:
    """Runs command lines of paramctl in a folder, as ``subprocess.run`` does and with its options.

    Each is a process, but forked from one that has imported paramctl; ``process`` starts Python itself, for tests of
    what only a start shows: imports, and what Python reads from its environment.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str, **options: Any) -> "subprocess.CompletedProcess[Any]":
        return forks.run(arguments, **self._options(options))

    def process(self, *arguments: str, **options: Any) -> "subprocess.CompletedProcess[Any]":
        return subprocess.run([*forks.REAL, *arguments], **self._options(options))

    def _options(self, options: dict[str, Any]) -> dict[str, Any]:
        environment = {key: value for key, value in os.environ.items() if key not in UNSET}
        environment |= options.pop("env", {})
        usual = {"cwd": self.folder, "env": environment, "capture_output": True, "text": True}
        return usual | {"timeout": forks.patience()} | options


@pytest.fixture
def paramctl(tmp_path: Path) -> Run:
    return Run(tmp_path)


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Runs a command line in this process, in an empty folder: its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)

    def called(*arguments: str) -> tuple[int, str, str]:
        code = run(list(arguments))
        printed = capfd.readouterr()
        return code, printed.out, printed.err

    return called


def pytest_sessionfinish() -> None:
    if forks.fork_server.cache_info().currsize:
        forks.fork_server().close()
