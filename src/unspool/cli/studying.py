"""The options of a study that every `unspool compare` has, and how it ends."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unspool.cli.options import SAVED, OnCluster
from unspool.errors import DataError
from unspool.parameters import check_effort

if TYPE_CHECKING:
    from unspool.study.comparison import Comparison

ARRANGEMENTS, STUDY = "Arrangements", "Study"
UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}
Out = Annotated[Path, typer.Option(help="Folder for runs, tables, report and the model.", show_default=False)]
Names = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES",
        help="Names such as lstm/stacked (docs/study.md) joined by commas. Default: every combination of:",
        show_default=False,
        rich_help_panel=ARRANGEMENTS,
    ),
]
Cells = Annotated[str, typer.Option(help="Names joined by commas.", rich_help_panel=ARRANGEMENTS)]
EqualParameters = Annotated[
    bool,
    typer.Option(
        "--equal-parameters",
        help="Hidden sizes so that the recurrent layers of all have about as many parameters as those of an estimator "
        "with --hidden-size and its own cell and layers.",
        rich_help_panel=ARRANGEMENTS,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No line a run.")]


@dataclass(frozen=True, kw_only=True)
class Studying:
    """Repeats, budget and what ranks."""

    metric: Annotated[
        str | None,
        typer.Option(
            help="Ranks: r2 (default), rmse, mae, pearson_r; accuracy (default), macro_f1, log_loss; of ordered "
            "classes kappa (default), rank_mae; of counts and positive numbers deviance (default); of other kinds of "
            "model what docs/study.md lists.",
            rich_help_panel=STUDY,
        ),
    ] = None
    repeats: Annotated[
        int, typer.Option(help="Runs of each arrangement, from the same seeds.", rich_help_panel=STUDY)
    ] = 5
    cv: Annotated[
        int | None,
        typer.Option(help="Folds of a cross-validation in each repeat.", rich_help_panel=STUDY),
    ] = None
    budget: Annotated[
        str | None, typer.Option(help="Time for it all: 15m, 90s, 2h.", rich_help_panel=STUDY)
    ] = None
    budget_runs: Annotated[int | None, typer.Option(help="Runs, at most.", rich_help_panel=STUDY)] = None
    drop_hopeless: Annotated[
        bool,
        typer.Option(help="After two repeats, leave out what is clearly worse.", rich_help_panel=STUDY),
    ] = True
    jobs: Annotated[
        int | None, typer.Option(help="Runs side by side. Default: one a core.", rich_help_panel=STUDY)
    ] = None
    cluster: OnCluster = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """What `unspool.study.compare` is given; `InvalidParameterError` for what is out of range."""
        found = {field.name: options[field.name] for field in fields(cls)}
        budget = found.pop("budget")
        found["budget_seconds"] = None if budget is None else parse_duration(budget)
        effort = ("budget_seconds", "budget_runs", "repeats", "jobs")
        check_effort("compare", {name: found[name] for name in effort})
        return found


def parse_duration(text: str) -> float:
    """Seconds of "90", "90s", "15m" or "1.5h"; `DataError` for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|min|h|)\s*", text)
    if not found or float(found[1]) == 0:
        raise DataError(f"--budget must be a time such as 15m, 90s or 2h. Got {text!r}.")
    return float(found[1]) * UNITS[found[2]]


def names(text: str | None) -> list[str] | None:
    """Names joined by commas; None for None."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def joined(train: Sequence[Any], validation: Sequence[Any] | None, cv: int | None) -> tuple[Any, Any]:
    """(what `compare` takes as its arguments X, y, ..., validation): with folds, the rows of a given validation part
    join the others. train, validation: a list for each argument."""
    if validation is None or cv is None:
        return tuple(train), None if validation is None else tuple(validation)
    return tuple([*a, *b] for a, b in zip(train, validation)), None


def run(
    ctx: typer.Context, out: Path, quiet: bool, settings: Mapping[str, Any], *data: Any, **asked: Any
) -> None:
    """`unspool.study.compare` of `data` with what is `asked`, and what it found. settings: of the estimator."""
    from unspool import study

    out = out.expanduser()
    state = settings["random_state"]
    _tell(ctx, study.compare(*data, out=out, random_state=state, verbose=0 if quiet else 1, **asked), out)


def _tell(ctx: typer.Context, result: Comparison, out: Path) -> None:
    """Print what was found and where it is; KeyboardInterrupt where the study was interrupted."""
    typer.echo(f"\n{result.summary()}")
    if result.interrupted:
        done = sum(len(entry.runs) for entry in result.entries)
        kept = "1 run is" if done == 1 else f"{done} runs are"
        ctx.meta[SAVED] = f"{kept} kept in {out}; the same command goes on."
        raise KeyboardInterrupt
    if result.best is not None:
        typer.echo(f"Model: {out / 'model'}.")
    typer.echo(f"Report: {out / 'report.html'}. Tables: {out / 'table.csv'}, {out / 'runs.csv'}.")
