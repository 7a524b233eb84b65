"""The parameters of `Forecaster`: those that other estimators have too, with defaults of its own, and its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from unspool import parameters
from unspool.errors import bad_parameter, check_choice, check_float, check_int
from unspool.parameters import MODEL, TRAINING, Parameter
from unspool.parameters.checks import flag

SERIES, WINDOWS, INTERVALS = "Series", "Windows", "Intervals"
MODELS = ("segments", "recurrent", "seq2seq")
LOSSES = ("squared", "absolute", "huber", "quantile", "normal", "student_t", "negative_binomial")
FEATURES = ("minute", "hour", "weekday", "day", "week", "month")
_COMMON = {p.name: p for p in parameters.COMMON}


def _common(name: str, **changes: Any) -> Parameter:
    return replace(_COMMON[name], later=False, before=..., **changes)


def _choice(*choices: Any) -> Any:
    return lambda owner, name, value: check_choice(owner, name, value, choices)


def _optional_int(low: int) -> Any:
    return lambda owner, name, value: None if value is None else check_int(owner, name, value, low)


def _name(owner: str, name: str, value: Any) -> None:
    if not isinstance(value, str):
        bad_parameter(owner, name, "the name of a column", value)


def _optional_name(owner: str, name: str, value: Any) -> None:
    if value is not None:
        _name(owner, name, value)


def _names(owner: str, name: str, value: Any) -> None:
    if not isinstance(value, (tuple, list)) or not all(isinstance(v, str) for v in value):
        bad_parameter(owner, name, "a tuple of names of columns, such as ('price',)", value)


def _features(owner: str, name: str, value: Any) -> None:
    if value == "auto":
        return
    if not isinstance(value, (tuple, list)):
        bad_parameter(owner, name, f"'auto' or a tuple of {list(FEATURES)}", value)
    for feature in value:
        check_choice(owner, name, feature, FEATURES)


def _levels(owner: str, name: str, value: Any) -> None:
    if not isinstance(value, (tuple, list)) or not value:
        bad_parameter(owner, name, "a tuple of levels in (0, 1), such as (0.05, 0.5, 0.95)", value)
    for level in value:
        check_float(owner, name, level, 0, 1, "neither")
    if len(set(value)) < len(value):
        bad_parameter(owner, name, "levels that differ", value)


def _freq(owner: str, name: str, value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, (str, int))):
        bad_parameter(
            owner, name, "None, an int, or such as '15m', '1h', '1d', '1w', '1mo', '1q', '1y'", value
        )


#: In the order of the constructor.
TABLE: tuple[Parameter, ...] = (
    Parameter(
        "horizon",
        24,
        lambda o, n, v: check_int(o, n, v),
        "steps ahead that are learnt.",
        WINDOWS,
        "Steps ahead.",
    ),
    Parameter(
        "model",
        "segments",
        _choice(*MODELS),
        '"segments": reads and answers a segment of steps at a time; "recurrent": a step at a time, each forecast the '
        'next input; "seq2seq": an encoder and a decoder of single steps.',
        MODEL,
        "segments, recurrent or seq2seq.",
    ),
    _common("cell", default="gru"),
    _common(
        "hidden_size",
        default=128,
        text="units of the cell in each layer; a tuple has a width for each layer.",
        help="Units; 64,32: of each layer.",
    ),
    _common("num_layers"),
    Parameter(
        "input_size",
        None,
        _optional_int(1),
        "steps that a forecast looks back on. None: 4 seasons, at least twice the horizon.",
        WINDOWS,
        "Steps that are looked back on. Default: 4 seasons, at least 2 horizons.",
        kind=int | None,
    ),
    Parameter(
        "segment_length",
        None,
        _optional_int(1),
        'steps of a segment (model="segments"). None: a season, at most the horizon and 24.',
        WINDOWS,
        "Steps of a segment. Default: a season, at most 24.",
        kind=int | None,
    ),
    Parameter(
        "season",
        None,
        _optional_int(1),
        "steps of a season, for the seasonal naive forecast and what is None here. None: by the step of the time "
        "stamps (24 for hours, 7 for days, 12 for months).",
        SERIES,
        "Steps of a season. Default: 24 for hours, 7 for days, 12 for months.",
        kind=int | None,
    ),
    Parameter(
        "freq",
        None,
        _freq,
        'step between rows: "15m", "1h", "1d", "1w", "1mo", "1q", "1y", an int for stamps that are ints. None: the '
        "most frequent one.",
        SERIES,
        "Step between rows: 15m, 1h, 1d, 1w, 1mo, 1q, 1y. Default: the most frequent.",
        kind=str | None,
    ),
    Parameter(
        "id_col",
        "unique_id",
        _optional_name,
        "column of the series' ids; None: the table is one series.",
        instead="`--id`",
    ),
    Parameter("time_col", "ds", _name, "column of the time stamps.", instead="`--time`"),
    Parameter("target_col", "y", _name, "column to forecast.", instead="`--target`"),
    Parameter(
        "past",
        (),
        _names,
        "columns of numbers that are known up to now.",
        SERIES,
        "A column known up to now; repeat it.",
        repeat=str,
    ),
    Parameter(
        "future",
        (),
        _names,
        "columns of numbers that are known ahead too; `predict` takes them as `future`.",
        SERIES,
        "A column known ahead too; repeat it.",
        repeat=str,
    ),
    Parameter(
        "static",
        (),
        _names,
        "columns with a number or a category of each series; the id's own may be one.",
        SERIES,
        "A column with one value a series; repeat it.",
        repeat=str,
    ),
    Parameter(
        "time_features",
        (),
        _features,
        'of the time stamps, as sine and cosine: "minute", "hour", "weekday", "day" (of the month), "week", "month" '
        '(of the year); "auto": by the step.',
        SERIES,
        "Of the stamps: minute, hour, weekday, day, week, month; or auto; repeat it.",
        repeat=str,
        read=lambda value: "auto" if tuple(value or ()) == ("auto",) else tuple(value or ()),
    ),
    Parameter(
        "scaler",
        None,
        _choice(None, "standard", "global", "mean", "none"),
        'by the training part: "standard": mean and deviation of each series; "global": of all together; "mean": mean '
        'size of each; "none". None: "standard", for the negative binomial "mean".',
        SERIES,
        "standard, global, mean or none. Default: standard.",
        kind=str | None,
    ),
    Parameter(
        "normalization",
        None,
        _choice(None, "last", "season", "window", "none"),
        'what is taken off each window, and put back: "last": its last value; "season": also, off each '
        'step ahead, the last value at its place of the season; "window": its mean, and deviation; '
        '"none". None: "last", for the negative binomial "none".',
        WINDOWS,
        "Taken off each window: last, season, window or none. Default: last.",
        kind=str | None,
    ),
    Parameter(
        "loss",
        "absolute",
        _choice(*LOSSES),
        'see `unspool.forecasting.losses.ForecastLoss`: "squared", "absolute", "huber", "quantile", "normal", '
        '"student_t" or "negative_binomial" (counts).',
        TRAINING,
        "squared, absolute, huber, quantile, normal, student_t or negative_binomial.",
    ),
    Parameter(
        "quantiles",
        (0.05, 0.1, 0.5, 0.9, 0.95),
        _levels,
        'levels that loss="quantile" learns.',
        TRAINING,
        "A level of the quantile loss; repeat it. Default: .05 .1 .5 .9 .95.",
        repeat=float,
        read=lambda value: tuple(value) if value else (0.05, 0.1, 0.5, 0.9, 0.95),
    ),
    Parameter(
        "intervals",
        "conformal",
        _choice("conformal", "model"),
        '"conformal": by the errors at held-back cut-offs (split conformal); "model": quantiles of a loss '
        "that has some.",
        INTERVALS,
        "conformal or model.",
    ),
    Parameter(
        "calibration",
        "pooled",
        _choice("pooled", "series"),
        '"pooled": the errors of all series, in units of each one\'s scale, are one set; "series": each has its own.',
        INTERVALS,
        "pooled or series.",
    ),
    Parameter(
        "validation_size",
        None,
        _optional_int(0),
        "last steps of each series that are held back, to stop by and to calibrate intervals with. None: a tenth, at "
        "least the horizon; 0: none.",
        WINDOWS,
        "Last steps held back. Default: a tenth, at least the horizon.",
        kind=int | None,
    ),
    Parameter(
        "refit",
        False,
        flag,
        "train anew on all steps, for the number of epochs that was best; the intervals stay those of the first "
        "training's errors.",
        TRAINING,
        "Train anew on all steps at the end.",
    ),
    Parameter(
        "stride",
        1,
        lambda o, n, v: check_int(o, n, v),
        "steps between training windows.",
        WINDOWS,
        "Steps between training windows.",
    ),
    _common(
        "dropout",
        default=0.2,
        check=lambda o, n, v: check_float(o, n, v, 0, 1, "left"),
        text="probability of zeroing an input of the output layer while training.",
        help="Before the output, in [0, 1).",
        kind=float,
    ),
    _common("epochs", default=30),
    _common("batch_size", default=256, text="windows a step.", help="Windows a step."),
    _common("learning_rate", default=1e-3),
    _common("schedule"),
    _common("warmup"),
    _common("averaging"),
    _common("weight_decay"),
    _common("gradient_clip"),
    _common("gradient_clip_value"),
    Parameter(
        "patience",
        5,
        _optional_int(1),
        "epochs without a smaller loss of the held-back part that end the training; None: all run. The weights of the "
        "best epoch are kept.",
        TRAINING,
        "Epochs without a better validation loss.",
        kind=int | None,
    ),
    _common("precision"),
    _COMMON["device"],
    _common("random_state"),
    _common("verbose"),
)

HEAD = """# Parameters of `Forecaster`

