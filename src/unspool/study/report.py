"""A study as one HTML page: no script, no style sheet, no picture from anywhere else."""

from __future__ import annotations

import base64
import platform
from collections.abc import Sequence
from html import escape

import numpy as np
import torch

import unspool
from unspool.evaluation.metrics import METRICS
from unspool.study import charts
from unspool.study.comparison import Comparison, Row, mean_of
from unspool.study.layout import compact, number, seconds
from unspool.study.problem import Part

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color: #1d2733; background: #f6f7f9;
       margin: 0; }
main { max-width: 1280px; margin: 0 auto; padding: 28px 24px 60px; }
h1 { font-size: 26px; margin: 0 0 4px; }
h2 { font-size: 18px; margin: 34px 0 8px; }
.sub { color: #5b6472; margin: 0 0 18px; }
.card { background: #fff; border: 1px solid #e1e5ea; border-radius: 10px; padding: 16px 20px; overflow-x: auto; }
.verdict { border-left: 5px solid #0072b2; }
.verdict p { margin: 6px 0; }
.verdict p:first-child { font-size: 18px; font-weight: 600; }
table { border-collapse: collapse; font-size: 12.5px; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: 5px; text-align: right; white-space: nowrap; }
th { border-bottom: 2px solid #cfd5dc; color: #4a5361; font-weight: 600; vertical-align: bottom; }
td { border-bottom: 1px solid #edf0f3; }
th:first-child, td:first-child, .left { text-align: left; }
tr.best td { background: #e9f3fa; font-weight: 600; }
tr.dropped td, tr.failed td, tr.missing td { color: #8a8f98; }
tbody.baselines td { background: #faf8f3; }
table.narrow { width: auto; min-width: 50%; }
img { width: 100%; height: auto; display: block; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 18px; margin: 0; }
dt { color: #5b6472; } dd { margin: 0; overflow-wrap: anywhere; }
.note { color: #5b6472; font-size: 13.5px; }
li { margin: 3px 0; }
"""
STATUS = {
    "best": "best",
    "worse": "worse",
    "no difference": "no difference",
    "not tested": "not tested",
    "dropped": "dropped early",
    "failed": "failed",
    "not run": "not run",
}


def page(result: Comparison) -> str:
    """The HTML document; every text of the user's is escaped."""
    heading = METRICS[result.metric][0]
    parts = [
        "<h1>Which arrangement?</h1>",
        f"<p class='sub'>{escape(_subtitle(result))}</p>",
        f"<div class='card verdict'>{_paragraphs(result.verdict)}</div>",
        f"<h2>All arrangements</h2><div class='card'>{_table(result)}</div>",
        f"<p class='note'>{escape(_which_number(result))}</p>",
        _metrics(result),
    ]
    if charts.scored(result):
        title = f"{heading} of each arrangement"
        parts += [_picture(title, charts.svg(charts.intervals(result)))]
        parts += [_picture("Score against cost", charts.svg(charts.costs(result)))]
        curves = charts.curves(result)
        if curves is not None:
            parts += [
                _picture("Learning curves", charts.svg(curves)),
                f"<p class='note'>{_curves_note(result)}</p>",
            ]
    parts += [f"<h2>Data and settings</h2><div class='card'>{_facts(result)}</div>", _method(result)]
    body = "\n".join(parts)
    return (
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>Which arrangement? {escape(result.best or '')}</title><style>{STYLE}</style></head>\n"
        f"<body><main>\n{body}\n</main></body></html>\n"
    )


def _paragraphs(lines: Sequence[str]) -> str:
    return "".join(f"<p>{escape(line)}</p>" for line in lines)


def _picture(title: str, svg: str) -> str:
    data = base64.b64encode(svg.encode()).decode()
    image = f"<img alt='{escape(title)}' src='data:image/svg+xml;base64,{data}'>"
    return f"<h2>{escape(title)}</h2><div class='card'>{image}</div>"


def _subtitle(result: Comparison) -> str:
    count, runs = len(result.entries), sum(len(e.runs) for e in result.entries)
    task = "classes" if result.problem.task.has_classes else "numbers"
    return f"{count} arrangements on {len(result.problem.train.y):,} training rows, {runs} runs, predicting {task}"


def _which_number(result: Comparison) -> str:
    heading = METRICS[result.metric][0]
    if result.problem.cv:
        scored = (
            f"in the {result.problem.cv} held-out folds of each repeat, which no training and no stopping saw"
        )
    else:
        scored = (
            f"on the validation part ({result.problem.validation_rows():,} rows). The same rows decide when a training "
            "stops, which flatters every arrangement alike"
        )
    line = f"Ranks, intervals and p are of {heading} {scored}."
    if result.problem.test is not None:
        line += (
            f" Test figures are of {len(result.problem.test.y):,} other rows, by which nothing was chosen: "
            "take them for how good a model is."
        )
    return f"{line} Times are of one thread, medians of the runs; runs side by side slow each other down a little."


def _table(result: Comparison) -> str:
    test = result.problem.test is not None
    head = [
        "arrangement",
        "units",
        "runs",
        METRICS[result.metric][0],
        "sd",
        "95 % interval",
        "to the best",
        "p",
    ]
    head += ["", *(["test", "sd"] if test else []), "parameters", "recurrent", "training", "1,000 rows"]
    cells = "".join(f"<th class='left'>{h}</th>" if h == "" else f"<th>{escape(h)}</th>" for h in head)
    body = "".join(_row(row, test) for row in result.rows)
    baselines = ""
    for b in result.baselines:
        values = [b.name, "", str(len(b.runs)), number(b.score), "", "", "", "", "baseline"]
        values += [number(b.test), ""] if test else []
        baselines += _tr("", [*values, "", "", seconds(b.seconds), seconds(b.predict_seconds)])
    return (
        f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody>"
        f"<tbody class='baselines'>{baselines}</tbody></table>"
    )


def _row(row: Row, test: bool) -> str:
    score, difference = row.score, row.difference
    first = [row.name, str(row.entry.hidden_size), str(row.runs)]
    status = STATUS[row.status]
    kind = {"best": "best", "dropped": "dropped", "failed": "failed", "not run": "missing"}.get(
        row.status, ""
    )
    if score is None:
        return _tr(kind, [*first, *["-"] * 5, status, *["-"] * (6 if test else 4)])
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
    return _tr(kind, [*values, seconds(row.median("train_seconds")), seconds(row.median("predict_seconds"))])


def _tr(kind: str, values: Sequence[str]) -> str:
    cells = "".join(
        f"<td class='left'>{escape(v)}</td>" if i == 8 else f"<td>{escape(v)}</td>"
        for i, v in enumerate(values)
    )
    return f"<tr class='{kind}'>{cells}</tr>"


def _metrics(result: Comparison) -> str:
    """A table of every metric: the best arrangement, the mean of its runs, beside the baselines."""
    if result.best is None:
        return ""
    part = "validation" if result.problem.test is None else "test"
    best = result.rows[0].entry
    body = ""
    for name, runs in [
        (best.name, [best.runs[cell] for cell in result.cells]),
        *((b.name, b.runs) for b in result.baselines),
    ]:
        known = [getattr(run, part) for run in runs]
        body += _tr("", [name, *(number(mean_of(known, metric)) for metric in result.problem.metrics)])
    head = "".join(f"<th>{escape(METRICS[metric][0])}</th>" for metric in result.problem.metrics)
    return (
        f"<h2>Every metric, {part} part</h2><div class='card'><table class='narrow'>"
        f"<thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _curves_note(result: Comparison) -> str:
    shown = min(charts.CURVES, len(charts.scored(result)))
    which = f"The best {shown} arrangements. " if len(charts.scored(result)) > shown else ""
    first = next(iter(charts.scored(result)[0].entry.runs.values()))
    if "validation_loss" not in first.history[0]:
        return f"{which}A line a run: the training loss."
    return (
        f"{which}Two lines a run: training loss (grey) and validation loss; "
        "the dot is the epoch whose weights are kept."
    )


def _facts(result: Comparison) -> str:
    problem = result.problem
    sizes = [f"{len(problem.train.y):,} training"]
    if problem.validation is not None:
        sizes.append(f"{len(problem.validation.y):,} validation")
    if problem.test is not None:
        sizes.append(f"{len(problem.test.y):,} test")
    kinds = {"text": "texts", "ids": "token ids", "series": "series of numbers"}
    settings = {k: v for k, v in problem.describe().items() if not k.endswith(" data")}
    facts = {
        "rows": ", ".join(sizes),
        "input": kinds[problem.train.X.kind],
        "target": _target(problem.train, problem.task.has_classes),
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
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items()) + "</dl>"


def _target(part: Part, has_classes: bool) -> str:
    if has_classes:
        classes, counts = np.unique(part.y, return_counts=True)
        shown = [f"{label} ({count:,})" for label, count in zip(classes.tolist(), counts.tolist())]
        return f"{len(classes)} classes: {', '.join(shown[:12])}{', ...' if len(shown) > 12 else ''}"
    columns = part.y.reshape(len(part.y), -1)
    each = [f"mean {number(float(c.mean()))}, sd {number(float(c.std(ddof=1)))}" for c in columns.T]
    return "; ".join(each)


def _method(result: Comparison) -> str:
    cv = result.problem.cv
    test = (
        "<li>Test: corrected resampled t test over (repeat, fold), variance times 1/n + 1/(k - 1) instead of 1/n, "
        "since training folds overlap (Nadeau &amp; Bengio, Machine Learning 52, 2003).</li>"
        if cv
        else "<li>Test: paired t test of the differences to the best in runs of the same seed. It speaks of this one "
        "split: other rows may rank otherwise. Cross-validation takes that into account.</li>"
    )
    return f"""<h2>How to read this</h2><div class='card'><ul>
<li>sd: the sample standard deviation over the runs. Interval: mean ± t · se with n - 1 degrees of
freedom, level 95 %.</li>
{test}
<li>p is corrected for the number of comparisons by Holm's method (1979) over all pairs of arrangements that were not
dropped, because the best is picked by the same scores. Below 0.05 the arrangement is called worse; otherwise no
difference was found, which does not prove that there is none.</li>
<li>Dropped early: after two repeats or more, below the best by more than Tukey's range test allows at the 1 % level;
its figures are of the runs it had.</li>
<li>Units are a direction's. Recurrent: the parameters of the recurrent layers alone.</li>
</ul></div>"""
