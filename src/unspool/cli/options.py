"""Options that several commands share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from unspool.errors import DataError
from unspool.files import check_place
from unspool.parameters import SPLIT, TABLE, Parameter, shared

if TYPE_CHECKING:
    from unspool.tables import Table

DEBUG, SAVED = "unspool.debug", "unspool.saved"  # keys of the context's meta
INTERRUPTED = 130  # exit code
READING, KEEPING = "Reading the table", "Going on after a stop"
LARGE, CLUSTER = "Tables larger than memory", "More than one machine"


def _debug(ctx: typer.Context, asked: bool) -> None:
    ctx.meta[DEBUG] = asked


Debug = Annotated[
    bool, typer.Option("--debug", callback=_debug, is_eager=True, help="Show the traceback of an error.")
]
Model = Annotated[Path, typer.Argument(help="The saved model: a folder or a .zip.", show_default=False)]
Weights = Annotated[
    str,
    typer.Option(
        metavar="FORM",
        help="While predicting: float32, bfloat16 (half the memory, faster) or int8 (a quarter).",
    ),
]
Level = Annotated[
    int | None,
    typer.Option(
        metavar="PERCENT",
        help="Also an interval (low, high), or a set of classes, with the true answer of so many new rows.",
        show_default=False,
    ),
]
Input = Annotated[
    str, typer.Option("--input", metavar="COLUMN", help="The column of texts.", show_default=False)
]
Texts = Annotated[
    list[str] | None,
    typer.Argument(help="Texts, or with --input one table. Without any: lines of stdin.", show_default=False),
]
TableInput = Annotated[
    str | None,
    typer.Option("--input", metavar="COLUMN", help="The column of texts of a table.", show_default=False),
]
Predictions = Annotated[
    Path | None,
    typer.Option(
        "--out", help="Write the table with its predictions here (.csv, .tsv, .jsonl, .json, .parquet)."
    ),
]
Targets = Annotated[
    list[str],
    typer.Option(
        "--target",
        metavar="COLUMN",
        help="The column to predict; repeat it for several numbers.",
        show_default=False,
    ),
]
OnCluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="auto|local|HOST:PORT",
        help="Work on a Ray cluster: that of this machine, one started here, or the one whose head has this address.",
        show_default=False,
        rich_help_panel=CLUSTER,
    ),
]
Weight = Annotated[
    str | None,
    typer.Option(
        "--weight",
        metavar="COLUMN",
        help="Numbers of 0 or more that weigh the rows in training; measures count all alike.",
        show_default=False,
    ),
]
LabelSeparator = Annotated[
    str | None,
    typer.Option(
        metavar="MARK",
        help="The one target holds any number of labels, joined by this mark.",
        show_default=False,
    ),
]


def load_model(path: Path, weights: str) -> Any:
    """The saved model, its weights in the form of `--weights`."""
    from unspool import saved

    model = saved.load(path, to_fit=False)
    return model if weights == "float32" else model.freeze(weights)


def numbers(kind: type) -> Callable[[Any], Any]:
    """Reads "64" as one number of `kind` and "64,32" as a tuple."""

    def parse(value: Any) -> Any:
        try:
            parts = [kind(part) for part in str(value).split(",")]
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise typer.BadParameter(
                f"expected {what}, or several joined by commas. Got {value!r}."
            ) from None
        return parts[0] if len(parts) == 1 else tuple(parts)

    parse.__name__ = f"{kind.__name__}s joined by commas"
    return parse


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The options that say how tables are read; `read(path)` gives the `Table`."""

    format: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="csv, tsv, jsonl, json, parquet or xlsx. Default: by the extension.",
            rich_help_panel=READING,
        ),
    ] = None
    encoding: Annotated[
        str, typer.Option(help="Encoding of CSV, TSV, JSON and stdin.", rich_help_panel=READING)
    ] = "utf-8"
    delimiter: Annotated[
        str | None,
        typer.Option(help="Default: a comma, or a tab for TSV.", show_default=False, rich_help_panel=READING),
    ] = None
    quotes: Annotated[
        bool, typer.Option("--quotes/--no-quotes", help="Quotes enclose cells.", rich_help_panel=READING)
    ] = True
    header: Annotated[
        bool,
        typer.Option(
            "--header/--no-header",
            help="The first line names the columns; without, they are column_1, column_2, ...",
            rich_help_panel=READING,
        ),
    ] = True
    decimal: Annotated[
        str, typer.Option(metavar="MARK", help="The decimal mark: . or ,", rich_help_panel=READING)
    ] = "."
    thousands: Annotated[
        str | None,
        typer.Option(
            metavar="MARK", help="The mark between thousands: , . ' _ or a space.", rich_help_panel=READING
        ),
    ] = None
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Keep these, joined by commas, beside those that are needed. Default: all.",
            rich_help_panel=READING,
        ),
    ] = None
    drop_missing: Annotated[
        bool,
        typer.Option(
            "--drop-missing", help="Drop rows that lack a text or a target.", rich_help_panel=READING
        ),
    ] = False

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Any:
        """Out of what a command was given."""
        return cls(**{field.name: options[field.name] for field in fields(cls)})

    def read(self, path: Path, needed: Iterable[str] = ()) -> Table:
        """The table; where `columns` are named, with those and the needed ones alone."""
        from unspool.tables import read_table, require_columns

        table = read_table(path, **self._how)
        kept = self._kept(needed)
        if kept is None:
            return table
        require_columns(table, kept)
        return replace(table, frame=table.frame.select(kept))

    def pieces(self, path: Path, needed: Iterable[str] = (), **size: Any) -> Iterator[Table]:
        """The same table piece by piece (`rows=` of each); see `unspool.tables.read_pieces`."""
        from unspool.tables import read_pieces

        return read_pieces(path, self._kept(needed), **size, **self._how)

    @property
    def _how(self) -> dict[str, Any]:
        keys = ("format", "encoding", "delimiter", "quotes", "header", "decimal", "thousands")
        return {name: getattr(self, name) for name in keys}

    def _kept(self, needed: Iterable[str]) -> list[str] | None:
        if self.columns is None:
            return None
        return list(dict.fromkeys([*(name.strip() for name in self.columns.split(",")), *needed]))


