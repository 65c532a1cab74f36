"""paramctl help, paramctl env and -V."""

import json
import sys
import tomllib
from pathlib import Path

import pytest

from paramctl import __version__
from paramctl.cli import NAMES
from paramctl.cli.env import EXTRAS, REQUIRED
from tests.conftest import ROOT, Call, Run


@pytest.mark.parametrize("name", NAMES)
def test_help_is_the_same_text_as_the_option(name: str, call: Call) -> None:
    assert call("help", name) == call(name, "--help")


def test_help_alone_is_that_of_the_group(call: Call) -> None:
    code, out, err = call("help")
    assert (code, err) == (0, "")
    assert out == call("--help")[1]
    assert all(f"\n  {name} " in out for name in NAMES)


def test_help_suggests_a_similar_command(call: Call) -> None:
    code, out, err = call("help", "sumary")
    assert (code, out) == (2, "")
    assert err == "paramctl: No such command 'sumary'. Did you mean 'summary'? See paramctl --help.\n"


def test_a_short_option_for_the_version(call: Call) -> None:
    assert call("-V") == call("--version") == (0, f"paramctl {__version__}\n", "")


def facts(text: str) -> dict[str, str]:
    return {row["name"]: row["value"] for row in json.loads(text)}


def test_env_has_every_version_and_setting(call: Call) -> None:
    import h5py
    import numpy as np

    shown = facts(call("env", "--format", "json")[1])
    assert shown["paramctl"].startswith(__version__)
    assert shown["Python"].startswith(sys.version.split()[0])
    assert (shown["NumPy"], shown["h5py"], shown["HDF5"]) == (
        np.__version__,
        h5py.__version__,
        h5py.version.hdf5_version,
    )
    assert {*REQUIRED, *EXTRAS, "platform", "processors", "locale", "terminal"} <= set(shown)
    assert all(shown.values())


def test_env_has_every_package_that_the_project_names() -> None:
    """A new dependency or extra is listed at once."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {each.split(">")[0].lower() for each in project["dependencies"]}
    assert names == {each.lower() for each in REQUIRED}
    extras = project["optional-dependencies"].items()
    in_project = {each.split(">")[0]: name for name, each_ in extras for each in each_}
    runtime = {
        each.split(">")[0]: name
        for name, packages in extras
        if name not in ("test", "lint", "interop")
        for each in packages
    }
    assert runtime == EXTRAS
    assert set(runtime) <= set(in_project)


def test_env_never_shows_a_secret(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {
        "HF_TOKEN": "hf_secret",
        "HTTPS_PROXY": "user:secret@proxy:80",
        "HF_ENDPOINT": "https://user:secret@example.com/?sig=secret",
        "PARAMCTL_TOKEN": "secret",
        "PARAMCTL_SUMMARY_MODEL": "https://user:secret@example.com/m.h5",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "MY_VARIABLE": "secret",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    code, out, err = call("env")
    assert (code, err) == (0, "")
    assert "secret" not in out.replace("PARAMCTL_", "").lower()
    assert "HF_TOKEN" in out
    assert "MY_VARIABLE" not in out


@pytest.mark.parametrize("module", ["h5py", "numpy", "tabulate", "wcwidth"])
def test_env_works_without_a_package(module: str, paramctl: Run, tmp_path: Path) -> None:
    """If its import fails, the error is its value; the command needs none of them for JSON."""
    (tmp_path / f"{module}.py").write_text("raise OSError('libhdf5.so: cannot open shared object file')\n")
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = paramctl.process("env", "--format", "json", env=environment)
    assert done.returncode == 0
    assert done.stderr == "" or module == "numpy", "ml_dtypes prints an error of NumPy's by itself"
    name = {"numpy": "NumPy"}.get(module, module)
    assert facts(done.stdout)[name].startswith("cannot be imported: OSError: libhdf5.so: cannot open")


def test_env_names_an_extra_that_is_missing(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert facts(call("env", "--format", "json")[1])["gguf"] == "not installed (extra gguf)"
