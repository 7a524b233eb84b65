"""`unspool tune`: settings searched for on a table, series or recordings, and held against the default."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unspool.cli.fit import places, save
from unspool.cli.options import (
    SAVED,
    Debug,
    OnCluster,
    Source,
    setting_options,
    settings_of,
    source_options,
    with_options,
)
from unspool.cli.studying import parse_duration
from unspool.errors import DataError, check_choice
from unspool.parameters import TABLE, check_effort, shared

if TYPE_CHECKING:
    from unspool.tuning import Tuning

SEARCH = "Search"
STUDY = "study.journal"
Out = Annotated[Path, typer.Option(help="Where the model goes: a folder or a .zip.", show_default=False)]
Report = Annotated[
    Path | None,
    typer.Option(help="Where the study, metrics, plots and test predictions go. Default: OUT-report."),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No line a trial.")]


@dataclass(frozen=True, kw_only=True)
class Searching:
    """The options that say what is searched, and for how long."""

    budget: Annotated[
        str | None, typer.Option(help="Time for it all: 30m, 90s, 2h.", rich_help_panel=SEARCH)
    ] = None
    trials: Annotated[
        int | None, typer.Option(help="Trials beside the default, at most.", rich_help_panel=SEARCH)
    ] = None
    search: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=RANGE]",
            help="What is varied: dropout, hidden-size=32:256 or cell=gru,lstm; repeat it. Default: what "
            "docs/tuning.md lists, but for the options that are given.",
            show_default=False,
            rich_help_panel=SEARCH,
        ),
    ] = None
    metric: Annotated[
        str | None, typer.Option(help="What is to be best, as of compare.", rich_help_panel=SEARCH)
    ] = None
    repeats: Annotated[
        int,
        typer.Option(help="Runs of the best and of the default, to compare them.", rich_help_panel=SEARCH),
    ] = 5
    jobs: Annotated[
        int | None, typer.Option(help="Trials side by side. Default: one a core.", rich_help_panel=SEARCH)
    ] = None
    cluster: OnCluster = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Searching:
        """Out of what a command was given; `DataError` where it does not say for how long, or cannot be read."""
        from unspool.tuning.storage import optuna

        optuna()
        found = cls(**{field.name: options[field.name] for field in fields(cls)})
        if found.budget is None and found.trials is None:
            raise DataError("Give --budget, a time such as 30m, or --trials, a number, or both.")
        given = found.arguments()
        check_effort("tune", {name: given[name] for name in ("budget_seconds", "trials", "repeats", "jobs")})
        return found

    def arguments(self) -> dict[str, Any]:
        """Of `unspool.tune`."""
        return {
            "budget_seconds": None if self.budget is None else parse_duration(self.budget),
            "trials": self.trials,
            "space": None if self.search is None else _space(self.search),
            "metric": self.metric,
            "repeats": self.repeats,
            "jobs": self.jobs,
            "cluster": self.cluster,
        }


def _space(searched: Sequence[str]) -> dict[str, Any]:
    """Name -> range; `DataError` for a name that comes twice."""
    found: dict[str, Any] = {}
    for name, given in map(_searched, searched):
        if name in found:
            raise DataError(f"--search has {name.replace('_', '-')!r} twice. Give it once, with its range.")
        found[name] = given
    return found


def _searched(text: str) -> tuple[str, Any]:
    """(name, range) of "dropout", "hidden-size=32:256" or "cell=gru,lstm"."""
    from unspool.tuning.space import SEARCHED

    name, mark, given = (part.strip() for part in text.partition("="))
    name = name.replace("-", "_")
    check_choice("unspool tune", "search", name, SEARCHED)
    if not mark:
        return name, None
    if not given:
        raise DataError(
            f"--search {text!r} names no range after the mark. For that of the page leave the mark out."
        )
    try:
        if ":" in given:
            low, high = given.split(":")
            return name, (float(low), float(high))
    except ValueError:
        raise DataError(
            f"--search {text!r}: a range is two numbers, such as 32:256. Got {given!r}."
        ) from None
    return name, [_value(part.strip()) for part in given.split(",")]


def _value(text: str) -> Any:
    """A choice: None, a truth, a number or a name."""
    words = {"none": None, "true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def given_names(ctx: typer.Context, leave_out: Iterable[str] = ()) -> list[str]:
    """The estimator's parameters that were said on the command line."""
    source = {p.name: ctx.get_parameter_source(p.option_name) for p in shared(leave_out)}
    return [name for name, where in source.items() if where is not None and where.name == "COMMANDLINE"]


