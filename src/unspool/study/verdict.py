"""What a study says, in sentences."""

from __future__ import annotations

import numpy as np

from unspool.evaluation.metrics import METRICS, beats, shown
from unspool.study.results import BaselineRow, Results, Row
from unspool.study.statistics import LEVEL, estimate


def sentences(result: Results) -> list[str]:
    """The best, what differs from it, the baselines, the model, and what was left undone."""
    rows = result.rows
    ending = [result.ending] if result.ending else []
    if result.best is None:
        return ["No arrangement has a score.", *ending, *_failures(rows)]
    lines = [_best(result, rows[0]), *_differences(result, rows), *ending]
    lines += _failures(rows)
    lines += [line for baseline in result.baselines if (line := _baseline(result, baseline))]
    if result.problem.test is not None and not result.interrupted:
        lines.append(_model(result))
    return lines


def listed(names: list[str], limit: int = 6) -> str:
    """ "a, b and c", or the first few "and 7 more"."""
    if len(names) > limit:
        return f"{', '.join(names[:limit])} and {len(names) - limit} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _best(result: Results, row: Row) -> str:
    assert row.score is not None
    score, heading = row.score, METRICS[result.metric][0]
    runs = f"{score.runs} run{'s' if score.runs > 1 else ''}"
    spread = "" if score.low is None else f", 95 % interval {shown(score.low)} to {shown(score.high)}"
    return f"Best on the validation part: {row.name}, {heading} {shown(score.mean)} ({runs}{spread})."


def _differences(result: Results, rows: list[Row]) -> list[str]:
    by_status = {s: [r.name for r in rows if r.status == s] for s in {r.status for r in rows}}
    worse, level = by_status.get("worse", []), by_status.get("no difference", [])
    dropped, untested = by_status.get("dropped", []), by_status.get("not tested", [])
    lines = []
    if dropped:
        lines.append(f"Dropped early, clearly below the best: {listed(dropped)}.")
    if worse:
        lines.append(f"Significantly below it: {listed(worse)}.")
    if level:
        tests = "paired t tests over the runs, Holm-corrected over all pairs, 5 %"
        if worse or dropped:
            lines.append(f"No difference found between it and {listed(level)} ({tests}).")
        else:
            others = f"the other {len(level)}" if len(level) > 1 else "the other one"
            lines.append(f"No difference found between it and {others} ({tests}).")
        fastest = min((r for r in rows if r.name in level or r.status == "best"), key=_train_seconds)
        if fastest.status != "best":
            lines.append(
                f"Of these, {fastest.name} trains fastest: {fastest.median('train_seconds'):.1f} s a run against "
                f"{rows[0].median('train_seconds'):.1f} s."
            )
    if untested:
        lines.append("With one run each, nothing can be said about differences. Use more repeats.")
    missing = by_status.get("not run", [])
    if missing:
        lines.append(f"Not run: {listed(missing)}.")
    return lines


def _train_seconds(row: Row) -> float:
    return row.median("train_seconds")


def _failures(rows: list[Row]) -> list[str]:
    failed = [row for row in rows if row.status == "failed"]
    if not failed:
        return []
    errors = {run.error for row in failed for run in row.entry.runs.values() if run.error}
    reason = f": {sorted(errors)[0]}" if errors else ": the metric is undefined."
    return [f"No score, in at least one run, for {listed([r.name for r in failed])}{reason}"]


def _baseline(result: Results, baseline: BaselineRow) -> str:
    """The best arrangement against a baseline, on the test part where there is one.

    Empty for the mean where it has no score: a constant has no correlation with anything.
    """
    row, metric = result.rows[0], result.metric
    on_test = result.problem.test is not None
    part = "test" if on_test else "validation"
    ours = row.test if on_test else row.score
    theirs = baseline.test if on_test else baseline.score
    heading, where = METRICS[metric][0], f"on the {part} part"
    if theirs is None and baseline.name == "mean":
        return ""
    if ours is None or theirs is None:
        return f"{baseline.name} {where}: {heading} is undefined."
    fixed = result.problem.cv is None
    cells = result.places if fixed else [cell for cell in result.places if cell[0] == 0]
    known = {run.fold: getattr(run, part)[metric] for run in baseline.runs}
    values = row.entry.scores(metric, cells, part)
    difference = estimate(values - np.array([known[fold] for _, fold in cells]), result.problem.ratio)
    clear = difference.p is not None and difference.p < LEVEL
    word = "ahead of" if beats(metric, ours.mean, theirs) else "behind"
    if shown(ours.mean) == shown(theirs):
        word = "level with"
    spread = (
        "" if clear or difference.p is None or word == "level with" else ", within the spread of its runs"
    )
    return (
        f"{row.name} is {word} {baseline.name} {where}: {heading} {shown(ours.mean)}, the mean of its runs, "
        f"against {shown(theirs)}{spread}."
    )


def _model(result: Results) -> str:
    winner, metric = result.winner, result.metric
    assert winner is not None
    heading = METRICS[metric][0]
    if result.problem.cv:
        score = (result.model_metrics() or {}).get(metric)
        seed = result.problem.seed(0)
        return (
            f"The model: {winner.name}, trained on all rows with seed {seed}; test {heading} {shown(score)}."
        )
    score = None if winner.test is None else winner.test[metric]
    return (
        f"The model: {winner.name}, the run of seed {winner.seed}, the best on the validation part; "
        f"test {heading} {shown(score)}."
    )
