"""The wheel is small, typed, and carries the man pages to where man looks for them."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from paramctl import __version__
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        folder,
        ROOT,
    ]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_what_the_wheel_holds(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    shared = f"paramctl-{__version__}.data/data/share/man"
    pages = {f"{shared}/{path.parent.name}/{path.name}" for path in (ROOT / "man").glob("man*/*.*")}
    assert len(pages) >= 5
    assert pages <= set(names)
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "paramctl").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == modules
    assert "paramctl/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "man/", "sample_models/"))]


def test_the_wheel_is_small(wheel: Path) -> None:
    """It holds code and manual pages alone: a fixture or a sample of values would show."""
    assert wheel.stat().st_size < 400_000
    kinds = {Path(name).suffix for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert kinds == {".py", ".typed", ".1", ".5"}


def test_the_wheel_runs_alone_from_where_it_is_installed(wheel: Path, tmp_path: Path) -> None:
    """Imported from the wheel's own files, not from the checkout."""
    folder = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(folder)
    code = "import paramctl, sys; from paramctl.cli import run; sys.exit(run(['summary', '-'])) if 'site' in paramctl.__file__ else 9"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(folder)},
        input="input: [4]\nlayers: [{dense: 3}]\n",
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Total parameters:  15" in done.stdout
