"""A study as one HTML page: no script, no style sheet, no picture from anywhere else."""

from __future__ import annotations

import base64
import platform
from pathlib import Path
from typing import Any

import torch

import unspool
from unspool.evaluation.metrics import METRICS
from unspool.study import charts
from unspool.study.layout import compact, number, seconds
from unspool.study.results import Results, Row, mean_of
from unspool.study.verdict import sentences

STATUS = {
    "best": "best",
    "worse": "worse",
    "no difference": "no difference",
    "not tested": "not tested",
    "dropped": "dropped early",
    "failed": "failed",
    "not run": "not run",
}


def page(result: Results) -> str:
    """The HTML document, out of report.html; every text of the user's is escaped."""
    from jinja2 import Environment, StrictUndefined

    source = Path(__file__).with_name("report.html").read_text(encoding="utf-8")
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(source)
    test = result.problem.test is not None
    text = template.render(
        best=result.best,
        subtitle=_subtitle(result),
        verdict=sentences(result),
        header=_header(result),
        rows=[_row(row, test) for row in result.rows],
        baselines=_baselines(result),
        which_number=_which_number(result),
        metrics=_metrics(result),
        pictures=_pictures(result),
        facts=_facts(result),
        cv=result.problem.cv,
    )
    return text.rstrip("\n") + "\n"


def _pictures(result: Results) -> list[dict[str, str]]:
    """title, data (an SVG in base64) and note of each figure."""
    if not charts.scored(result):
        return []
    figures = [
        (f"{METRICS[result.metric][0]} of each arrangement", charts.intervals(result), ""),
        ("Score against cost", charts.costs(result), ""),
    ]
    curves = charts.curves(result)
    if curves is not None:
        figures.append(("Learning curves", curves, _curves_note(result)))
    return [
        {"title": title, "data": base64.b64encode(charts.svg(figure).encode()).decode(), "note": note}
        for title, figure, note in figures
    ]


def _subtitle(result: Results) -> str:
    count, runs = len(result.entries), sum(len(e.runs) for e in result.entries)
    problem = result.problem
    learnt = f"{len(problem.train):,} training {problem.of}"
    return f"{count} arrangements on {learnt}, {runs} runs, predicting {problem.predicting}"


def _which_number(result: Results) -> str:
    heading = METRICS[result.metric][0]
    if result.problem.cv:
        scored = (
            f"in the {result.problem.cv} held-out folds of each repeat, which no training and no stopping saw"
        )
    else:
        scored = f"on the validation part ({result.problem.validation_rows():,} {result.problem.of})" + (
            ". The same rows decide when a training stops, which flatters every arrangement alike"
            if result.problem.stops_on_validation
            else ", which no training and no stopping saw"
        )
    line = f"Ranks, intervals and p are of {heading} {scored}."
    if result.problem.test is not None:
        line += (
            f" Test figures are of {len(result.problem.test):,} other {result.problem.of}, by which nothing was "
            "chosen: take them for how good a model is."
        )
    return f"{line} Times are of one thread, medians of the runs; runs side by side slow each other down a little."


def _header(result: Results) -> list[str]:
    test = ["test", "sd"] if result.problem.test is not None else []
    first = [
        "arrangement",
        "units",
        "runs",
        METRICS[result.metric][0],
        "sd",
        "95 % interval",
        "to the best",
        "p",
        "",
    ]
    return [*first, *test, "parameters", "recurrent", "training", f"1,000 {result.problem.of}"]


def _baselines(result: Results) -> list[list[str]]:
    rows = []
    for b in result.baselines:
        test = [number(b.test), ""] if result.problem.test is not None else []
        first = [b.name, "", str(len(b.runs)), number(b.score), "", "", "", "", "baseline"]
        rows.append([*first, *test, "", "", seconds(b.seconds), seconds(b.predict_seconds)])
    return rows


def _row(row: Row, test: bool) -> tuple[str, list[str]]:
    """(the class of the row, its cells)."""
    score, difference = row.score, row.difference
    first = [row.name, str(row.entry.hidden_size), str(row.runs)]
    status = STATUS[row.status]
    kind = {"best": "best", "dropped": "dropped", "failed": "failed", "not run": "missing"}.get(
        row.status, ""
    )
    if score is None:
        return kind, [*first, *["-"] * 5, status, *["-"] * (6 if test else 4)]
    interval = "-" if score.low is None else f"{number(score.low, 3)} to {number(score.high, 3)}"
    p = difference.p if difference else None
    values = [
        *first,
        number(score.mean),
        number(score.sd, 2),
        interval,
        number(difference.mean if difference else None, 2),
        "-" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}",
        status,
    ]
    if test:
        values += [number(row.test.mean if row.test else None), number(row.test.sd if row.test else None, 2)]
    values += [compact(row.median("parameters")), compact(row.median("recurrent_parameters"))]
    return kind, [*values, seconds(row.median("train_seconds")), seconds(row.median("predict_seconds"))]


def _metrics(result: Results) -> dict[str, Any] | None:
    """A table of every metric: the best arrangement, the mean of its runs, beside the baselines."""
    if result.best is None:
        return None
    part = "validation" if result.problem.test is None else "test"
    best = result.rows[0].entry
    named = [(best.name, [best.runs[place] for place in result.places])]
    named += [(b.name, b.runs) for b in result.baselines]
    rows = []
    for name, runs in named:
        known = [getattr(run, part) for run in runs]
        rows.append([name, *(number(mean_of(known, metric)) for metric in result.problem.metrics)])
    return {"part": part, "header": [METRICS[m][0] for m in result.problem.metrics], "rows": rows}


def _curves_note(result: Results) -> str:
    shown = min(charts.CURVES, len(charts.scored(result)))
    which = f"The best {shown} arrangements. " if len(charts.scored(result)) > shown else ""
    first = next(iter(charts.scored(result)[0].entry.runs.values()))
    if "validation_loss" not in first.history[0]:
        return f"{which}A line a run: the training loss."
    return (
        f"{which}Two lines a run: training loss (grey) and validation loss; "
        "the dot is the epoch whose weights are kept."
    )


def _facts(result: Results) -> dict[str, str]:
    problem = result.problem
    sizes = [f"{len(problem.train):,} training"]
    if problem.validation is not None:
        sizes.append(f"{len(problem.validation):,} validation")
    if problem.test is not None:
        sizes.append(f"{len(problem.test):,} test")
    settings = {k: v for k, v in problem.describe().items() if not k.endswith(" data")}
    facts = {
        problem.of: ", ".join(sizes),
        **problem.facts(),
        "runs": f"{result.repeats} repeats, seeds {problem.seed(0)} to {problem.seed(result.repeats - 1)}, "
        "the same for every arrangement" + (f"; {problem.cv} folds in each" if problem.cv else ""),
        "settings": ", ".join(f"{name} {value}" for name, value in settings.items()),
    }
    for b in result.baselines:
        if b.runs[0].settings:
            facts[b.name] = ", ".join(f"{k} {v}" for k, v in b.runs[0].settings.items())
    facts["made with"] = (
        f"unspool {unspool.__version__}, torch {torch.__version__}, Python {platform.python_version()}, "
        f"{platform.machine()}"
    )
    return facts
