"""`unspool stream`: steps come in on stdin, one JSON line each, and an answer goes out for each, at once."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from unspool.cli.options import INTERRUPTED, Debug, Model, Weights, load_model
from unspool.errors import DataError, check_choice

FIELDS = ("id", "x", "text", "start", "end")
LONGEST = 16 * 2**20  # bytes of a line


def stream(
    model: Model,
    capacity: Annotated[
        int,
        typer.Option(
            help="Sequences that are held at most; the one that got nothing for longest goes first."
        ),
    ] = 10_000,
    max_age: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="A sequence that gets nothing for so long begins anew.",
            show_default=False,
        ),
    ] = None,
    on_error: Annotated[
        str, typer.Option(metavar="WHAT", help="At a line that cannot be read: stop, or skip it and go on.")
    ] = "stop",
    look_ahead: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="STEPS",
            help="Steps that the backward direction of a bidirectional model sees ahead. Tags come so much later.",
            show_default=False,
        ),
    ] = None,
    weights: Weights = "float32",
    debug: Debug = False,
) -> None:
    """Answer after each step of sequences that come bit by bit.

    Each line of stdin is a JSON object: "x", a step or a chunk (numbers, token ids, or tokens), or "text", a piece of a
    text cut anywhere; "id" of its sequence (a string or a whole number), where there are several; "start": true begins
    it anew, "end": true ends it. Each gets one JSON line on stdout: id, steps (that were read so far), and the answer.
    A word that the last piece of a text cuts off is read when the sequence or stdin ends, which then gets a line;
    so are the last steps under --look-ahead.

    unspool stream model < steps.jsonl
    """
    check_choice("unspool stream", "on_error", on_error, ("stop", "skip"))
    from unspool.streaming import LookAheadPool, StreamPool

    if sys.stdin is None or sys.stdin.closed:
        raise DataError("Nothing to read: give JSON lines on stdin.")
    loaded = load_model(model, "float32")
    pool: Any = None
    if look_ahead is None:
        pool = StreamPool(loaded, capacity, max_age, weights, threads=1)
    else:
        pool = LookAheadPool(loaded, look_ahead, capacity, max_age, weights)
    try:
        _answer_all(pool, on_error == "skip")
    except BrokenPipeError:  # Python flushes once more when it ends: into nothing
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _answer_all(pool: Any, skip: bool) -> None:
    for number, line in _lines():
        try:
            if len(line) >= LONGEST:
                raise DataError(f"it is longer than {LONGEST:,} bytes. Cut it into several.")
            answer = _answer(pool, _read(line))
        except DataError as error:
            if not skip:
                raise DataError(f"Line {number} of stdin: {error}") from error
            typer.echo(f"error: Line {number} of stdin: {' '.join(str(error).split())}", err=True)
            continue
        _write(answer)
    for key in pool.unfinished():
        _write(_ended(pool, key))


def _lines() -> Iterator[tuple[int, bytes]]:
    """(number, line), without those that are blank; of a line that is too long the first `LONGEST` bytes."""
    number = 0
    while line := sys.stdin.buffer.readline(LONGEST):
        number += 1
        rest = line
        while len(rest) == LONGEST and not rest.endswith(b"\n"):
            rest = sys.stdin.buffer.readline(LONGEST)
        if line.strip():
            yield number, line


def _read(line: bytes) -> dict[str, Any]:
    """The object in a line; `DataError` where there is none as it must be."""
    try:
        given = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"this is not JSON ({error}): {line[:50]!r}.") from error
    if not isinstance(given, dict):
        raise DataError(f'it must be an object such as {{"x": [0.5]}}. Got {line[:50]!r}.')
    strange = [name for name in given if name not in FIELDS]
    if strange:
        raise DataError(f"it has a field {strange[0]!r}. Fields are {', '.join(FIELDS)}.")
    if ("x" in given) + ("text" in given) + bool(given.get("end")) + bool(given.get("start")) == 0:
        raise DataError('it must have "x" or "text", or "end" or "start" as true.')
    if "x" in given and "text" in given:
        raise DataError('it has both "x" and "text".')
    if "text" in given and not isinstance(given["text"], str):
        raise DataError(f'"text" must be a string. Got {given["text"]!r:.50}.')
    if given.get("x", ...) is None and not given.get("start"):
        raise DataError(
            '"x" is null. Leave it out where nothing comes, or give [null] for a step that is missing.'
        )
    key = given.get("id")
    if key is not None and (isinstance(key, bool) or not isinstance(key, (str, int))):
        raise DataError(f'"id" must be a string or a whole number. Got {key!r:.50}.')
    if isinstance(key, str):
        from unspool.arrays import check_texts  # with torch, which `--help` does without

        check_texts([key], '"id"')
    for name in ("start", "end"):
        if not isinstance(given.get(name, False), bool):
            raise DataError(f'"{name}" must be true or false. Got {given[name]!r:.50}.')
    return given


def _answer(pool: Any, given: dict[str, Any]) -> dict[str, Any]:
    key = given.get("id")
    chunk = given["x"] if "x" in given else given.get("text")
    if given.get("end") and chunk is None and (given.get("start") or key not in pool):
        raise DataError(f"there is no sequence {key!r} to end.")
    fresh = given.get("start") and key in pool
    before = pool.save(key) if fresh else None
    if fresh:
        pool.drop(key)
    try:
        answers = None if chunk is None and not given.get("start") else pool.push({key: _filled(chunk, pool)})
    except (DataError, OverflowError) as error:
        if before is not None:
            pool.load(key, before)
        raise DataError(str(error)) from error
    if given.get("end"):
        return _ended(pool, key, answers)
    return _shown(pool, key, answers)


def _filled(chunk: Any, pool: Any) -> Any:
    """What is pushed: null among numbers is a missing one; nothing at all for a sequence that only starts."""
    if chunk is None:
        return pool.model.feed.nothing()
    if isinstance(chunk, list):
        return [_filled_in(part) for part in chunk]
    return chunk


def _filled_in(part: Any) -> Any:
    if isinstance(part, list):
        return [float("nan") if number is None else number for number in part]
    return float("nan") if part is None else part


def _ended(pool: Any, key: Any, answers: dict[Any, Any] | None = None) -> dict[str, Any]:
    """The last line of a sequence, which is then gone. answers: of what came just before."""
    last = pool.finish([key])
    if pool.model.columns is None and answers is not None:
        last = {key: [*answers[key], *last[key]]}
    shown = {**_shown(pool, key, last), "end": True}
    pool.drop(key)
    return shown


def _shown(pool: Any, key: Any, answers: Any) -> dict[str, Any]:
    own = {} if key is None else {"id": key}
    own["steps"] = pool.steps(key)
    if pool.model.columns is None:
        return {**own, "answers": [_plain(answer) for answer in answers[key]]}
    return {**own, **{name: _plain(column[0]) for name, column in pool.columns([key]).items()}}


def _plain(value: Any) -> Any:
    """As JSON has it, which knows no NaN: null."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write(answer: dict[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(answer, ensure_ascii=False).encode() + b"\n")
    sys.stdout.buffer.flush()
