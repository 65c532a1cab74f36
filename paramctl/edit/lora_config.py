"""The configuration of a LoRA adapter, ``adapter_config.json`` of PEFT: the rank and the scale of each module."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Any

from paramctl.address.expressions import compile_expression, full_matches
from paramctl.errors import AddressError, InputError
from paramctl.store.io.json_limits import parse_json
from paramctl.store.location import Location

NAME = "adapter_config.json"
MAX_BYTES = 4 << 20
MAX_EXPRESSIONS = 50
"""Patterns that are more than a name: each may take seconds to match."""
_NAME = re.compile(r"[\w.-]+")

UNSUPPORTED = {
    "use_dora": "DoRA",
    "target_parameters": "LoRA on parameters (target_parameters)",
    "trainable_token_indices": "trainable tokens",
    "layer_replication": "replicated layers (layer_replication)",
    "alora_invocation_tokens": "activated LoRA (alora_invocation_tokens)",
    "use_qalora": "QA-LoRA",
    "use_bdlora": "block-diagonal LoRA",
    "arrow_config": "Arrow",
    "kasa_config": "KaSA",
    "velora_config": "VeLoRA",
    "monteclora_config": "MonteCLoRA",
}
"""Settings by which an adapter is more than a product that is added to a weight, by their key."""

INITIALIZATIONS = ("gaussian", "eva", "orthogonal")
"""Initializations that leave the base's values unchanged. Others, such as PiSSA, subtract a part of them."""


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """The settings that the scale of an adapter depends on.

    rank_pattern, alpha_pattern: the ranks and alphas of other modules, by a pattern for the end of their names.
    """

    path: str
    rank: float
    alpha: float
    use_rslora: bool
    fan_in_fan_out: bool
    rank_pattern: Mapping[str, float]
    alpha_pattern: Mapping[str, float]

    def scales(self, ranks: Mapping[str, int]) -> dict[str, float]:
        """Return the factor of each module's product. ranks: of the factors in the file, by module.

        Raises InputError for a rank that is not the configured one.
        """
        expected, alphas = self._exceptions(self.rank_pattern, ranks), self._exceptions(self.alpha_pattern, ranks)
        scales = {}
        for module, rank in ranks.items():
            if (number := expected.get(module, self.rank)) != rank:
                raise InputError(f"{self.path}: the rank of {module} is {number:g}, but its factors have {rank}")
            scales[module] = alphas.get(module, self.alpha) / (sqrt(rank) if self.use_rslora else rank)
        return scales

    def _exceptions(self, patterns: Mapping[str, float], modules: Collection[str]) -> dict[str, float]:
        """Return the number of the first pattern that matches each module, as PEFT matches them: at its end."""
        numbers: dict[str, float] = {}
        for pattern, number in patterns.items():
            if _NAME.fullmatch(pattern):
                matching = [module for module in modules if f".{module}".endswith(f".{pattern}")]
            else:
                try:
                    matching = full_matches(compile_expression(rf"(?:.*\.)?(?:{pattern})"), modules)
                except AddressError as error:
                    raise InputError(f"{self.path}: {error}") from error
            numbers = dict.fromkeys(matching, number) | numbers
        return numbers


def read_config(location: Location) -> LoraConfig:
    """Read a configuration. Raises InputError if it is damaged, or has settings that are not supported."""
    path = location.name
    try:
        data = location.read(0, MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES:,} bytes")
        config = parse_json(data.decode())
        if not isinstance(config, dict):
            raise ValueError("must be a mapping")
    except ValueError as error:
        raise InputError(f"{path}: damaged ({error})") from error
    _check_supported(path, config)
    patterns = {key: _patterns(path, key, config.get(key)) for key in ("rank_pattern", "alpha_pattern")}
    return LoraConfig(
        path,
        _number(path, "r", config.get("r", 8)),
        _number(path, "lora_alpha", config.get("lora_alpha", 8)),
        _flag(path, "use_rslora", config.get("use_rslora")),
        _flag(path, "fan_in_fan_out", config.get("fan_in_fan_out")),
        **patterns,
    )


def _check_supported(path: str, config: Mapping[str, Any]) -> None:
    """Raise InputError for a setting with which the merged weights would be others."""
    if (kind := config.get("peft_type")) != "LORA":
        raise InputError(f"{path}: only adapters of the type LORA can be merged (got {kind})")
    for key, name in UNSUPPORTED.items():
        if config.get(key):
            raise InputError(f"{path}: {name} is not supported")
    initialization = config.get("init_lora_weights", True)
    if not isinstance(initialization, bool) and initialization not in (None, *INITIALIZATIONS):
        rule = f"the initialization {initialization!r} changes the base model"
        hint = "Save the adapter with PEFT's path_initial_model_for_weight_conversion"
        raise InputError(f"{path}: {rule}, so that the adapter alone cannot be merged. {hint}")


def _flag(path: str, key: str, value: object) -> bool:
    if not isinstance(value, (bool, type(None))):
        raise InputError(f"{path}: {key} must be true or false (got {value!r:.100})")
    return bool(value)


def _number(path: str, key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
        raise InputError(f"{path}: {key} must be a number (got {value!r:.100})")
    return value


def _patterns(path: str, key: str, value: object) -> Mapping[str, float]:
    """Return the exceptions of a key, a number for each pattern."""
    if not isinstance(value, (dict, type(None))):
        raise InputError(f"{path}: {key} must be a mapping (got {value!r:.100})")
    if sum(not _NAME.fullmatch(pattern) for pattern in value or ()) > MAX_EXPRESSIONS:
        raise InputError(f"{path}: {key} may have at most {MAX_EXPRESSIONS} regular expressions")
    return {pattern: _number(path, f"{key}[{pattern!r:.100}]", number) for pattern, number in (value or {}).items()}
