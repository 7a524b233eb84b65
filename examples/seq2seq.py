"""Learn to write dates of many forms as year-month-day, beside two baselines.

    python examples/seq2seq.py [--pairs 2000] [--epochs 8]

Takes some ten seconds on one core; dates that it has not seen come out right.
"""

from __future__ import annotations

import argparse
import datetime

import numpy as np

from unspool import Seq2Seq
from unspool.evaluation.texts import text_metrics
from unspool.seq2seq.baselines import NearestPair, TokenByToken

MONTHS = [datetime.date(2000, month, 1).strftime("%B") for month in range(1, 13)]
FORMS = (
    lambda d, month: f"{d.day} {month} {d.year}",
    lambda d, month: f"{month} {d.day}, {d.year}",
    lambda d, month: f"{month[:3].lower()} {d.day} {d.year}",
    lambda d, month: f"{d.day}.{d.month}.{d.year}",
    lambda d, month: f"{d.month:02}/{d.day:02}/{d.year}",
)


def dates(count: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Different days from 1950 to 2049, each in a form drawn at random."""
    random = np.random.default_rng(seed)
    sources, targets = [], []
    for number in random.permutation(36525)[:count].tolist():
        day = datetime.date(1950, 1, 1) + datetime.timedelta(number)
        sources.append(FORMS[random.integers(len(FORMS))](day, MONTHS[day.month - 1]))
        targets.append(day.isoformat())
    return sources, targets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=8)
    args = parser.parse_args()
    X, y = dates(args.pairs + 500)
    train, test = (X[:-500], y[:-500]), (X[-500:], y[-500:])
    settings = {"hidden_size": 48, "embedding_dim": 24, "batch_size": 32, "dropout": 0.0, "random_state": 0}
    model = Seq2Seq(epochs=args.epochs, learning_rate=0.01, schedule="one_cycle", **settings).fit(*train)
    others = [NearestPair(), TokenByToken(model.source_, model.target_)]
    for other in (model, *(other.fit(*train) for other in others)):
        found = text_metrics(list(other.predict(test[0])), test[1])
        name = getattr(other, "name", "this model")
        print(f"{name:21} exact {found['exact_match']:.3f}  character errors {found['cer']:.3f}")
    print(*model.predict(["7 May 1987", "12/31/1999"]))


if __name__ == "__main__":
    main()
