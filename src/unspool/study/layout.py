"""The table of a study as strings."""

from __future__ import annotations

from collections.abc import Sequence

from unspool.evaluation.metrics import METRICS
from unspool.study.results import Results, Row


def table_of(result: Results) -> tuple[list[str], list[list[str]]]:
    """(header, rows): one row an arrangement that was run, then one a baseline, narrow enough for a terminal."""
    test = result.problem.test is not None
    heading = METRICS[result.metric][0]
    header = ["arrangement", "runs", heading, "sd", "95 % ±", "to best", "p", "test"]
    header += ["params", "train", "/1,000"]
    rows = [_arrangement(row) for row in result.rows if row.status != "not run"]
    for b in result.baselines:
        times = [seconds(b.seconds), seconds(b.predict_seconds)]
        rows.append([b.name, str(len(b.runs)), number(b.score), *["-"] * 3, "", number(b.test), "-", *times])
    if not test:
        place = header.index("test")
        header.pop(place)
        for cells in rows:
            cells.pop(place)
    return header, rows


def _arrangement(row: Row) -> list[str]:
    score, difference = row.score, row.difference
    p = f"{difference.p:.3f}" if difference and difference.p is not None else row.status
    if score is None:
        return [row.name, str(row.runs), *["-"] * 4, row.status, *["-"] * 4]
    half = None
    if score.low is not None and score.high is not None:
        # The larger side: the other may be cut at the end of the metric's range.
        half = max(score.high - score.mean, score.mean - score.low)
    return [
        row.name,
        str(row.runs),
        number(score.mean),
        number(score.sd, 2),
        number(half, 2),
        number(difference.mean if difference else None, 2),
        p,
        number(row.test.mean if row.test else None),
        compact(row.median("parameters")),
        seconds(row.median("train_seconds")),
        seconds(row.median("predict_seconds")),
    ]


def number(value: float | None, digits: int = 4) -> str:
    """Significant digits, or a dash."""
    return "-" if value is None else f"{value:#.{digits}g}".rstrip(".")


def compact(value: float, digits: int = 3) -> str:
    """1234567 -> "1.23M"."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.{digits}g}{letter}"
    return f"{value:.{digits}g}"


def seconds(value: float) -> str:
    """ "12.3 s" or "45 ms"."""
    return f"{value:.1f} s" if value >= 1 else f"{value * 1000:.0f} ms"


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    lines = []
    for row in (header, *rows):
        first, *others = (f"{c:<{w}}" if i == 0 else f"{c:>{w}}" for i, (c, w) in enumerate(zip(row, widths)))
        lines.append("  ".join([first, *others]).rstrip())
    return "\n".join(lines)
