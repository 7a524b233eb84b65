"""The parameters of `SequenceGenerator`, in one table: checks, command line, saving and documentation follow."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from unspool.errors import check_choice, check_float, check_int
from unspool.parameters import COMMON, MODEL, TRAINING, Parameter

_COMMON = {p.name: p for p in COMMON}
LEVELS = ("char", "word", "subword")


def _rate(owner: str, name: str, value: Any) -> None:
    check_float(owner, name, value, 0.0, 1.0, "left")


def _weight(owner: str, name: str, value: Any) -> None:
    check_float(owner, name, value, 0.0, math.inf, "left")


def _flag(owner: str, name: str, value: Any) -> None:
    _COMMON["early_stopping"].check(owner, name, value)


def _flag_or_none(owner: str, name: str, value: Any) -> None:
    if value is not None:
        _flag(owner, name, value)


def _common(name: str, default: Any = ..., text: str = "", help: str = "") -> Parameter:
    """The parameter of the other estimators, with what differs here."""
    p = _COMMON[name]
    default = p.default if default is ... else default
    return replace(p, default=default, text=text or p.text, help=help or p.help, later=False, before=...)


#: In the order of the constructor.
SETTINGS: tuple[Parameter, ...] = (
    Parameter(
        "level",
        "char",
        lambda owner, name, value: check_choice(owner, name, value, LEVELS),
        'what a token is: "char", "word" (words with the space before them, marks, other white space) or "subword" '
        "(byte-pair, of bytes: every text has tokens). Texts are taken as they are, and come back exactly.",
        MODEL,
        "Tokens: char, word or subword.",
    ),
    Parameter(
        "max_words",
        10000,
        lambda owner, name, value: check_int(owner, name, value),
        "most tokens: the most frequent ones of the training texts; others are unknown. Of subwords: to be made.",
        MODEL,
        "Largest vocabulary.",
    ),
    _common("cell"),
    _common("hidden_size", 512, help="Units of a layer; 512,256: of each layer."),
    _common("num_layers"),
    _common("connection"),
    _common("embedding_dim", 128, "width of the token vectors."),
    Parameter(
        "tie_weights",
        None,
        _flag_or_none,
        "the output weights are the token vectors; where the last layer is not embedding_dim wide, a linear layer "
        "comes between. None: for words and subwords.",
        MODEL,
        "Output weights are the token vectors. Default: for words and subwords.",
        kind=bool | None,
    ),
    Parameter(
        "embedding_dropout",
        0.0,
        _rate,
        "probability that a token's vector is zero for a whole chunk.",
        MODEL,
        "Token vectors, for a whole chunk.",
    ),
    Parameter(
        "input_dropout",
        0.0,
        _rate,
        "probability of zeroing a feature of the first layer's input, for a whole sequence and chunk.",
        MODEL,
        "Features of the first layer's input, for a whole chunk.",
    ),
    Parameter(
        "dropout",
        0.2,
        _rate,
        "the same of the inputs of layers 2, 3, ... and of the output (locked dropout).",
        MODEL,
        "Between layers and before the output, for a whole chunk.",
    ),
    _common("recurrent_dropout", help="Units of the state in products, for a whole chunk."),
    _common("zoneout"),
    _common("weight_dropout", text=_COMMON["weight_dropout"].text.replace("batch", "chunk")),
    Parameter(
        "activation_penalty",
        0.0,
        _weight,
        "alpha of AR: alpha mean(h²) of the output after dropout is added to the training loss.",
        TRAINING,
        "Alpha of activation regularisation.",
    ),
    Parameter(
        "temporal_penalty",
        0.0,
        _weight,
        "beta of TAR: beta mean((h_t - h_t-1)²) of the output is added to the training loss.",
        TRAINING,
        "Beta of temporal activation regularisation.",
    ),
    Parameter(
        "chunk_length",
        64,
        lambda owner, name, value: check_int(owner, name, value),
        "tokens through which gradients go back; the state goes on from chunk to chunk.",
        TRAINING,
        "Tokens through which gradients go back.",
    ),
    Parameter(
        "random_lengths",
        False,
        _flag,
        "chunks of random lengths about chunk_length.",
        TRAINING,
        "Chunks of random lengths.",
    ),
    _common("epochs", 10, "passes over the training texts, at most."),
    _common(
        "batch_size",
        32,
        "sequences side by side. Texts that are longer than their share are cut, so that one long text trains as "
        "batch_size pieces.",
        "Sequences side by side.",
    ),
    _common("learning_rate"),
    _common("schedule", "cosine"),
    _common("warmup"),
    _common("averaging", 0.0),
    _common("weight_decay", 0.0),
    _common("gradient_clip"),
    _common("gradient_clip_value"),
    _common(
        "early_stopping",
        True,
        "hold back a validation part, stop once its loss has not fallen for `patience` epochs, and keep the best "
        "epoch's weights. False: no part is held back, and all epochs run.",
    ),
    _common("patience"),
    _common(
        "validation_fraction",
        0.05,
        "size of the validation part, where `fit` is given no validation_data: of one text its end, of several "
        "texts drawn ones.",
        "Share of the training texts for early stopping.",
    ),
    _common("precision"),
    replace(
        _COMMON["device"],
        text=_COMMON["device"].text + " Texts are written on the CPU, as they come token by token.",
    ),
    _common("random_state"),
    _common("verbose"),
)
