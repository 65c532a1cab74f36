"""What the tests share: the sample models, a model from a text, and paramctl run as its users run it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from paramctl.model import Model, build
from paramctl.model.document import parse, parse_value

ROOT = Path(__file__).parent.parent
SAMPLES = sorted((ROOT / "sample_models").glob("*.yaml"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", help="write what the README shows again, instead of comparing")


def model(text: str, **variables: str) -> Model:
    """The model of a document, with values for its variables."""
    return build(parse(text, "m.yaml"), variables={k: parse_value(v, f"-D {k}") for k, v in variables.items()})


def layers(text: str) -> Model:
    """The model of a list of layers on an input of 4 features."""
    return model(f"input: [4]\nlayers:\n{text}")


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def paramctl(tmp_path: Path) -> Run:
    """Runs paramctl as a process, in an empty folder, and gives back what it printed."""

    def run(*arguments: str, **options: object) -> "subprocess.CompletedProcess[str]":
        environment = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "PYTHONIOENCODING")}
        environment |= options.pop("env", {})  # type: ignore[arg-type]
        return subprocess.run(  # type: ignore[call-overload,no-any-return]
            [sys.executable, "-m", "paramctl", *arguments],
            **{"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "timeout": 60} | options,
        )

    return run
