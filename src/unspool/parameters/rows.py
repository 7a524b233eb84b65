"""The parameters of the estimators, in the order of the constructors."""

from __future__ import annotations

from dataclasses import replace

from unspool.parameters.answers import ANSWERS
from unspool.parameters.checks import optional
from unspool.parameters.inputs import INPUTS
from unspool.parameters.network import NETWORK
from unspool.parameters.parameter import Parameter
from unspool.parameters.training import LEARNING

#: Of all sequence estimators, with the defaults of those of texts.
COMMON: tuple[Parameter, ...] = (*NETWORK, *INPUTS, *ANSWERS, *LEARNING)

# What `SequenceRegressor` and `SequenceClassifier` choose themselves where it is None.
_BY_KIND = {
    "epochs": ("None: 20, and 100 for series and recordings.", "Default: 20, 100 of series and recordings."),
    "learning_rate": (
        "None: 2e-3, and 5e-3 for series and recordings with the one_cycle schedule.",
        "Default: 2e-3, 5e-3 of series where nothing is held back.",
    ),
    "schedule": (
        'None: "constant", and "one_cycle" for series and recordings without early stopping.',
        "Default: constant, one_cycle of series where nothing is held back.",
    ),
    "early_stopping": (
        "None: True, but False for classes of under 1,000 series or recordings, where `fit` has no validation_data.",
        "Default: but for classes of fewer than 1,000 series or recordings.",
    ),
    "patience": ("None: 4, and 20 for series and recordings.", "Default: 4, 20 of series and recordings."),
}


def _by_kind(p: Parameter) -> Parameter:
    text, help = _BY_KIND[p.name]
    kind = type(p.default) | None
    return replace(
        p, default=None, check=optional(p.check), text=f"{p.text} {text}", help=f"{p.help} {help}", kind=kind
    )


#: Of `SequenceRegressor` and `SequenceClassifier`, in the order of the constructor.
TABLE: tuple[Parameter, ...] = tuple(_by_kind(p) if p.name in _BY_KIND else p for p in COMMON)