def option_text(settings: Mapping[str, Any]) -> str:
    """Parameters as options of `fit`: "--cell gru --hidden-size 96"."""
    words = []
    for p in TABLE:
        value = settings.get(p.name)
        option = p.option_name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        elif value is not None:
            several = isinstance(value, (list, tuple))
            words += [f"--{option} {_shown(part)}" for part in (value if several else [value])]
    return " ".join(words)


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def search_settings(
    ctx: typer.Context,
    searching: Searching,
    report: Path,
    X: Any,
    y: Any,
    **more: Any,
) -> tuple[Tuning, dict[str, Any]]:
    """(what was found, with its models trained; what is told of it in metrics.json). KeyboardInterrupt where Ctrl-C
    ended the search."""
    import unspool
    from unspool.tuning.progress import counted, duration

    ctx.meta[SAVED] = f"what was finished is kept in {report}; the same command goes on."
    result: Tuning = unspool.tune(X, y, out=report, **searching.arguments(), **more)
    for line in result.verdict():
        typer.echo(line)
    if result.interrupted:
        kept = counted(sum(not t.default for t in result.trials), "trial")
        ctx.meta[SAVED] = f"{kept}, and the default, kept in {report}; the same command goes on."
        raise KeyboardInterrupt
    if result.chosen is not None:
        typer.echo(f"Trial {result.chosen.number} as options of fit: {option_text(result.chosen.settings)}")
    if (line := result.looked_before()) is not None:
        typer.echo(line)
    result.train()
    result.write(report)
    facts = {
        "kept": result.kept,
        "settings": None if result.chosen is None else dict(result.chosen.settings),
        "trials": len(result.trials) - 1,
        "search": {axis.name: axis.to_json() for axis in result.axes},
        "repeats": [[asdict(run) for run in pair] for pair in result.repeats],
        "verdict": result.verdict(),
        "duration": duration(result.seconds),
    }
    return result, facts


@with_options(source_options(), source_options(Searching), setting_options())
def tune(
    ctx: typer.Context,
    out: Out,
    report: Report = None,
    quiet: Quiet = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Search for settings better than the default, tell whether they are, and save the better model.

    unspool tune reviews.csv --input text --target score --budget 30m --out model

    Options of the model that are given are kept, all others may be varied. The same command goes on with a search that
    was ended, however it was.
    """
    from unspool.cli.data import Beside, prepare
    from unspool.cli.report import measure, measure_baselines, tell, write_report
    from unspool.estimators import for_task

    searching = Searching.of(options)
    out, report = places(out, report)
    settings, source = settings_of(options), Source.of(options)
    columns = (settings["numeric"], settings["categorical"])
    settings["text_column"] = source.input if any(columns) else None
    data = prepare(source, settings, Beside(settings["text_column"], *columns))
    settings |= data.settings
    for line in data.notes:
        typer.echo(line)
    started = time.perf_counter()
    result, facts = search_settings(
        ctx,
        searching,
        report,
        data.train.inputs,
        data.task.named(data.train.y, data.targets),
        estimator=for_task(data.task.name)(**settings),
        keep=given_names(ctx),
        validation=None if data.validation is None else (data.validation.inputs, data.validation.y),
        test=(data.test.inputs, data.test.y),
        random_state=settings["random_state"],
        verbose=0 if quiet else 1,
    )
    seconds = time.perf_counter() - started
    save(result.model, out)
    ctx.meta[SAVED] = f"the model is saved in {out}, not evaluated."
    others = [measure(name, model, data.test, data.task) for name, model in other_models(result)]
    baselines = measure_baselines(data, settings)
    found, told = tell(result.model, data.test, data.task, data.measured, baselines, others)
    written = {
        "task": data.task.name,
        "rows": data.counts(),
        **told,
        "settings": {**settings, **result.settings},
        "training": {
            "seconds": seconds,
            "parameters": result.model.n_parameters_,
            "epochs": result.model.history_,
        },
        "tuning": facts,
    }
    write_report(report, data.task, source.input, data.targets, data.test, found, written)
    typer.echo(f"Model: {out}. Metrics, plots, trials and test predictions: {report}.")


def other_models(result: Tuning) -> Sequence[tuple[str, Any]]:
    """The one that is not kept, by the name that its row has."""
    names = {
        "default": "the default",
        "chosen": f"trial {result.chosen.number if result.chosen else ''}, not kept",
    }
    return [(names[name], model) for name, model in result.models.items() if name != result.kept]
