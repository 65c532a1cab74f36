"""The roles of the axes of a checkpoint's arrays, for schemes that need fans: from a model, or from torch's layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from paramctl.conversion.match import Reference, is_torch_layout
from paramctl.conversion.report import prefix_hint
from paramctl.conversion.torch import torch_layout, torch_parameters
from paramctl.core.parameter import Axis, Parameter, Role
from paramctl.core.views import Arrangement, axis_groups
from paramctl.errors import AddressError
from paramctl.model import Model

TORCH_ROLES: tuple[Role, Role] = ("out", "in")
"""The first axes of a weight of torch.nn.Linear and torch.nn.Conv1d to Conv3d. The others are the receptive field."""


def with_torch_roles(model: Model) -> Model:
    """Return a model whose arrays called ``weight`` have the axes that torch.nn.init assumes: out, in, field.

    torch.nn.init assumes them for every weight, an embedding's or a transposed convolution's too, so these roles are
    right for its fans only.
    """

    def change(parameter: Parameter) -> Parameter:
        name = parameter.path.rpartition(model.separator)[2]
        if name != "weight" or len(parameter.axes) < len(TORCH_ROLES) or not _is_unknown(parameter):
            return parameter
        fields = [Axis(axis.size, "field") for axis in parameter.axes[2:]]
        first = [Axis(axis.size, role) for axis, role in zip(parameter.axes[:2], TORCH_ROLES, strict=True)]
        return replace(parameter, axes=(*first, *fields), kind="weight")

    return model.map_parameters(change)


def with_roles_of(model: Model, like: Reference, layout: str | None, name: str) -> Model:
    """Return a model whose arrays have the roles, the kinds and trainable of those of another model.

    layout: of the arrays; None for that of most of their names. name: of the other model, in errors.
    Raises AddressError if no array of the other model has the name and shape of one of these.
    """
    is_torch = is_torch_layout(model, like) if layout is None else layout == "torch"
    known = _torch_parameters(like.model) if is_torch and like.model.inputs else like.model.parameters
    if not any(_fits(parameter, known) for parameter in model.parameters.values()):
        hint = prefix_hint(model.parameters, known, model.separator)
        rule = f"{name} must have arrays of {model.name}, by name and shape"
        raise AddressError(rule, "none", f"In paramctl save: {hint}" if hint else "")

    def change(parameter: Parameter) -> Parameter:
        if not _fits(parameter, known):
            return parameter
        other = known[parameter.path]
        return replace(parameter, axes=other.axes, kind=other.kind, trainable=other.trainable)

    return model.map_parameters(change)


def _torch_parameters(model: Model) -> dict[str, Parameter]:
    """Return the tensors of a model's torch layout as parameters, with roles wherever these follow from its layers."""
    layout = torch_layout(model)
    return {
        name: replace(parameter, axes=_known_axes(parameter, layout.tensors[name].arrangement, model))
        for name, parameter in torch_parameters(layout, model).items()
    }


def _known_axes(parameter: Parameter, arrangement: Arrangement, model: Model) -> tuple[Axis, ...]:
    return (_axes(arrangement, model) or parameter.axes) if _is_unknown(parameter) else parameter.axes


def _axes(arrangement: Arrangement, model: Model) -> tuple[Axis, ...]:
    """Return the axes of a permuted array, such as (outputs, inputs) of a dense layer on feature maps; () if unknown.

    Its inputs are split into channels and positions, which are all inputs, permuted, and joined again.
    """
    if len(arrangement.views) != 1 or arrangement.summed:
        return ()
    part = arrangement.views[0]
    source = model.parameters[part.path]
    if part.result_shape != tuple(part.shape[axis] for axis in part.axes) or any(
        axis.groups > 1 or axis.stride > 1 for axis in source.axes
    ):
        return ()
    # the roles of the fine axes of the view, in the view's order, and then of the joined axes
    split = axis_groups(part.shape, source.shape)
    roles = {fine: axis.role for group, axis in zip(split, source.axes, strict=False) for fine in group}
    joined = axis_groups(part.result_shape, arrangement.shape)
    merged = [{roles.get(part.axes[fine], "unknown") for fine in group} for group in joined]
    if len(merged) != len(arrangement.shape) or any(len(group) != 1 for group in merged):
        return ()
    return tuple(Axis(size, group.pop()) for size, group in zip(arrangement.shape, merged, strict=True))


def _is_unknown(parameter: Parameter) -> bool:
    return any(axis.role == "unknown" for axis in parameter.axes)


def _fits(parameter: Parameter, known: Mapping[str, Parameter]) -> bool:
    """Return whether a model has an array of this name and shape."""
    other = known.get(parameter.path)
    return other is not None and other.shape == parameter.shape