And what `unspool fit --task forecasting` calls them. This page is written by
`python -c "from unspool.forecasting.parameters import page; print(page(), end='')" > docs/parameters_forecasting.md`.
"""


def check_parameters(owner: str, values: Mapping[str, Any]) -> None:
    """`InvalidParameterError` for the first of `values` outside its range, or for two that do not go together."""
    parameters.check_parameters(owner, values, TABLE)
    seen = {values["id_col"]: "id_col"}
    roles = [(role, [values[role]]) for role in ("time_col", "target_col")]
    for role, named in [*roles, ("past", values["past"]), ("future", values["future"])]:
        for column in named:
            if column in seen:
                bad_parameter(owner, role, f"other columns than {seen[column]}", column)
            seen[column] = role
    loss = values["loss"]
    if values["intervals"] == "model" and loss in ("squared", "absolute", "huber"):
        hint = "Choose loss='quantile', 'normal', 'student_t' or 'negative_binomial'."
        bad_parameter(
            owner, "intervals", f"'conformal' for loss={loss!r}, which tells of a point alone", "model", hint
        )
    if values["intervals"] == "model" and values["model"] == "recurrent":
        hint = "It feeds back single values, so that its spread beyond the first step is that of one step."
        bad_parameter(owner, "intervals", "'conformal' for model='recurrent'", "model", hint)
    if values["normalization"] == "season" and values["model"] == "recurrent":
        bad_parameter(owner, "normalization", "'last', 'window' or 'none' for model='recurrent'", "season")
    if loss == "quantile" and 0.5 not in values["quantiles"]:
        bad_parameter(
            owner, "quantiles", "levels with 0.5 among them, the forecast itself", values["quantiles"]
        )
    if loss == "negative_binomial":
        for name, allowed in (("scaler", (None, "mean", "none")), ("normalization", (None, "none"))):
            if values[name] not in allowed:
                bad_parameter(owner, name, f"one of {list(allowed)} for counts", values[name])


def page() -> str:
    """docs/parameters_forecasting.md."""
    return f"{HEAD}\n{parameters.table(TABLE)}\n"
