"""The estimators' parameters, in one table: checks, command line, saving and documentation follow from it.

Nothing heavy is imported, so that `unspool --help` is quick. `python -m unspool.parameters` prints docs/parameters.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from unspool.errors import bad_parameter, check_choice, check_float, check_int

Check = Callable[[str, str, Any], Any]
SPLIT, MODEL, VECTORS, TRAINING = "Training and test rows", "Model", "Word vectors", "Training"
SIGNALS = "Series and recordings"


def as_given(value: Any) -> Any:
    """The value itself."""
    return value


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    name, default: of the constructor. check(owner, name, value) raises `InvalidParameterError`. text: what it means.
    group: the heading of its option; None: no option, and `instead` says what there is. help: of the option.
    kind: its type on the command line; None: that of the default. many: the option takes one or several numbers of
    this type joined by commas, and a saved list is a tuple of them. repeat: a tuple, given by repeating the option.
    option: its name there. option_default: where it differs from `default`. later: files of the first models lack it;
    before: what those models do, where that is not the default. read: what the option's value stands for.
    """

    name: str
    default: Any
    check: Check
    text: str
    group: str | None = None
    help: str = ""
    kind: Any = None
    many: type | None = None
    repeat: type | None = None
    option: str | None = None
    option_default: Any = ...
    later: bool = False
    before: Any = ...
    read: Callable[[Any], Any] = as_given
    instead: str = "none"

    @property
    def option_name(self) -> str:
        """The option's name, with underscores."""
        return self.option or self.name

    @property
    def shown_default(self) -> Any:
        """The option's default."""
        return self.default if self.option_default is ... else self.option_default


def _int(low: int) -> Check:
    return lambda owner, name, value: check_int(owner, name, value, low)


def _float(low: float, high: float, closed: str) -> Check:
    return lambda owner, name, value: check_float(owner, name, value, low, high, closed)


def _choice(*choices: Any) -> Check:
    return lambda owner, name, value: check_choice(owner, name, value, choices)


def _flag(owner: str, name: str, value: Any) -> None:
    import numpy as np

    if not isinstance(value, (bool, np.bool_)):
        bad_parameter(owner, name, "True or False", value)


def _cell(owner: str, name: str, value: Any) -> None:
    from torch import nn

    from unspool import cells

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
    from unspool.nn.stack import layer_sizes

    layer_sizes(owner, value, None)


def _connection(owner: str, name: str, value: Any) -> None:
    from unspool.nn.stack import CONNECTIONS

    check_choice(owner, name, value, CONNECTIONS)


def _pooling(owner: str, name: str, value: Any) -> None:
    from unspool.heads.pooling import pooling_names

    pooling_names(value)


def _rates(owner: str, name: str, value: Any) -> None:
    for rate in value if isinstance(value, (tuple, list)) else [value]:
        check_float(owner, name, rate, 0, 1, "left")


def _clip(owner: str, name: str, value: Any) -> None:
    if value is not None:
        check_float(owner, name, value, 0, math.inf, "neither")


def _random_state(owner: str, name: str, value: Any) -> None:
    import numpy as np

    if value is not None and not isinstance(value, (np.random.RandomState, np.random.Generator)):
        check_int(owner, name, value, 0)


def _optional(check: Check) -> Check:
    return lambda owner, name, value: None if value is None else check(owner, name, value)


def _vectors(owner: str, name: str, value: Any) -> None:
    from unspool.encode.vectors import as_list, check_source

    for source in as_list(value):
        check_source(owner, name, source)


def _names(owner: str, name: str, value: Any) -> None:
    if not isinstance(value, (tuple, list)) or not all(isinstance(v, str) for v in value):
        bad_parameter(owner, name, "a tuple of names of columns, such as ('price',)", value)


def _text_column(owner: str, name: str, value: Any) -> None:
    if value is not None and not isinstance(value, str):
        bad_parameter(owner, name, "None or the name of a column", value)


def _read_vectors(value: list[str] | None) -> Any:
    return "texts" if not value else None if value == ["none"] else value


