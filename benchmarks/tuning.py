"""`unspool tune` on a public set: the figures of docs/tuning.md.

    python benchmarks/tuning.py custrev --budget 18m --jobs 1 --out custrev --search dropout --search cell
    python benchmarks/tuning.py trec --trials 30 --out trec
    python benchmarks/tuning.py emobank --target V --budget 1h --out emobank

Sets and parts are those of benchmarks/recipe.py, where the sets without a split of their own have a fifth for the test;
all that follows the name goes to `unspool tune`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import polars as pl
from recipe import SETS, read

from unspool.cli.app import app


def table(name: str) -> pl.DataFrame:
    """Columns text, split, and label, or V, A and D."""
    X, y, Xt, yt, validation = read(name)
    parts = [("train", X, y), ("test", Xt, yt)]
    parts += [("dev", *validation)] if validation is not None else []
    frames = []
    for split, texts, targets in parts:
        columns = targets.reshape(len(texts), -1).T
        names = ["label"] if len(columns) == 1 else ["V", "A", "D"]
        frames.append(
            pl.DataFrame({"text": texts, **dict(zip(names, columns)), "split": [split] * len(texts)})
        )
    return pl.concat(frames)


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in SETS:
        sys.exit(f"{__doc__}\nExpected one of {', '.join(SETS)} first.")
    name, arguments = sys.argv[1], sys.argv[2:]
    if name != "emobank":
        arguments = ["--target", "label", *arguments]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.csv"
        table(name).write_csv(path)
        words = [
            "tune",
            str(path),
            "--input",
            "text",
            "--split-column",
            "split",
            "--drop-missing",
            *arguments,
        ]
        app(words)


if __name__ == "__main__":
    main()
