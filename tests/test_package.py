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


def test_the_files_in_the_wheel(wheel: Path) -> None:
    """The modules, the parts of a report, texts, the manual pages, and its own metadata: nothing else."""
    names = set(zipfile.ZipFile(wheel).namelist())
    shared = f"paramctl-{__version__}.data/data/share/man"
    pages = {f"{shared}/{path.parent.name}/{path.name}" for path in (ROOT / "man").glob("man*/*.*")}
    assert len(pages) >= 5
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "paramctl").rglob("*.py")}
    page = {f"paramctl/inspect/report/page.{kind}" for kind in ("html", "css", "js")}
    metadata = {name for name in names if name.startswith(f"paramctl-{__version__}.dist-info/")}
    texts = {f"paramctl/quick/{name}.txt" for name in ("help", "words")}
    assert names == modules | pages | page | texts | metadata | {"paramctl/py.typed"}


def test_the_code_in_the_wheel_is_small(wheel: Path) -> None:
    """Manual pages may grow; tests/test_architecture.py limits the lines of a module."""
    members = zipfile.ZipFile(wheel).infolist()
    assert sum(member.compress_size for member in members if member.filename.endswith(".py")) < 1_100_000


def test_the_wheel_runs_alone_from_where_it_is_installed(wheel: Path, tmp_path: Path) -> None:
    """Imported from the wheel's own files, not from the checkout."""
    folder = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(folder)
    code = "import paramctl, sys; from paramctl.cli.main import run; sys.exit(run(['summary', '-'])) if 'site' in paramctl.__file__ else 9"
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
