"""Series and recordings against their baselines: `python benchmarks/signals.py SETS [--seeds 0 1 2] [--out FILE]`.

SETS: any of JapaneseVowels BasicMotions Covid3Month (of the package sktime where it is installed, or in --ts FOLDER),
digits, speakers, pairs (../shared/data/fsdd), fewer. Two are for choosing settings, from training parts alone. pairs:
each speaker is told from a training on four of the others, and one is not used. fewer: of the training parts of five
sets of sktime a half (of JapaneseVowels a third) learns and the rest is measured, each part once. --set NAME=VALUE
changes settings. One line a run, and the mean and spread over the seeds; JSON with --out. With --ensemble also each of
its networks by itself.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from unspool import SequenceClassifier, SequenceRegressor
from unspool.estimators.network import members_of
from unspool.evaluation.linear import fold_rows
from unspool.evaluation.signals import signal_baselines
from unspool.signals import Labelled, read_folder, read_ts

DIGITS = Path(__file__).parents[2] / "shared" / "data" / "fsdd" / "recordings"
# Series have the estimators' defaults, but for what --set names.
SERIES: dict[str, Any] = {}
AUDIO: dict[str, Any] = {
    "channel_invariant": True,
    "crop": 0.2,
    "noise": 0.3,
    "time_mask": 0.2,
    "epochs": 40,
    "batch_size": 16,
}
PAIRS = [("george", "theo"), ("jackson", "nicolas"), ("lucas", "yweweler"), ("nicolas", "lucas")]
PAIRS += [("theo", "george"), ("yweweler", "jackson")]
# Into how many parts the training rows of a set go, of which one learns.
FEWER = {"JapaneseVowels": 3, "ItalyPowerDemand": 2, "BasicMotions": 2, "GunPoint": 2, "ArrowHead": 2}


def ts_parts(folder: Path, name: str) -> list[tuple[str, Labelled, Labelled]]:
    return [(name, *(read_ts(folder / name / f"{name}_{part}.ts") for part in ("TRAIN", "TEST")))]


def digit_parts(by_speaker: bool) -> list[tuple[str, Labelled, Labelled]]:
    """The official split, or each speaker left out."""
    found = read_folder(DIGITS, r"^(\d)_")
    parts = [name.removesuffix(".wav").split("_") for name in found.names]
    keys = np.array([speaker if by_speaker else str(int(number) < 5) for _, speaker, number in parts])
    wanted = sorted(set(keys)) if by_speaker else ["True"]
    return [
        (
            f"without {key}" if by_speaker else "digits",
            *(found.take(np.flatnonzero(m)) for m in (keys != key, keys == key)),
        )
        for key in wanted
    ]


def pair_parts() -> list[tuple[str, Labelled, Labelled]]:
    """Each speaker as the validation part of a training on four of the other five."""
    found = read_folder(DIGITS, r"^(\d)_")
    keys = np.array([name.split("_")[1] for name in found.names])
    return [
        (
            f"{held}, without {unused}",
            found.take(np.flatnonzero(~np.isin(keys, (held, unused)))),
            found.take(np.flatnonzero(keys == held)),
        )
        for held, unused in PAIRS
    ]


def fewer_parts(folder: Path, name: str) -> list[tuple[str, Labelled, Labelled]]:
    """Each part of a set's training rows, with all classes in it, as a training that the other rows measure."""
    found = read_ts(folder / name / f"{name}_TRAIN.ts")
    assert found.y is not None
    everyone, parts = np.arange(len(found.y)), fold_rows(found.y, FEWER[name], 0)
    return [
        (f"{name}, part {k}", found.take(rows), found.take(np.setdiff1d(everyone, rows)))
        for k, rows in enumerate(parts, 1)
    ]


def named(name: str, folder: Path) -> list[tuple[str, list[tuple[str, Labelled, Labelled]]]]:
    """The sets of a name on the command line, and the trainings of each."""
    if name == "fewer":
        return [(f"fewer of {own}", fewer_parts(folder, own)) for own in FEWER]
    if name == "pairs":
        return [(name, pair_parts())]
    if name in ("digits", "speakers"):
        return [(name, digit_parts(name == "speakers"))]
    return [(name, ts_parts(folder, name))]


def measured(model: Any, test: Labelled, classes: bool) -> float:
    """Accuracy, or RMSE."""
    answer = model.predict(test.X)
    return float((answer == test.y).mean() if classes else np.sqrt(np.mean((answer - test.y) ** 2)))


def alone(model: Any) -> list[Any]:
    """A model of each network of an ensemble."""
    found = []
    for member in members_of(model.network_):
        own = copy.copy(model)
        own.network_, own.ensemble_ = member, 1
        found.append(own)
    return found


def run(name: str, train: Labelled, test: Labelled, seed: int, ensemble: int) -> dict:
    """One model and its baselines: accuracy, or RMSE."""
    assert train.y is not None and test.y is not None
    kind = "audio" if isinstance(train.X[0], Path) else "series"
    classes = train.y.dtype.kind != "f"
    started = time.perf_counter()
    cls = SequenceClassifier if classes else SequenceRegressor
    settings = AUDIO if kind == "audio" else SERIES
    model = cls(random_state=seed, verbose=0, ensemble=ensemble, **settings).fit(train.X, train.y)
    seconds = time.perf_counter() - started
    models = {"unspool": model}
    if seed == 0:
        models |= {b.name: b for b in signal_baselines(kind, train.X, train.y, classes)}
    found = {own: measured(fitted, test, classes) for own, fitted in models.items()}
    if ensemble > 1:
        found |= {f"network {k}": measured(own, test, classes) for k, own in enumerate(alone(model), 1)}
    shown = ", ".join(f"{own} {value:.4f}" for own, value in found.items())
    print(f"{name}, seed {seed}: {shown} ({seconds:.0f} s)", flush=True)
    return {
        "set": name,
        "seed": seed,
        "measure": "accuracy" if classes else "rmse",
        "seconds": seconds,
        **found,
    }


def main() -> None:
    package = find_spec("sktime")
    places = list(package.submodule_search_locations or []) if package else []
    default = Path(places[0]) / "datasets" / "data" if places else Path("sktime-data")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="+")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--ensemble", type=int, default=1)
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="NAME=VALUE", help="other settings of pairs and fewer"
    )
    parser.add_argument("--ts", type=Path, default=default)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.set and not set(given.sets) <= {"pairs", "fewer"}:
        parser.error("--set is for choosing settings on pairs and fewer; the other sets have test parts.")
    other = {name: ast.literal_eval(value) for name, value in (pair.split("=", 1) for pair in given.set)}
    AUDIO.update(other)
    SERIES.update(other)
    rows = []
    for name, parts in (found for wanted in given.sets for found in named(wanted, given.ts)):
        own = [run(*part, seed, given.ensemble) for seed in given.seeds for part in parts]
        rows += own
        for model in [key for key in own[0] if key not in ("set", "seed", "measure", "seconds")]:
            values = np.array([row[model] for row in own if model in row])
            print(
                f"{name}: {model} {values.mean():.4f}, spread {values.std():.4f} of {len(values)} runs",
                flush=True,
            )
        if given.out:
            given.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