@dataclass(frozen=True, kw_only=True)
class Source(Reading):
    """The options that say which columns of which table are learnt from, and which rows are for what."""

    table: Annotated[Path, typer.Argument(help="CSV, TSV, JSON, Parquet or Excel.", show_default=False)]
    input: Input
    target: Targets
    task: Annotated[
        str,
        typer.Option(
            help="auto, regression, classification, multilabel (a target of 0 and 1 a label), ordinal (classes with an "
            "order), count or positive. auto: regression for "
            "several targets not all of 0 and 1, or numbers with fractions or more than 10 distinct values."
        ),
    ] = "auto"
    label_separator: LabelSeparator = None
    split_column: Annotated[
        str | None,
        typer.Option(help="Column that holds train, dev (or valid) and test.", rich_help_panel=SPLIT),
    ] = None
    test: Annotated[Path | None, typer.Option(help="A table of test rows.", rich_help_panel=SPLIT)] = None
    test_fraction: Annotated[
        float | None,
        typer.Option(
            help="Share of rows for the test, drawn by --seed. Default: 0.2.", rich_help_panel=SPLIT
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """The options that say where the state of a training is kept, from which the same command can go on."""

    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Keep the state of the training in this file; with --resume it goes on from there, whatever ended it. "
            "Default with --checkpoint-every or --resume: OUT.checkpoint.",
            show_default=False,
            rich_help_panel=KEEPING,
        ),
    ] = None
    checkpoint_every: Annotated[
        str | None,
        typer.Option(
            metavar="SECONDS|STEPS",
            help="How often: 60s, or 500 for 500 steps. Default: after each epoch.",
            show_default=False,
            rich_help_panel=KEEPING,
        ),
    ] = None
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on from the checkpoint, if there is one.", rich_help_panel=KEEPING),
    ] = False

    @classmethod
    def of(cls, options: Mapping[str, Any], out: Path) -> dict[str, Any]:
        """What `fit` of an estimator is given. `DataError` where a checkpoint is there, and --resume is not."""
        from unspool.training import checkpoint_file
        from unspool.training.checkpoint import interval

        given = cls(**{field.name: options[field.name] for field in fields(cls)})
        if given.checkpoint is None and given.checkpoint_every is None and not given.resume:
            return {}
        interval("fit", given.checkpoint_every)
        path = (
            out.with_name(out.name + ".checkpoint")
            if given.checkpoint is None
            else given.checkpoint.expanduser()
        )
        check_place(path)
        there = next((p for p in (path, checkpoint_file.before(path)) if p.exists()), None)
        if there is not None and not given.resume:
            raise DataError(
                f"{str(there)!r} holds the state of a training. Give --resume to go on from it, or remove it, or name "
                "another file by --checkpoint."
            )
        return {"checkpoint": path, "checkpoint_every": given.checkpoint_every}


