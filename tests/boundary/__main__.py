"""`python -m tests.boundary`: every two values of any two axes; prints what is neither torch's numbers nor clear.

Exit status 1 where a case fails that is not in known.txt.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import re
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from .known import known
from .matrix import cases, pairs
from .processes import run


def _part(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise argparse.ArgumentTypeError(f"a part is I/N, with I from 1 to N. Got {text!r}")
    return int(found[1]) - 1, int(found[2])


def _verdicts(log: Path | None) -> dict[str, str]:
    """The verdicts that a log holds; a last line that was cut off is none."""
    lines = log.read_text().splitlines(keepends=True) if log is not None and log.exists() else []
    return dict(json.loads(line) for line in lines if line.endswith("\n"))


def _logged(verdicts: Iterator[tuple[str, str]], log: Path | None) -> Iterator[tuple[str, str]]:
    if log is None:
        yield from verdicts
        return
    if log.exists():  # without a last line that was cut off
        whole = log.read_bytes()
        log.write_bytes(whole[: whole.rfind(b"\n") + 1])
    with log.open("a") as file:
        for pair in verdicts:
            print(json.dumps(pair), file=file, flush=True)
            yield pair


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.boundary", description=__doc__)
    parser.add_argument(
        "--all", action="store_true", help="run the whole product, hours (default: every pair of values)"
    )
    parser.add_argument(
        "--only", default="", help="run the cases of the whole product whose name holds this text"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes at once (default 2)")
    parser.add_argument("--list", action="store_true", help="print every case's verdict")
    parser.add_argument(
        "--part", type=_part, default=(0, 1), help="run part I of N, such as 1/50 (default all)"
    )
    parser.add_argument(
        "--log", type=Path, help="append every verdict to this file; leave out what it holds already"
    )
    options = parser.parse_args()
    part, parts = options.part
    done = _verdicts(options.log)
    chosen = [
        case.name
        for case in (cases() if options.all or options.only else pairs())
        if options.only in case.name and zlib.crc32(case.name[::-1].encode()) % parts == part
    ]
    start = time.monotonic()
    counts: collections.Counter[str] = collections.Counter()
    new = 0
    tasks = [("tests.boundary.matrix", "verdict", name) for name in chosen if name not in done]
    for name, verdict in itertools.chain(
        ((name, done[name]) for name in chosen if name in done),
        _logged(run(tasks, options.workers), options.log),
    ):
        kind = verdict.split(":")[0]
        expected = known(name)
        counts[f"{kind}, known" if kind == "fault" and expected else kind] += 1
        new += kind == "fault" and not expected
        if options.list or (kind == "fault" and not expected):
            print(f"{name}\n    {verdict}", flush=True)
    print(f"{len(chosen)} cases in {time.monotonic() - start:.0f} s: {dict(counts)}")
    return int(new > 0)


if __name__ == "__main__":
    raise SystemExit(main())
