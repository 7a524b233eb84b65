"""The parameters of `SequenceTagger`: those that it shares with the other estimators, and its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from unspool.parameters import COMMON as SHARED
from unspool.parameters import MODEL, TRAINING, Parameter

_SHARED = (
    "cell hidden_size num_layers bidirectional merge connection embedding_dim characters vectors vector_words "
    "vectors_rate max_words dropout input_dropout recurrent_dropout zoneout weight_dropout word_dropout pooling dense "
    "epochs batch_size learning_rate schedule warmup averaging weight_decay gradient_clip gradient_clip_value "
    "early_stopping patience monitor validation_fraction precision device random_state verbose"
).split()
SCHEMES = ("auto", "BIO", "IOBES", None)
_BY_NAME = {p.name: p for p in SHARED}


def _flag(name: str, default: bool, text: str, help: str, group: str = MODEL) -> Parameter:
    return Parameter(name, default, _BY_NAME["bidirectional"].check, text, group, help)


def _changed(name: str, default: Any, **details: Any) -> Parameter:
    return replace(_BY_NAME[name], default=default, **details)


def _scheme(owner: str, name: str, value: Any) -> None:
    from unspool.errors import check_choice

    check_choice(owner, name, value, SCHEMES)


_OWN = (
    _flag(
        "crf",
        True,
        "a conditional random field on top, so that the tags of a sentence are chosen together "
        "(`unspool.heads.CRF`); False: each by itself.",
        "Choose the tags of a sentence together.",
    ),
    Parameter(
        "scheme",
        "auto",
        _scheme,
        'how tags mark spans: "BIO", "IOBES", None (they mark none), or "auto": what the training tags look like. With '
        "one, F1 is over spans, and under a CRF no tag follows one that it may not.",
        MODEL,
        "How tags mark spans: auto, BIO, IOBES or none.",
        kind=str,
        read=lambda value: None if value == "none" else value,
    ),
    _flag(
        "lower",
        True,
        "words that differ in case share a vector; characters keep it.",
        "Ignore case in words.",
    ),
    Parameter(
        "label_weight",
        1.0,
        _BY_NAME["weight_decay"].check,
        "weight of the sentences' labels in the loss, beside the tags.",
        TRAINING,
        "Of the sentences' labels in the loss.",
    ),
    replace(
        _BY_NAME["class_weight"],
        text='weight of a token by its tag, in the loss: None, "balanced" (rare tags count as much as others) or a '
        "dict from tag to weight. Without a CRF only, whose likelihood is of whole sentences.",
        help="balanced: tokens of rare tags count more; with --no-crf.",
    ),
)

_DEFAULTS = {
    "hidden_size": _changed("hidden_size", 128),
    "characters": _changed(
        "characters",
        "cnn",
        kind=str,
        help="Beside each word's vector one of its characters: cnn, lstm or none.",
        read=lambda value: None if value == "none" else value,
    ),
    "vectors": _changed(
        "vectors",
        None,
        option_default=None,
        help="A file (GloVe, word2vec, fastText .vec, .npy), a folder with word pieces, a name of docs/recipe.md, or "
        "texts: from the training sentences; NAME:50 for 50 dimensions; repeat it. Default: none.",
        read=lambda value: value or None,
    ),
    "max_words": _changed("max_words", 50000),
    "dropout": _changed(
        "dropout",
        0.5,
        text="probability of zeroing an input of recurrent layers 2, 3, ... and of the output layers.",
        help="Between layers and before the output, in [0, 1).",
        kind=float,
    ),
    "input_dropout": _changed(
        "input_dropout",
        0.3,
        text="probability of zeroing a feature of a recurrent layer's input for a whole sentence.",
        help="Features of a layer's input, for a whole sentence.",
        kind=float,
    ),
    "word_dropout": _changed("word_dropout", 0.05),
    "pooling": _changed(
        "pooling", "mean+max", text="what the sentence's label is told from: " + _BY_NAME["pooling"].text
    ),
    "epochs": _changed("epochs", 40),
    "batch_size": _changed("batch_size", 16),
    "patience": _changed("patience", 6),
    "monitor": _changed(
        "monitor",
        "metric",
        text='what tells the best epoch, and `patience` waits for: "loss" of the validation part, or "metric": F1 of '
        "spans (without a scheme: the share of right tags), with labels its mean with their accuracy.",
        help="loss or metric (F1): what tells the best epoch.",
    ),
}

#: In the order of the documentation.
TABLE: tuple[Parameter, ...] = (*_OWN, *(_DEFAULTS.get(name, _BY_NAME[name]) for name in _SHARED))
