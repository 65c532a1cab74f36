"""The state of optimizers, and the phases that take memory. --help lists the names, so this module imports nothing."""

PHASES = ("inference", "training")

OPTIMIZERS = {
    "sgd": 0,
    "momentum": 1,
    "nesterov": 1,
    "rmsprop": 1,
    "adagrad": 1,
    "lion": 1,
    "adadelta": 2,
    "adam": 2,
    "adamw": 2,
    "adamax": 2,
    "nadam": 2,
    "lamb": 2,
    "ftrl": 2,
    "amsgrad": 3,
}
"""The arrays that an optimizer keeps for each trained parameter, by its name."""
