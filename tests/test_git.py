"""Checkpoints in git: diffs by paramctl, and pointers of Git LFS."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import paramctl as pc
from tests import forks
from tests.conftest import ROOT, Run

MLP = ROOT / "sample_models" / "mlp.yaml"

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder: Path, *arguments: str) -> str:
    """Run git without the user's configuration, and return its output."""
    own = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "PYTHONPATH": str(ROOT), "GIT_PAGER": "cat"}
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "protocol.file.allow=always"]
    result = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, env=os.environ | own, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def configuration() -> list[tuple[str, str]]:
    """Return the settings that docs/edits.md shows, with the paramctl of these tests."""
    page = (ROOT / "docs/edits.md").read_text()
    lines = [line.removeprefix("git config ") for line in page.splitlines() if line.startswith("git config diff")]
    assert len(lines) == 2
    command = " ".join(forks.REAL)
    parts = [line.split(" ", 1) for line in lines]
    return [(key, value.strip("'").replace("paramctl ", f"{command} ", 1)) for key, value in parts]


def test_git_diff_shows_statistics_and_git_difftool_differences(tmp_path: Path) -> None:
    """By the lines of the documentation, for a change in the work tree and between commits."""
    git(tmp_path, "init", "-q")
    for key, value in configuration():
        git(tmp_path, "config", key, value)
    (tmp_path / ".gitattributes").write_text("*.safetensors diff=paramctl\n")
    pc.save(MLP, tmp_path / "m.safetensors")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    pc.save(pc.assign(tmp_path / "m.safetensors", {"dense/bias": 5}), tmp_path / "m.safetensors", force=True)
    shown = git(tmp_path, "diff")
    before, after = ([line for line in shown.splitlines() if line.startswith(f"{sign}dense/bias")] for sign in "-+")
    assert "Binary files" not in shown
    assert len(before) == len(after) == 1
    assert (before[0].split()[4], after[0].split()[4]) == ("0", "5")
    git(tmp_path, "commit", "-qam", "two")
    compared = git(tmp_path, "difftool", "-y", "-t", "paramctl", "HEAD~", "HEAD")
    assert [line.split()[0] for line in compared.splitlines() if line.startswith("dense")] == ["dense/bias"]


def pointer_to(folder: Path, data: bytes, git_folder: Path | None = None) -> str:
    """Store an object of Git LFS, and return the text of its pointer."""
    oid = hashlib.sha256(data).hexdigest()
    stored = (git_folder or folder / ".git") / "lfs/objects" / oid[:2] / oid[2:4] / oid
    stored.parent.mkdir(parents=True, exist_ok=True)
    stored.write_bytes(data)
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(data)}\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    return tmp_path


@pytest.mark.parametrize("suffix", [".safetensors", ".h5", ".npz", ".keras"])
def test_a_pointer_opens_its_object(paramctl: Run, repository: Path, suffix: str) -> None:
    """In a folder of the repository too, for every reader, and the model has the pointer's name."""
    path = repository / "deep" / f"m{suffix}"
    path.parent.mkdir()
    pc.save(MLP, path)
    expected = np.array(pc.open(path)["dense/kernel"])
    path.write_text(pointer_to(repository, path.read_bytes()))
    np.testing.assert_array_equal(pc.open(path)["dense/kernel"], expected)
    result = paramctl("diff", str(MLP), f"deep/m{suffix}")
    assert (result.returncode, result.stderr) == (0, "no differences: 4 arrays compared\n")


def test_pointers_in_a_set_open_their_objects(repository: Path) -> None:
    """The index is text, so it is a file, and its shards are pointers."""
    pc.save(MLP, f"{repository}/set/", max_shard_size=64)
    for path in repository.glob("set/*.safetensors"):
        path.write_text(pointer_to(repository, path.read_bytes()))
    assert pc.diff(MLP, repository / "set").equal


def test_a_pointer_in_another_work_tree_and_in_a_submodule(repository: Path) -> None:
    """In both, .git is a file. The objects are those of the repository itself, or of the submodule."""
    pc.save(MLP, repository / "m.safetensors")
    data = (repository / "m.safetensors").read_bytes()
    (repository / "m.safetensors").write_text(pointer_to(repository, data))
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "one")
    git(repository, "worktree", "add", "-q", "../tree")
    assert pc.diff(MLP, repository / "../tree/m.safetensors").equal
    outer = repository / "outer"
    outer.mkdir()
    git(outer, "init", "-q")
    git(outer, "submodule", "add", "-q", str(repository), "sub")
    with pytest.raises(pc.InputError, match="a Git LFS pointer, not the file itself"):
        pc.open(outer / "sub/m.safetensors")
    pointer_to(outer, data, outer / ".git/modules/sub")
    assert pc.diff(MLP, outer / "sub/m.safetensors").equal


def test_an_edit_in_place_replaces_the_pointer_and_leaves_the_object(paramctl: Run, repository: Path) -> None:
    pc.save(MLP, repository / "m.h5")
    data = (repository / "m.h5").read_bytes()
    (repository / "m.h5").write_text(pointer_to(repository, data))
    assert paramctl("set", "m.h5", "dense/bias = 1", "--in-place").returncode == 0
    assert pc.open(repository / "m.h5")["dense/bias"][0] == 1
    (stored,) = (path for path in repository.glob(".git/lfs/objects/*/*/*"))
    assert stored.read_bytes() == data


def test_a_pointer_without_its_object_is_refused(paramctl: Run, repository: Path) -> None:
    """As is one whose object has another size, one outside of a repository, and a malformed one."""
    pc.save(MLP, repository / "m.safetensors")
    data = (repository / "m.safetensors").read_bytes()
    text = pointer_to(repository, data)
    (stored,) = (path for path in repository.glob(".git/lfs/objects/*/*/*"))
    cases = [
        (text.replace("v1", "v2"), "a Git LFS pointer"),
        (text.replace("sha256", "md5"), "a Git LFS pointer"),
        (f"{text}x", "a Git LFS pointer"),
        (text.replace(f"size {len(data)}", "size 9"), f"must have 9 bytes (got {len(data):,})"),
    ]
    for content, rule in cases:
        (repository / "m.safetensors").write_text(content)
        result = paramctl("stat", "m.safetensors")
        assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert rule in result.stderr
    stored.unlink()
    (repository / "m.safetensors").write_text(text)
    assert "Fetch it with git lfs pull" in paramctl("stat", "m.safetensors").stderr
