"""Credentials, from the places that other programs use. They go to one origin alone, and into no message."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import SplitResult, unquote

from paramctl.errors import InputError

TRUE = ("1", "on", "yes", "true")


def of_url(parts: SplitResult) -> dict[str, str]:
    """Return the header for the user in a URL, or, for https, that of its host in ~/.netrc (or NETRC)."""
    if parts.username is not None:
        return _basic(unquote(parts.username), unquote(parts.password or ""))
    if parts.scheme != "https" or parts.hostname is None:
        return {}
    import netrc

    path = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
    try:
        # the entry "default" is not used: it would go to any host
        entry = netrc.netrc(path).hosts.get(parts.hostname) if path.is_file() else None
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a netrc file") from error
    return _basic(entry[0] or "", entry[2] or "") if entry else {}


def basic_proxy(parts: SplitResult) -> dict[str, str]:
    """Return the header for the user in the URL of a proxy."""
    if parts.username is None:
        return {}
    value = _basic(unquote(parts.username), unquote(parts.password or ""))["Authorization"]
    return {"Proxy-Authorization": value}


def _basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"}


def of_hub() -> dict[str, str]:
    """Return the header with the token of the hub: HF_TOKEN, or the file that ``hf auth login`` writes."""
    variables = os.environ
    if is_on(variables, "HF_HUB_DISABLE_IMPLICIT_TOKEN"):
        return {}
    token = variables.get("HF_TOKEN") or variables.get("HUGGING_FACE_HUB_TOKEN") or _token_file()
    token = token.strip()
    if not (token.isascii() and token.isprintable()):
        raise InputError("HF_TOKEN: must be printable ASCII, on one line")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _token_file() -> str:
    path = Path(os.environ.get("HF_TOKEN_PATH") or hub_home() / "token").expanduser()
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def hub_home() -> Path:
    """Return the folder of Hugging Face's libraries: HF_HOME, by default ~/.cache/huggingface."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("HF_HOME") or f"{cache}/huggingface").expanduser()


def is_on(variables: Mapping[str, str], name: str) -> bool:
    """Return whether an environment variable is 1, ON, YES or TRUE, as Hugging Face's libraries read it."""
    return variables.get(name, "").lower() in TRUE
