"""A fit on a table that is larger than the memory it takes: `python -m benchmarks.larger_than_memory --gigabytes 5`.

Makes a Parquet file of texts whose scores follow from their words (uncompressed), fits a small model on it by
`fit_stream`, and prints rows, seconds, error beside the mean, and the largest resident memory of the process that
fitted (`ru_maxrss`, which counts every page, of files too). The file is kept for the next run where --keep names it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

SENTENCES, EACH, PART = 20_000, 8, 500_000


def made(path: Path, gigabytes: float) -> int:
    """Write the table; its rows. A text is eight of 20,000 sentences, its score the mean of theirs and noise."""
    random = np.random.default_rng(0)
    words = np.array(["".join(random.choice(list("abcdefghiklmnoprstu"), 3 + k % 6)) for k in range(15_000)])
    worth = random.normal(size=len(words))
    share = 1 / np.arange(1, len(words) + 1)
    drawn = random.choice(len(words), (SENTENCES, 10), p=share / share.sum())
    sentences = pl.Series([" ".join(words[row]) for row in drawn])
    value = worth[drawn].mean(1)
    rows = int(gigabytes * 1e9 / (EACH * (sentences.str.len_bytes().mean() + 1) + 8))  # type: ignore[operator]
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        parts = []
        for start in range(0, rows, PART):
            chosen = random.integers(0, SENTENCES, (min(PART, rows - start), EACH))
            texts = pl.DataFrame(
                [sentences.gather(column).alias(str(k)) for k, column in enumerate(chosen.T)]
            )
            frame = texts.select(pl.concat_str(pl.all(), separator=" ").alias("text"))
            score = value[chosen].mean(1) + random.normal(0, 0.05, len(chosen))
            parts.append(Path(folder) / f"{start:09}.parquet")
            frame.with_columns(score=score).write_parquet(parts[-1])
        whole = pl.concat([pl.scan_parquet(part) for part in parts])
        whole.sink_parquet(path, compression="uncompressed", row_group_size=100_000)
    return rows


def fit(path: Path, batches: int, cache: str | None) -> None:
    """In a process of its own, whose memory is measured."""
    from unspool import SequenceRegressor
    from unspool.tables import TableStream
    from unspool.training import Callback

    class Timer(Callback):
        begun = 0.0

        def on_train_begin(self, trainer: object) -> None:
            self.begun = time.perf_counter()

    started, timer = time.perf_counter(), Timer()
    model = SequenceRegressor(
        hidden_size=16,
        embedding_dim=32,
        bidirectional=False,
        epochs=2,
        batch_size=64,
        validation_fraction=0.002,
        random_state=0,
    )
    stream = TableStream(path, "text", ["score"])
    model.fit_stream(stream, batches_per_epoch=batches, cache=cache, callbacks=[timer])
    ended = time.perf_counter()
    test = pl.scan_parquet(path).head(5000).collect()
    found, score = model.predict(test["text"].to_list()), test["score"].to_numpy()
    print(
        json.dumps(
            {
                "gigabytes": round(path.stat().st_size / 1e9, 2),
                "seconds until training": round(timer.begun - started),
                "seconds of training": round(ended - timer.begun),
                "RMSE": round(float(np.sqrt(((found - score) ** 2).mean())), 4),
                "RMSE of the mean": round(float(score.std()), 4),
                "peak resident memory, GB": round(
                    resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2
                ),
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--gigabytes", type=float, default=5.0)
    parser.add_argument("--batches", type=int, default=2000, help="an epoch, of 64 rows")
    parser.add_argument("--keep", type=Path, help="the file to make, or to use where it is there")
    parser.add_argument("--cache", help="a folder for the encoded texts")
    parser.add_argument("--fit", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fit:
        fit(options.fit, options.batches, options.cache)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = options.keep or Path(folder) / "large.parquet"
        if not path.exists():
            print(f"{made(path, options.gigabytes):,} rows made.", flush=True)
        more = [] if options.cache is None else ["--cache", options.cache]
        command = [sys.executable, "-m", "benchmarks.larger_than_memory", "--fit", str(path)]
        subprocess.run([*command, "--batches", str(options.batches), *more], check=True)


if __name__ == "__main__":
    main()
