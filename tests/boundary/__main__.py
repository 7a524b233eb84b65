"""`python -m tests.boundary`: the whole product, or a part of it; prints what is neither torch's numbers nor clear.

Exit status 1 where a case fails that is not in known.txt.
"""

from __future__ import annotations

import argparse
import collections
import time

from .known import known
from .matrix import cases
from .processes import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.boundary", description=__doc__)
    for name, default in (("alone", 1), ("crossed", 1), ("traced", 1)):
        text = f"run one in this many of the {name} (default {default})"
        parser.add_argument(f"--{name}", type=int, default=default, help=text)
    parser.add_argument("--only", default="", help="run the cases whose name holds this text")
    parser.add_argument("--workers", type=int, default=2, help="processes at once (default 2)")
    parser.add_argument("--list", action="store_true", help="print every case's verdict")
    options = parser.parse_args()
    chosen = [
        case.name
        for case in cases(options.alone, options.crossed, options.traced)
        if options.only in case.name
    ]
    start = time.monotonic()
    counts: collections.Counter[str] = collections.Counter()
    new = 0
    tasks = [("tests.boundary.matrix", "verdict", name) for name in chosen]
    for name, verdict in run(tasks, options.workers):
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
