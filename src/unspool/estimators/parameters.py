"""The range of every constructor parameter, in one table."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import nn

from unspool import cells
from unspool.errors import bad_parameter, check_choice, check_float, check_int
from unspool.heads.pooling import pooling_names
from unspool.nn.stack import CONNECTIONS, layer_sizes

Check = Callable[[str, str, Any], Any]


def _int(low: int) -> Check:
    return lambda owner, name, value: check_int(owner, name, value, low)


def _float(low: float, high: float, closed: str) -> Check:
    return lambda owner, name, value: check_float(owner, name, value, low, high, closed)


def _choice(*choices: Any) -> Check:
    return lambda owner, name, value: check_choice(owner, name, value, choices)


def _flag(owner: str, name: str, value: Any) -> None:
    if not isinstance(value, (bool, np.bool_)):
        bad_parameter(owner, name, "True or False", value)


def _cell(owner: str, name: str, value: Any) -> None:
    if isinstance(value, nn.Module) or not callable(value):
        if not isinstance(value, str):
            expected = (
                f"one of {cells.names()} or a callable (input_size, hidden_size), such as a cell's class"
            )
            bad_parameter(owner, name, expected, value)
        check_choice(owner, name, value, cells.names())


def _dense(owner: str, name: str, value: Any) -> None:
    if not isinstance(value, (tuple, list)):
        bad_parameter(owner, name, "a tuple of widths, such as (256,)", value)
    for width in value:
        check_int(owner, name, width)


def _hidden_size(owner: str, name: str, value: Any) -> None:
    layer_sizes(owner, value, None)


def _rates(owner: str, name: str, value: Any) -> None:
    for rate in value if isinstance(value, (tuple, list)) else [value]:
        check_float(owner, name, rate, 0, 1, "left")


def _clip(owner: str, name: str, value: Any) -> None:
    if value is not None:
        check_float(owner, name, value, 0, math.inf, "neither")


def _random_state(owner: str, name: str, value: Any) -> None:
    if value is not None and not isinstance(value, (np.random.RandomState, np.random.Generator)):
        check_int(owner, name, value, 0)


CHECKS: dict[str, Check] = {
    "cell": _cell,
    "hidden_size": _hidden_size,
    "num_layers": _int(1),
    "bidirectional": _flag,
    "merge": _choice("concat", "sum", "mean", "product"),
    "connection": _choice(*CONNECTIONS),
    "embedding_dim": _int(1),
    "pooling": lambda owner, name, value: pooling_names(value),
    "dense": _dense,
    "dropout": _float(0, 1, "left"),
    "input_dropout": _float(0, 1, "left"),
    "recurrent_dropout": _float(0, 1, "left"),
    "zoneout": _rates,
    "weight_dropout": _float(0, 1, "left"),
    "max_words": _int(1),
    "level": _choice("word", "char"),
    "epochs": _int(1),
    "batch_size": _int(1),
    "learning_rate": _float(0, math.inf, "neither"),
    "weight_decay": _float(0, math.inf, "left"),
    "gradient_clip": _clip,
    "gradient_clip_value": _clip,
    "early_stopping": _flag,
    "patience": _int(1),
    "validation_fraction": _float(0, 1, "neither"),
    "embedding_update": _choice("sparse", "dense"),
    "random_state": _random_state,
    "verbose": _int(0),
}


def check_parameters(owner: str, values: dict[str, Any]) -> None:
    """`InvalidParameterError` for the first of `values` outside its range."""
    for name, check in CHECKS.items():
        check(owner, name, values[name])