@dataclass(frozen=True, kw_only=True)
class Streaming:
    """The options of a table that is larger than memory."""

    stream: Annotated[
        bool,
        typer.Option(
            "--stream",
            help="Read the table in pieces: Parquet, JSON lines, CSV or TSV larger than memory.",
            rich_help_panel=LARGE,
        ),
    ] = False
    epoch_batches: Annotated[
        int | None,
        typer.Option(
            help="An epoch ends after so many batches, drawn at random. Default: all rows.",
            rich_help_panel=LARGE,
        ),
    ] = None
    cache: Annotated[
        Path | None,
        typer.Option(
            help="A folder for the encoded texts, four bytes a token. Default: that of temporary files.",
            rich_help_panel=LARGE,
        ),
    ] = None

    @classmethod
    def of(cls, options: Mapping[str, Any], keeping: Mapping[str, Any]) -> Streaming:
        """Out of what a command was given; `DataError` for what does not go together."""
        found = cls(**{f.name: options[f.name] for f in fields(cls)})
        if not found.stream and (found.epoch_batches is not None or found.cache is not None):
            raise DataError("--epoch-batches and --cache are of --stream.")
        if found.stream and any(value is not None for value in keeping.values()):
            raise DataError("--stream keeps no checkpoint: leave --checkpoint and --resume out.")
        if found.cache is not None and not found.cache.expanduser().is_dir():
            raise DataError(f"--cache must be a folder that is there. Got {str(found.cache)!r}.")
        return found

    def arguments(self) -> dict[str, Any]:
        """Of `fit_stream`."""
        cache = None if self.cache is None else self.cache.expanduser()
        return {"batches_per_epoch": self.epoch_batches, "cache": cache}


def setting_options(
    leave_out: Iterable[str] = (), of: Iterable[Parameter] = TABLE
) -> list[inspect.Parameter]:
    """An option for each parameter of the estimators, or `of` another table, that has one, but for those named."""
    return [_option(parameter) for parameter in shared(leave_out, of)]


def settings_of(
    options: Mapping[str, Any], leave_out: Iterable[str] = (), of: Iterable[Parameter] = TABLE
) -> dict[str, Any]:
    """The estimator's parameters out of what a command was given by `setting_options`; `InvalidParameterError` for
    values out of their range, before anything is read."""
    settings = {}
    for p in shared(leave_out, of):
        value = p.read(tuple(options[p.option_name] or ()) if p.repeat else options[p.option_name])
        p.check("unspool", p.option_name, value)
        settings[p.name] = value
    return settings


def _option(p: Parameter) -> inspect.Parameter:
    default, kind = p.shown_default, p.kind or type(p.shown_default)
    details: dict[str, Any] = {"help": p.help, "rich_help_panel": p.group}
    if p.many:
        kind, mark = Any, "N" if p.many is int else "RATE"
        details |= {"parser": numbers(p.many), "metavar": f"{mark}[,{mark}...]"}
    if p.repeat:
        default, kind = None, list[p.repeat] | None  # type: ignore[name-defined]
    annotation = Annotated[kind, typer.Option(**details)]  # type: ignore[valid-type]
    return inspect.Parameter(
        p.option_name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def with_options(*sources: Iterable[inspect.Parameter]) -> Callable[[Callable], Callable]:
    """Decorator of a command: it takes these options too, and gets them as its `**options`."""

    def give(function: Callable) -> Callable:
        own = inspect.signature(function, eval_str=True).parameters.values()
        parameters = [p for p in own if p.kind != p.VAR_KEYWORD]
        parameters += [p.replace(kind=p.KEYWORD_ONLY) for source in sources for p in source]
        parameters.sort(
            key=lambda p: p.default is not p.empty
        )  # those without a default first, as Python wants
        keyword = [p.replace(kind=p.KEYWORD_ONLY) for p in parameters]
        function.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
        function.__annotations__ = {p.name: p.annotation for p in keyword}
        return function

    return give


def source_options(cls: type = Source) -> list[inspect.Parameter]:
    """The options of `Source`, or of another such class, such as `Reading` alone."""
    hints = get_type_hints(cls, include_extras=True)
    return [p.replace(annotation=hints[p.name]) for p in inspect.signature(cls).parameters.values()]
