"""Files that are no checkpoint and no document are called what they are, in one line; and damage that a file tells of."""

import gzip
import pickle
import zipfile
from pathlib import Path

import click
import pytest

from paramctl.cli import all_commands
from tests import samples
from tests.conftest import ROOT, Run


def torchs(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", pickle.dumps({}))
        archive.writestr("m/version", "3")


FILES = ("model", "source", "a", "b")
"""The names of the arguments of commands for files that they read."""

READERS = [command for command in all_commands() if any(each.name in FILES for each in command.params)]


def command_line(command: click.Command, file: str) -> list[str]:
    """Return a complete command line that reads this file."""
    arguments = [each for each in command.params if isinstance(each, click.Argument)]
    # 'set' may do without assignments, but only when it changes metadata
    needed = [each for each in arguments if each.required or each.name in (*FILES, "assignments")]
    words = [file if each.name in FILES else "w=1" for each in needed]
    target = "x.html" if command.name == "report" else "x.h5"
    output = ["-o", target] if any("-o" in each.opts for each in command.params) else []
    data = ["--data", file] if any("--data" in each.opts and each.required for each in command.params) else []
    return [str(command.name), *words, *output, *data]


FOREIGN = {
    "a pickle": (pickle.dumps({"w": 1}, protocol=2), "a pickle without arrays that can be read: a dict of 1 other"),
    "a newer pickle": (pickle.dumps({"w": 1}, protocol=5), "a pickle"),
    "a pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "a Git LFS pointer, not the file itself. Fetch it with git lfs pull",
    ),
    "a page": (b"\n<!DOCTYPE html><html>Not found</html>", "an HTML or XML page"),
    "something compressed": (gzip.compress(b"input: [4]"), "compressed with gzip"),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_unsupported_files_are_described(what: str, paramctl: Run, tmp_path: Path) -> None:
    data, says = FOREIGN[what]
    (tmp_path / "m.safetensors").write_bytes(data)
    assert len(READERS) > 8
    for command in READERS:
        done = paramctl(*command_line(command, "m.safetensors"))
        assert done.stderr.count("\n") == 1
        if command.name == "check":  # a file that cannot be read is a finding
            assert (done.returncode, says in done.stdout) == (1, True)
        elif command.name == "verify":  # and is no file that paramctl saved
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr.startswith(f"m.safetensors: altered: the file cannot be read: {says}")
        else:
            assert (done.returncode, done.stdout) == (2, ""), command.name
            assert done.stderr.startswith(f"m.safetensors: {says}")


def test_a_file_of_torch_without_arrays_is_refused(paramctl: Run, tmp_path: Path) -> None:
    torchs(tmp_path / "m.pt")
    done = paramctl("summary", "m.pt")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("m.pt: a pickle without arrays that can be read: an empty dict")


def test_a_changed_value_is_detected(paramctl: Run, tmp_path: Path) -> None:
    """A zip has sums of its members: whoever reads or copies all of it holds them against what is there."""
    for name in ("m.keras", "m.npz"):
        assert paramctl("save", str(ROOT / "sample_models/lenet.yaml"), "-o", name, "-q").returncode == 0
        assert paramctl("stat", name).returncode == 0
        data = bytearray((tmp_path / name).read_bytes())
        data[len(data) // 2] ^= 0x40
        (tmp_path / name).write_bytes(data)
        for arguments in (("stat", name), ("save", name, "-o", "x.h5"), ("save", name, "-o", "-")):
            done = paramctl(*arguments)
            assert done.returncode == 2, arguments
            assert "damaged zip file" in done.stderr
            assert "CRC-32" in done.stderr
        assert not (tmp_path / "x.h5").exists()


def test_a_changed_value_of_a_set_is_detected(paramctl: Run, tmp_path: Path) -> None:
    """Each file of a set of pickles is a zip with checksums."""
    samples.torch_set(tmp_path)
    changed = tmp_path / "pytorch_model-00002-of-00002.bin"
    with zipfile.ZipFile(changed) as archive:
        member = next(info for info in archive.infolist() if "/data/" in info.filename and info.file_size)
        values = archive.read(member)
    data = bytearray(changed.read_bytes())
    data[data.index(values)] ^= 1
    changed.write_bytes(data)
    done = paramctl("save", ".", "-o", "x.h5")
    assert done.returncode == 2
    assert "pytorch_model-00002-of-00002.bin: damaged zip file" in done.stderr
    assert not (tmp_path / "x.h5").exists()
