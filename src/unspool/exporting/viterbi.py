"""The best path of a CRF as two Scans: scores forwards, the path backwards (Viterbi). float64, as `CRF.decode`."""

from __future__ import annotations

from typing import Any

from unspool.exporting.graph import BOOL, DOUBLE, INT64, Graph
from unspool.exporting.time import Lengths
from unspool.heads import CRF


def best_path(g: Graph, crf: CRF, scores: Any, lengths: Lengths) -> Any:
    """(T, B) int64, of scores (T, B, K); what stands past the end says nothing."""
    transitions, start, end = (weight.detach().cpu().numpy() for weight in crf._weights())
    count, emissions = crf.num_tags, g.cast(scores, DOUBLE)
    last, pointers = _forwards(g, emissions, transitions, start, lengths, count)
    final = g.op("ArgMax", g.op("Add", last, end), axis=1, keepdims=1)  # (B, 1)
    return _backwards(g, pointers, final, lengths, count)


def _forwards(
    g: Graph, emissions: Any, transitions: Any, start: Any, lengths: Lengths, count: int
) -> tuple[Any, Any]:
    """(the scores (B, K) of the best paths to the last step, (T, B, K): to each tag of the next step, from which)."""
    body = Graph(g)
    reached, last = (body.input(g.new_name("s"), DOUBLE, ["batch", count]) for _ in range(2))
    here = body.input(g.new_name("e"), DOUBLE, ["batch", count])
    alive = body.input(g.new_name("alive"), BOOL, ["batch", 1])
    best = body.op("Add", reached, here)
    paths = body.op("Add", body.op("Unsqueeze", best, g.ints(2)), transitions)  # (B, from, to)
    body.output(g.new_name("s"), body.op("ReduceMax", paths, g.ints(1), keepdims=0), DOUBLE, ["batch", count])
    body.output(g.new_name("s"), body.op("Where", alive, best, last), DOUBLE, ["batch", count])
    body.output(g.new_name("p"), body.op("ArgMax", paths, axis=1, keepdims=0), INT64, ["batch", count])
    first = g.op("Expand", start[None], g.shape(lengths.batch, count))
    results = g.several(
        "Scan", 3, first, first, emissions, lengths.alive, body=body.finished("scores"), num_scan_inputs=2
    )
    return results[1], results[2]


def _backwards(g: Graph, pointers: Any, final: Any, lengths: Lengths, count: int) -> Any:
    body = Graph(g)
    after = body.input(g.new_name("tag"), INT64, ["batch", 1])
    came = body.input(g.new_name("p"), INT64, ["batch", count])
    goes_on = body.input(g.new_name("alive"), BOOL, ["batch", 1])  # there is a next step
    tag = body.op("Where", goes_on, body.op("GatherElements", came, after, axis=1), after)
    body.output(g.new_name("tag"), tag, INT64, ["batch", 1])
    body.output(g.new_name("path"), body.op("Squeeze", tag, g.ints(1)), INT64, ["batch"])
    next_step = g.op("Unsqueeze", g.op("Add", lengths.steps, g.ints(1)), g.ints(1))
    more = g.op("Less", next_step, g.op("Unsqueeze", lengths.values, g.ints(0)))
    results = g.several(
        "Scan",
        2,
        final,
        pointers,
        g.op("Unsqueeze", more, g.ints(2)),
        body=body.finished("path"),
        num_scan_inputs=2,
        scan_input_directions=[1, 1],
        scan_output_directions=[1],
    )
    return results[1]
