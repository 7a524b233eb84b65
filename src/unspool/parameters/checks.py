"""What the values of parameters must be: `check(owner, name, value)` raises `InvalidParameterError`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from unspool.errors import bad_parameter, check_choice, check_float, check_int
from unspool.parameters.parameter import Check

#: Runs of one arrangement in `unspool.study.compare`; in `unspool.tune` their spread is the noise.
LEAST_REPEATS = {"compare": 1, "tune": 2}


def integer(low: int) -> Check:
    """Whole, and at least `low`."""
    return lambda owner, name, value: check_int(owner, name, value, low)


def number(low: float, high: float, closed: str) -> Check:
    """In the range; `closed` says which ends belong to it, as of `check_float`."""
    return lambda owner, name, value: check_float(owner, name, value, low, high, closed)


def verbosity(owner: str, name: str, value: Any) -> None:
    """A whole number from 0 on; True is 1."""
    check_int(owner, name, int(value) if isinstance(value, bool) else value, 0)


def choice(*choices: Any) -> Check:
    """One of these."""
    return lambda owner, name, value: check_choice(owner, name, value, choices)


def flag(owner: str, name: str, value: Any) -> None:
    """True or False."""
    import numpy as np

    if not isinstance(value, (bool, np.bool_)):
        bad_parameter(owner, name, "True or False", value)


def cell(owner: str, name: str, value: Any) -> None:
    """A name of the registry or something that makes cells."""
    from torch import nn

    from unspool import cells

    if isinstance(value, nn.Module) or not callable(value):
        if not isinstance(value, str):
            expected = (
                f"one of {cells.names()} or a callable (input_size, hidden_size), such as a cell's class"
            )
            bad_parameter(owner, name, expected, value)
        check_choice(owner, name, value, cells.names())
    layers = (nn.RNNBase, nn.RNNCellBase)
    if isinstance(value, type) and issubclass(value, layers) and not _is_cell(value):
        expected = "a cell, with forward(x, state) and initial_state(batch_size)"
        bad_parameter(
            owner, name, expected, value, "Give a name, such as 'lstm', or a class of unspool.cells."
        )


def _is_cell(kind: type) -> bool:
    """Whether a class of torch's kinds is a cell here; layers, ours too, have a state of three axes."""
    from torch import nn

    return hasattr(kind, "initial_state") and not issubclass(kind, nn.RNNBase)


def dense(owner: str, name: str, value: Any) -> None:
    """Widths of layers."""
    if not isinstance(value, (tuple, list)):
        bad_parameter(owner, name, "a tuple of widths, such as (256,)", value)
    for width in value:
        check_int(owner, name, width)


def hidden_size(owner: str, name: str, value: Any) -> None:
    """A width, or a tuple with one for each layer."""
    from unspool.nn.stack import layer_sizes

    layer_sizes(owner, value, None)


def connection(owner: str, name: str, value: Any) -> None:
    """None or a known one."""
    from unspool.nn.stack import CONNECTIONS

    check_choice(owner, name, value, CONNECTIONS)


def pooling(owner: str, name: str, value: Any) -> None:
    """One or several, joined by +."""
    from unspool.heads.pooling import pooling_names

    pooling_names(value)


def rates(owner: str, name: str, value: Any) -> None:
    """A probability, or a tuple with one for each part of the state."""
    for rate in value if isinstance(value, (tuple, list)) else [value]:
        check_float(owner, name, rate, 0, 1, "left")


def clip(owner: str, name: str, value: Any) -> None:
    """None or above 0."""
    if value is not None:
        check_float(owner, name, value, 0, math.inf, "neither")


def random_state(owner: str, name: str, value: Any) -> None:
    """What scikit-learn takes."""
    import numpy as np

    if value is None or isinstance(value, (np.random.RandomState, np.random.Generator)):
        return
    if check_int(owner, name, value, 0) >= 2**32:
        bad_parameter(owner, name, "an int in [0, 2^32)", value)


def optional(check: Check) -> Check:
    """None, or what `check` lets through."""
    return lambda owner, name, value: None if value is None else check(owner, name, value)


def vectors(owner: str, name: str, value: Any) -> None:
    """Sources of vectors that are there."""
    from unspool.encode.vectors import as_list, check_source

    for source in as_list(value):
        check_source(owner, name, source)


def column_names(owner: str, name: str, value: Any) -> None:
    """A tuple of names."""
    if not isinstance(value, (tuple, list)) or not all(isinstance(v, str) for v in value):
        bad_parameter(owner, name, "a tuple of names of columns, such as ('price',)", value)


def text_column(owner: str, name: str, value: Any) -> None:
    """None or a name."""
    if value is not None and not isinstance(value, str):
        bad_parameter(owner, name, "None or the name of a column", value)


def read_vectors(value: list[str] | None) -> Any:
    """The parameter for the option: none given is the default, none said is None."""
    return "texts" if not value else None if value == ["none"] else value


def class_order(owner: str, name: str, value: Any) -> None:
    """None, auto or classes, all different."""
    import numpy as np

    if value is None or (isinstance(value, str) and value == "auto"):
        return
    listed = isinstance(value, (tuple, list, np.ndarray))
    if not listed or len(value) < 2 or len({*map(str, value)}) < len(value):
        bad_parameter(owner, name, "None, 'auto' or a list of two classes or more, all different", value)


def read_order(value: str | None) -> Any:
    """The classes between the commas."""
    return None if value is None else [part.strip() for part in value.split(",")]


def class_weight(owner: str, name: str, value: Any) -> None:
    """None, balanced or a weight each."""
    if value is None or (isinstance(value, str) and value == "balanced"):
        return
    if not isinstance(value, dict):
        bad_parameter(owner, name, "None, 'balanced' or a dict from class to weight", value)
    for weight in value.values():
        check_float(owner, name, weight, 0, math.inf, "left")


def check_effort(owner: str, asked: Mapping[str, Any]) -> None:
    """`InvalidParameterError` for a budget, a number of repeats or of jobs out of range. owner: of `LEAST_REPEATS`.
    asked: name -> value; all but the repeats may be None."""
    for name, value in asked.items():
        if name == "repeats":
            check_int(owner, name, value, LEAST_REPEATS[owner])
        elif name == "budget_seconds" and value is not None:
            check_float(owner, name, value, 0, math.inf, "neither")
        elif value is not None:
            check_int(owner, name, value)
