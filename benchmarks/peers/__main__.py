"""One tool in a process of its own: `python -m peers TOOL quality|speed ...`, answers as JSON lines.

Called by `seed_job.py`. Whatever the tool prints goes to stderr. `quality` answers once. `speed` answers when
it is warm, then once for every line it reads, with the seconds of one pass.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from peers import data as seed_data
from peers.tools import TOOLS


def scores(result: dict[str, Any], data: seed_data.SeedData) -> dict[str, Any]:
    """Pearson r (null for a constant prediction) and RMSE on the test part; epochs and their seconds."""
    prediction, true = result["prediction"], data.test.score
    constant = np.ptp(prediction) == 0
    seconds = result["train_seconds"]
    return {
        "test_r": None if constant else float(np.corrcoef(prediction, true)[0, 1]),
        "test_rmse": float(np.sqrt(np.mean((prediction - true) ** 2))),
        "epochs": len(seconds),
        "epoch_seconds": statistics.median(seconds[1:] or seconds) if seconds else None,
        "validation_loss": [float(loss) for loss in result["validation_loss"]],
        "train_seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tool", choices=TOOLS)
    parser.add_argument("action", choices=["quality", "speed"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-epochs", type=int, default=12)
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--data", type=Path, default=seed_data.EMOBANK)
    arguments = parser.parse_args()

    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(**content: Any) -> None:
        answers.write(json.dumps(content) + "\n")

    tool, data = TOOLS[arguments.tool], seed_data.load(arguments.data)
    module = importlib.import_module(tool.module)
    variant = {"variant": tool.variant} if tool.variant else {}
    versions = {name: metadata.version(name) for name in tool.packages}
    if arguments.action == "quality":
        result = module.quality(data, arguments.seed, arguments.max_epochs, **variant)
        answer(versions=versions, **scores(result, data))
        return
    chosen = np.random.default_rng(0).permutation(len(data.train.ids))[: 16 * arguments.batches]
    one_pass = module.speed(data, data.train.take(chosen), arguments.seed, **variant)
    answer(versions=versions, ready=True)
    for _ in sys.stdin:
        answer(seconds=one_pass())


if __name__ == "__main__":
    main()
