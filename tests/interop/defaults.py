"""An option's default compared with the default of Keras' argument."""

import inspect
import json
from typing import Any

import keras

from paramctl.declare.located import Located
from paramctl.declare.options import Option
from paramctl.model.document import parse_value
from paramctl.model.layers.activations import Function


def assert_same_default(option: Option, theirs: Any) -> None:
    assert option.required == (theirs is inspect.Parameter.empty), option.name
    if option.required:
        return
    if option.name == "data_format" and theirs is None:
        theirs = keras.config.image_data_format()
    read = option.read(parse_value(json.dumps(theirs), "Keras"))
    assert comparable(option.default) == comparable(read), option.name


def comparable(value: Any) -> Any:
    """An option's value so that equals are equal: an initializer or a function as Keras understands it."""
    if isinstance(value, Function):
        return value.name, vars(value)
    if isinstance(value, Located):
        initializer = keras.initializers.get(str(value.value))
        return type(initializer), initializer.get_config()
    return value
