"""Spoken digits: a label for each recording, tested on recordings 0 to 4 of every speaker.

    python examples/digits.py recordings

The folder holds files such as 7_theo_12.wav (the Free Spoken Digit Dataset). Mark: 98 % on that split.
"""

from __future__ import annotations

import argparse

import numpy as np

from unspool import SequenceClassifier
from unspool.evaluation.signals import signal_baselines
from unspool.signals import read_folder


def main() -> None:
    """Train, measure beside two baselines, and save."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--out", default="digits-model")
    options = parser.parse_args()
    found = read_folder(options.folder, labels=r"^(\d)_")
    tested = np.array([int(name.removesuffix(".wav").split("_")[2]) < 5 for name in found.names])
    train, test = found.take(np.flatnonzero(~tested)), found.take(np.flatnonzero(tested))
    model = SequenceClassifier(
        channel_invariant=True,
        crop=0.2,
        noise=0.3,
        time_mask=0.2,
        epochs=options.epochs,
        batch_size=16,
        random_state=0,
        verbose=0,
    )
    model.fit(train.X, train.y)
    print(f"{model.describe()}\n{len(train)} training and {len(test)} test recordings")
    print(f"accuracy {model.score(test.X, test.y):.3f}")
    for baseline in signal_baselines("audio", train.X, train.y, has_classes=True):
        print(f"{baseline.name} {(baseline.predict(test.X) == test.y).mean():.3f}")
    model.save(options.out)


if __name__ == "__main__":
    main()
