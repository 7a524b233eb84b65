"""The parameters of `Seq2Seq`, in one table: checks, command line, saving and documentation follow from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from unspool.errors import check_choice, check_float, check_int
from unspool.parameters import COMMON, MODEL, TRAINING, Parameter

_COMMON = {p.name: p for p in COMMON}
LEVELS = ("char", "word", "subword")
ATTENTIONS = ("multiplicative", "additive")
FORCING_SCHEDULES = ("constant", "linear", "cosine")


def _rate(owner: str, name: str, value: Any) -> None:
    check_float(owner, name, value, 0.0, 1.0, "left")


def _int(owner: str, name: str, value: Any) -> None:
    check_int(owner, name, value)


def _level(owner: str, name: str, value: Any) -> None:
    check_choice(owner, name, value, LEVELS)


def _common(name: str, default: Any = ..., text: str = "", help: str = "") -> Parameter:
    """The parameter of the other estimators, with what differs here."""
    p = _COMMON[name]
    default = p.default if default is ... else default
    return replace(p, default=default, text=text or p.text, help=help or p.help, later=False, before=...)


#: In the order of the constructor.
SETTINGS: tuple[Parameter, ...] = (
    Parameter(
        "source_level",
        "char",
        _level,
        'what a token of the source is: "char", "word" (words with the space before them, marks, other white space) or '
        '"subword" (byte-pair, of bytes). Texts are taken as they are: case and spaces count.',
        MODEL,
        "Tokens of the source: char, word or subword.",
    ),
    Parameter(
        "target_level",
        "char",
        _level,
        "the same of the target, whose texts come back exactly.",
        MODEL,
        "Tokens of the target: char, word or subword.",
    ),
    Parameter(
        "max_words",
        10000,
        _int,
        "most tokens of each side: the most frequent ones of the training pairs; others are unknown, and never "
        "predicted. Of subwords: to be made.",
        MODEL,
        "Largest vocabulary of each side.",
    ),
    _common("cell"),
    Parameter(
        "hidden_size",
        256,
        _int,
        "units of each layer of the decoder, and of each direction of the encoder's.",
        MODEL,
        "Units of a layer; of the encoder's, each way.",
    ),
    Parameter(
        "num_layers",
        1,
        _int,
        "layers of the encoder and of the decoder. Attention is between the decoder's first and second.",
        MODEL,
        "Layers of the encoder and of the decoder.",
    ),
    _common("embedding_dim", 64, "width of the token vectors, of both sides.", "Numbers a token."),
    Parameter(
        "attention",
        "multiplicative",
        lambda owner, name, value: check_choice(owner, name, value, ATTENTIONS),
        'how well a step of the decoder and one of the encoder match: "multiplicative" (Luong et al. 2015) or '
        '"additive" (Bahdanau et al. 2015; slower, and more memory on long texts); `unspool.seq2seq.Attention` has the '
        "equations.",
        MODEL,
        "multiplicative or additive.",
    ),
    Parameter(
        "dropout",
        0.2,
        _rate,
        "probability of zeroing a feature of what is attended to, of the inputs of layers 2, 3, ... and of the output.",
        MODEL,
        "Of what is attended to, between layers and before the output.",
    ),
    Parameter(
        "input_dropout",
        0.0,
        _rate,
        "probability of zeroing a feature of the token vectors, for a whole sequence.",
        MODEL,
        "Features of the token vectors, for a whole text.",
    ),
    _common("recurrent_dropout"),
    _common("zoneout"),
    _common("weight_dropout"),
    Parameter(
        "teacher_forcing",
        1.0,
        lambda owner, name, value: check_float(owner, name, value, 0.0, 1.0),
        "share of the training steps at which the decoder is given the target's token, at the last epoch; at the "
        "others it is given one that it drew itself (scheduled sampling, Bengio et al. 2015). Below 1 the decoder runs "
        "twice a batch.",
        TRAINING,
        "Share of the target's tokens that the decoder is given, at the end.",
    ),
    Parameter(
        "teacher_forcing_schedule",
        "linear",
        lambda owner, name, value: check_choice(owner, name, value, FORCING_SCHEDULES),
        'how that share falls from 1 over the epochs: "linear", "cosine", or "constant": there from the first on.',
        TRAINING,
        "How it falls from 1: linear, cosine or constant.",
    ),
    Parameter(
        "label_smoothing",
        0.0,
        _rate,
        "share of a target token that is spread over all tokens while training, in [0, 1).",
        TRAINING,
        "Share of a token that all tokens get.",
    ),
    _common("epochs"),
    _common(
        "batch_size", 64, "pairs a step; those with sources of similar length go together.", "Pairs a step."
    ),
    _common("learning_rate"),
    _common("schedule", "cosine"),
    _common("warmup"),
    _common("averaging", 0.0),
    _common("weight_decay"),
    _common("gradient_clip"),
    _common("gradient_clip_value"),
    _common("early_stopping"),
    _common("patience"),
    _common(
        "monitor",
        text='what tells the best epoch, and `patience` waits for: "loss" of the validation part, or "metric", the '
        "share of its pairs that are written exactly, greedily (slower: each epoch writes them).",
        help="loss, or metric (targets written exactly): what tells the best epoch.",
    ),
    _common("validation_fraction"),
    _common("precision"),
    _COMMON["device"],
    _common("random_state"),
    _common("verbose"),
)