def _order(owner: str, name: str, value: Any) -> None:
    import numpy as np

    if value is None or (isinstance(value, str) and value == "auto"):
        return
    listed = isinstance(value, (tuple, list, np.ndarray))
    if not listed or len(value) < 2 or len({*map(str, value)}) < len(value):
        bad_parameter(owner, name, "None, 'auto' or a list of two classes or more, all different", value)


def _read_order(value: str | None) -> Any:
    return None if value is None else [part.strip() for part in value.split(",")]


def _class_weight(owner: str, name: str, value: Any) -> None:
    if value is None or (isinstance(value, str) and value == "balanced"):
        return
    if not isinstance(value, dict):
        bad_parameter(owner, name, "None, 'balanced' or a dict from class to weight", value)
    for weight in value.values():
        check_float(owner, name, weight, 0, math.inf, "left")


#: Of all sequence estimators, with the defaults of those of texts.
COMMON: tuple[Parameter, ...] = (
    Parameter(
        "cell",
        "lstm",
        _cell,
        "name in `unspool.cells.names()`, or a callable (input_size, hidden_size) -> cell module.",
        MODEL,
        "rnn, gru, lstm or another of docs/cells.md.",
    ),
    Parameter(
        "hidden_size",
        64,
        _hidden_size,
        "units of the cell, in each direction and layer; a tuple has a width for each layer.",
        MODEL,
        "Units a direction; 64,32: of each layer.",
        many=int,
    ),
    Parameter(
        "num_layers",
        1,
        _int(1),
        "recurrent layers, one on the other; with a tuple as hidden_size its length, or left at 1.",
        MODEL,
        "Stacked layers.",
    ),
    Parameter(
        "bidirectional",
        True,
        _flag,
        "also read each sequence from its end, with weights of its own.",
        MODEL,
        "Read both ways.",
    ),
    Parameter(
        "merge",
        "concat",
        _choice("concat", "sum", "mean", "product"),
        'what a bidirectional layer makes of its two outputs: "concat", "sum", "mean" or "product".',
        MODEL,
        "Both ways' outputs: concat, sum, mean or product.",
        later=True,
    ),
    Parameter(
        "connection",
        None,
        _connection,
        'around recurrent layers 2, 3, ...: None, "residual" (output + input) or "highway" (a learned mixture of '
        "both); all layers then have one width.",
        MODEL,
        "Around layers 2, 3, ...: residual or highway.",
        kind=str | None,
        later=True,
    ),
    Parameter(
        "embedding_dim",
        100,
        _int(1),
        "width of the token vectors (texts and ids only).",
        MODEL,
        "Numbers a token.",
    ),
    Parameter(
        "pooling",
        "mean+max",
        _pooling,
        '"last", "first", "mean", "max", "attention", or several joined by "+" (`unspool.heads.Pooling`).',
        MODEL,
        "last, first, mean, max, attention, or a sum: mean+max.",
    ),
    Parameter(
        "dense",
        (),
        _dense,
        "widths of relu layers between pooling and output, such as (256,).",
        MODEL,
        "Width of a hidden layer before the output; repeat it.",
        repeat=int,
    ),
    Parameter(
        "dropout",
        None,
        _optional(_float(0, 1, "left")),
        "probability of zeroing an input of recurrent layers 2, 3, ..., of dense layers and the output. None: 0.5 for "
        "texts and ids, 0.3 for series and recordings.",
        MODEL,
        "Between layers and before the output, in [0, 1). Default: 0.5, 0.3 of series.",
        kind=float | None,
    ),
    Parameter(
        "input_dropout",
        None,
        _optional(_float(0, 1, "left")),
        "probability of zeroing a feature of a recurrent layer's input for a whole sequence. None: 0.3 for texts and "
        "ids, 0 for series.",
        MODEL,
        "Features of a layer's input, for a whole text. Default: 0.3.",
        kind=float | None,
        later=True,
        before=0.0,
    ),
    Parameter(
        "recurrent_dropout",
        0.0,
        _float(0, 1, "left"),
        "probability of zeroing a unit of the state, for a whole sequence, where weights multiply it.",
        MODEL,
        "Units of the state in products, for a whole text.",
        later=True,
    ),
    Parameter(
        "zoneout",
        0.0,
        _rates,
        "probability that a unit of the state keeps its value at a step; a tuple has a rate for each part of the "
        "state, such as (0.05, 0.5) for an LSTM's h and c.",
        MODEL,
        "Units of the state kept at a step; 0.05,0.5: of each part.",
        many=float,
        later=True,
    ),
    Parameter(
        "weight_dropout",
        0.0,
        _float(0, 1, "left"),
        "probability of dropping an entry of the matrices that multiply the state, drawn each batch.",
        MODEL,
        "Entries of the recurrent matrices.",
        later=True,
    ),
    Parameter(
        "word_dropout",
        0.0,
        _float(0, 1, "left"),
        "probability of taking a token for an unknown one while training (texts only).",
        MODEL,
        "Tokens taken for unknown ones.",
        later=True,
    ),
    Parameter(
        "crop",
        0.0,
        _float(0, 1, "left"),
        "in training a random run of each sequence is seen, of a share of its steps between 1 - crop and 1 (series and "
        "recordings, one target a sequence).",
        SIGNALS,
        "Largest share of the steps left out at random in training.",
        later=True,
    ),
    Parameter(
        "noise",
        0.0,
        _float(0, math.inf, "left"),
        "deviation of noise on the standardised features in training (series and recordings).",
        SIGNALS,
        "Deviation of noise on the features in training.",
        later=True,
    ),
    Parameter(
        "time_mask",
        0.0,
        _float(0, 1, "left"),
        "largest share of the steps, in one run, set to the features' mean in training (series and recordings).",
        SIGNALS,
        "Largest share of the steps blanked at random in training.",
        later=True,
    ),
    Parameter(
        "audio_features",
        "log-mel",
        _choice("log-mel", "mfcc"),
        'what a recording becomes, each 10 ms: "log-mel" (decibels of mel bands) or "mfcc" (20 coefficients).',
        SIGNALS,
        "Of recordings: log-mel or mfcc.",
        later=True,
    ),
    Parameter(
        "mel_bands",
        40,
        _int(1),
        "mel bands of a recording's spectra.",
        SIGNALS,
        "Mel bands of recordings.",
        later=True,
    ),
    Parameter(
        "sample_rate",
        None,
        _optional(_int(1)),
        "samples a second that recordings are brought to. None: that of most training recordings, 16,000 at most.",
        SIGNALS,
        "Of recordings. Default: that of most of them, 16000 at most.",
        kind=int | None,
        later=True,
    ),
    Parameter(
        "gain_invariant",
        True,
        _flag,
        "each recording is brought to full scale, so that how loud it is makes no difference.",
        SIGNALS,
        "Bring each recording to full scale.",
        later=True,
    ),
    Parameter(
        "channel_invariant",
        False,
        _flag,
        "the mean of each band over a recording is taken off, so that microphone, room and voice say less, and a "
        "steady sound nothing: for words of speakers that training does not have.",
        SIGNALS,
        "Take off each band's mean over a recording: for unknown speakers.",
        later=True,
    ),
    Parameter(
        "max_words",
        10000,
        _int(1),
        "most frequent words (or characters) of the training texts that get a vector.",
        MODEL,
        "Largest vocabulary.",
    ),
    Parameter(
        "level",
        "word",
        _choice("word", "char"),
        'what a token is: "word" (words and punctuation marks) or "char".',
        MODEL,
        "Tokens: word or char.",
    ),
    Parameter(
        "characters",
        None,
        _choice(None, "cnn", "lstm"),
        'beside each word\'s vector 50 numbers from its characters, known word or not: "cnn" (filters of three, the '
        'largest answer of each) or "lstm" (25 units each way). Texts by words only.',
        MODEL,
        "Beside each word's vector one of its characters: cnn or lstm.",
        kind=str | None,
        later=True,
    ),
    Parameter(
        "vectors",
        "texts",
        _vectors,
        "word vectors that the embedding starts from: a source of `unspool.encode.vectors`, a list of them, "
        'side by side, "texts" (those of the training texts themselves, by which words stand near which, '
        "embedding_dim wide, of more than 1,000 words) or None (at random). Training adds a change "
        "to them. Texts only.",
        VECTORS,
        "A file (GloVe, word2vec, fastText .vec, .npy), a folder with word pieces, or a name of docs/recipe.md; "
        "NAME:50 for 50 dimensions; repeat it. Default: texts, from the training texts themselves. none: at random.",
        kind=list[str] | None,
        option_default=None,
        later=True,
        before=None,
        read=_read_vectors,
    ),
    Parameter(
        "vector_words",
        50000,
        _int(0),
        "words of the sources, beyond those of the training texts, that are known at prediction.",
        VECTORS,
        "Words of the vectors beyond the training texts'.",
        later=True,
    ),
    Parameter(
        "vectors_rate",
        None,
        _optional(_float(0, math.inf, "left")),
        'the vectors\' share of the learning rate; 0: as given. None: 0.3, and 1 for "texts".',
        VECTORS,
        "Their share of the learning rate; 0: as given. Default: 0.3, 1 of the texts' own.",
        kind=float | None,
        later=True,
    ),
    Parameter(
        "blend",
        None,
        _optional(_flag),
        "mix in a linear model on TF-IDF, by a weight found on the held-back rows. None: for texts where held-back "
        "rows are 20 or more, and the loss is squared or huber, or cross-entropy.",
        MODEL,
        "Mix in a linear model on TF-IDF. Default: for texts.",
        kind=bool | None,
        later=True,
        before=False,
    ),
    Parameter(
        "text_column",
        None,
        _text_column,
        "the column of X that holds the sequences, where X is a DataFrame or a dict of columns.",
        instead="`--input`",
        later=True,
    ),
    Parameter(
        "numeric",
        (),
        _names,
        "columns of X with a number a row, beside the sequences: brought to mean 0 and variance 1 over the training "
        "part, a missing one to the mean, and where training has missing ones these are told apart.",
        MODEL,
        "A column of numbers beside the text; repeat it.",
        repeat=str,
        later=True,
    ),
    Parameter(
        "categorical",
        (),
        _names,
        "columns of X with a category a row, beside the sequences: a 1 at the row's own; missing, unknown and single "
        "ones share a place.",
        MODEL,
        "A column of categories beside the text; repeat it.",
        repeat=str,
        later=True,
    ),
    Parameter(
        "ensemble",
        1,
        _int(1),
        "networks from different seeds, whose outputs are averaged; one model.",
        MODEL,
        "Networks from different seeds, averaged.",
        later=True,
    ),
    Parameter(
        "loss",
        "squared",
        _choice(
            "squared",
            "absolute",
            "huber",
            "quantile",
            "poisson",
            "negative_binomial",
            "gamma",
            "lognormal",
        ),
        'of numbers, see `unspool.training.losses.NumberLoss`: "squared", "absolute", "huber", "quantile"; of counts, '
        '0 or more: "poisson", "negative_binomial"; of numbers above 0: "gamma", "lognormal" '
        "(`unspool.training.likelihoods`: what is predicted is the mean).",
        TRAINING,
        "Of numbers: squared, absolute, huber, quantile; of counts: poisson, negative_binomial; above 0: gamma, "
        "lognormal.",
        later=True,
    ),
    Parameter(
        "quantile",
        0.5,
        _float(0, 1, "neither"),
        'the level that loss="quantile" aims at, in (0, 1).',
        TRAINING,
        "Of the quantile loss, in (0, 1).",
        later=True,
    ),
    Parameter(
        "label_smoothing",
        None,
        _optional(_float(0, 1, "left")),
        "share of a label that is spread over all classes while training, in [0, 1). None: 0.1. Classes only.",
        TRAINING,
        "Share of a label that all classes get. Default: 0.1.",
        kind=float | None,
        later=True,
        before=0.0,
    ),
    Parameter(
        "class_weight",
        None,
        _class_weight,
        'None, "balanced" (rare classes count as much as others) or a dict from class to weight.',
        TRAINING,
        "balanced: rare classes count more.",
        kind=str | None,
        later=True,
    ),
    Parameter(
        "multilabel",
        None,
        _optional(_flag),
        "whether y (n, C) of 0 and 1 holds any number of labels a row. None: where a row has not just one 1. "
        "Classifiers only.",
        instead="`--task multilabel`",
        later=True,
    ),
    Parameter(
        "order",
        None,
        _order,
        'the classes from the lowest to the highest, for classes that have an order: cumulative logits. "auto": of '
        "numbers theirs, of a pandas or polars column of ordered categories theirs. None: classes have no order.",
        MODEL,
        "Ordered classes, from the lowest to the highest: low,mid,high. With --task ordinal and numbers: theirs.",
        kind=str | None,
        later=True,
        read=_read_order,
    ),
    Parameter(
        "calibrate",
        None,
        _optional(_flag),
        "whether the logits are divided by a temperature, of least cross-entropy on the held-back rows (Guo et al. "
        "2017, arXiv:1706.04599): probabilities then say how often they are right, and the most probable class stays. "
        "None: yes. Classifiers only; without 20 held-back rows nothing is changed.",
        TRAINING,
        "Bring probabilities to what held-back rows say. Default: yes.",
        kind=bool | None,
        later=True,
        before=False,
    ),
    Parameter("epochs", 20, _int(1), "passes over the training part, at most.", TRAINING, "At most."),
    Parameter(
        "batch_size",
        32,
        _int(1),
        "sequences a step; those of similar length go together.",
        TRAINING,
        "Texts a step.",
    ),
    Parameter("learning_rate", 2e-3, _float(0, math.inf, "neither"), "of Adam.", TRAINING, "Of Adam."),
    Parameter(
        "schedule",
        "constant",
        _choice("constant", "linear", "cosine", "one_cycle"),
        'of the learning rate over all epochs: "constant", "linear", "cosine" or "one_cycle".',
        TRAINING,
        "Of the learning rate: constant, linear, cosine or one_cycle.",
        later=True,
    ),
    Parameter(
        "warmup",
        0,
        _int(0),
        "steps over which the learning rate rises at first.",
        TRAINING,
        "Steps over which the rate rises at first.",
        later=True,
    ),
    Parameter(
        "averaging",
        0.99,
        _float(0, 1, "left"),
        "decay of a moving average of the weights, which is what is validated and kept; 0: none.",
        TRAINING,
        "Decay of the weights' moving average; 0: none.",
        later=True,
        before=0.0,
    ),
    Parameter(
        "weight_decay", 1e-4, _float(0, math.inf, "left"), "decoupled, as in AdamW.", TRAINING, "Of Adam."
    ),
    Parameter(
        "gradient_clip",
        1.0,
        _clip,
        "largest joint norm of the gradients; None for no limit.",
        TRAINING,
        "Largest norm of the gradient.",
    ),
    Parameter(
        "gradient_clip_value",
        None,
        _clip,
        "largest size of any number in a gradient, applied before gradient_clip; None for no limit.",
        TRAINING,
        "Largest size of a number in the gradient. Default: any.",
        kind=float | None,
        later=True,
    ),
    Parameter(
        "early_stopping",
        True,
        _flag,
        "hold back a validation part and stop once its loss has not fallen for `patience` epochs. False: no part is "
        "held back, and all epochs run.",
        TRAINING,
        "Stop on the validation loss.",
    ),
    Parameter(
        "patience", 4, _int(1), "see early_stopping.", TRAINING, "Epochs without a better validation loss."
    ),
    Parameter(
        "validation_fraction",
        0.1,
        _float(0, 1, "neither"),
        "size of the validation part, where `fit` is given no validation_data.",
        SPLIT,
        "Share of the training rows for early stopping.",
    ),
    Parameter(
        "embedding_update",
        "dense",
        _choice("sparse", "dense"),
        '"dense" (default): every token vector at every step, as Adam is defined (momentum goes on moving a token '
        "after its batch). A large table is worked on by the rows of each batch, and gets the same numbers up to "
        'rounding. "sparse": a step updates only the token vectors that its batch has, and the momentum of the others '
        "stands still; a little faster than that, and on EmoBank a little worse (test r .450 against .464).",
        TRAINING,
        "dense, or sparse: only the tokens of the batch, faster with many words.",
    ),
    Parameter(
        "precision",
        "float32",
        _choice("float32", "bfloat16"),
        '"float32" (default), or "bfloat16": what the recurrent layers multiply in training is rounded to 8 '
        "significant bits; states, sums and weights are not, nor is anything in prediction. Faster where `unspool "
        "doctor` says so.",
        TRAINING,
        "float32, or bfloat16 products in training.",
        later=True,
    ),
    Parameter(
        "device",
        "cpu",
        _choice("auto", "cpu", "cuda", "mps"),
        '"cpu" (default: there the native engine runs), "cuda", "mps", or "auto": a GPU if torch can use one, else the '
        "CPU, which is printed. The network is trained and asked there, and kept on the CPU.",
        TRAINING,
        "cpu, cuda, mps or auto: a GPU where torch has one.",
        later=True,
    ),
    Parameter(
        "random_state",
        None,
        _random_state,
        "int for the same numbers at each fit on the same machine; None; or a RandomState.",
        TRAINING,
        "Of split, weights and batches.",
        kind=int,
        option="seed",
        option_default=0,
    ),
    Parameter(
        "warm_start",
        False,
        _flag,
        "`fit` goes on from the weights of the last fit; vocabulary, scales, columns and classes stay as they are.",
        later=True,
    ),
    Parameter("verbose", 1, _int(0), "0 silent, 1 a line an epoch.", instead="`--quiet`"),
)

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
        p, default=None, check=_optional(p.check), text=f"{p.text} {text}", help=f"{p.help} {help}", kind=kind
    )


#: Of `SequenceRegressor` and `SequenceClassifier`, in the order of the constructor.
TABLE: tuple[Parameter, ...] = tuple(_by_kind(p) if p.name in _BY_KIND else p for p in COMMON)


def check_parameters(owner: str, values: Mapping[str, Any], of: Iterable[Parameter] = TABLE) -> None:
    """`InvalidParameterError` for the first of `values` outside its range."""
    for parameter in of:
        parameter.check(owner, parameter.name, values[parameter.name])


def described(width: int = 112, of: Iterable[Parameter] = TABLE) -> str:
    """The Parameters section of a docstring."""
    import textwrap

    lines = []
    for p in of:
        text = f"{p.name} : {p.text}"
        lines += textwrap.wrap(text, width, initial_indent="    ", subsequent_indent="        ")
    return "\n".join(["Parameters", "    ----------", *lines])


def table(of: Iterable[Parameter] = TABLE) -> str:
    """The rows of docs/parameters.md."""
    rows = ["| parameter | default | option of `fit` | what it is |", "|---|---|---|---|"]
    for p in of:
        option = f"`--{p.option_name.replace('_', '-')}`" if p.group else p.instead
        if p.option_default is not ...:
            option += f", default {p.option_default}"
        text = p.text[0].upper() + p.text[1:]
        rows.append(f"| `{p.name}` | `{p.default!r}` | {option} | {text.replace('|', '/')} |")
    return "\n".join(rows)


HEAD = """# Parameters

Of `SequenceRegressor` and `SequenceClassifier`, and what `unspool fit` and `unspool compare` call them.
This page is written by `python -m unspool.parameters > docs/parameters.md`.
"""


def shared(names: Iterable[str], of: Iterable[Parameter] = TABLE) -> list[Parameter]:
    """The parameters that have an option, without those named."""
    left_out = set(names)
    return [p for p in of if p.group and p.name not in left_out]


if __name__ == "__main__":
    print(f"{HEAD}\n{table()}")
