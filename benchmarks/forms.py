"""Weights in float32, bfloat16 and int8, frozen for prediction: how fast, and what they cost in accuracy.

    python benchmarks/forms.py             # both, two minutes; benchmarks/results/forms_*.json
    python benchmarks/forms.py speed       # layers and steps against themselves unfrozen, and torch
    python benchmarks/forms.py accuracy    # EmoBank and TREC (data of the studies), a model each, three seeds

speed: LSTM, one direction, 128 features, length 150, two threads; a step of batch 1 with 64 units.
accuracy: a bidirectional LSTM 128; the same trained weights in every form, scores on the official test parts.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

import numpy as np
import torch
from layers import versions
from peers import data as emobank
from peers.record import ROOT, save, setting
from studies import SENTENCES, labelled
from sweeps import without_gradients

import unspool
from unspool import Ragged
from unspool.bench import Case, Runner, interleave, runner, work
from unspool.cells import LSTMCell
from unspool.engine.frozen import FORMS
from unspool.nn import Recurrent

SEEDS = (0, 1, 2)


def speed() -> dict[str, Any]:
    rows = []
    for hidden in (64, 128, 256, 512):
        for batch in (1, 32):
            found = interleave(_layers(Case("lstm", hidden, "dense", 1, "forward", batch)), 2.0)
            rows.append(
                _row(
                    f"LSTM {hidden}, batch {batch}", {name: t.median for name, t in found.items()}, 1e3, "ms"
                )
            )
    found = interleave(_steps(), 2.0, rounds=30)
    rows.append(_row("one .step, LSTM 64, batch 1", {name: t.median for name, t in found.items()}, 1e6, "us"))
    return {"rows": rows}


def _row(name: str, times: dict[str, float], scale: float, unit: str) -> dict[str, Any]:
    print(f"{name:28}", "  ".join(f"{tool} {scale * t:.3g} {unit}" for tool, t in times.items()), flush=True)
    return {"name": name, "unit": unit, "times": {tool: scale * t for tool, t in times.items()}}


def _layers(case: Case) -> dict[str, Runner]:
    padded = case.padded()
    ragged = Ragged.from_padded(padded, case.lengths())
    layer = Recurrent(LSTMCell(case.features, case.hidden))
    peer = torch.nn.LSTM(case.features, case.hidden, batch_first=True)
    calls = {"torch": work("forward", peer, padded), "layer": work("forward", layer, ragged)}
    calls |= {form: work("forward", layer.freeze(form), ragged) for form in FORMS}
    return {name: runner(call) for name, call in calls.items()}


def _steps() -> dict[str, Runner]:
    x = torch.randn(1, 128)
    layer, peer = Recurrent(LSTMCell(128, 64)), torch.nn.LSTMCell(128, 64)
    state = layer.initial_state(1)
    runs = {
        "torch.nn.LSTMCell": without_gradients(lambda: peer(x, state)),
        "layer": without_gradients(lambda: layer.step(x, state)),
    }
    for form in FORMS:
        frozen = layer.freeze(form)
        runs[form] = without_gradients(lambda frozen=frozen: frozen.step(x, state))
        runs[f"{form}, native call"] = runner(_native_step(frozen, x, state))
    return runs


def _native_step(layer: Recurrent, x: torch.Tensor, state: Any) -> Any:
    assert layer.frozen is not None
    made, new = layer.frozen.made, [torch.empty_like(part) for part in state]
    tensors = (x, *state, *new)

    def call() -> None:
        made.step(tensors, 1)

    return call


def accuracy() -> dict[str, Any]:
    rows = []
    jobs = {"EmoBank, valence, test r": _emobank, "TREC, test accuracy": _trec}
    for name, job in jobs.items():
        scores: dict[str, list[float]] = {form: [] for form in FORMS}
        moved: dict[str, list[float]] = {form: [] for form in FORMS}
        for seed in SEEDS:
            model, texts, score, numbers = job(seed)
            exact = numbers(model, texts)
            for form in FORMS:
                model.freeze(form)
                scores[form].append(score(model))
                moved[form].append(float(np.abs(numbers(model, texts) - exact).max() / exact.std()))
        for form in FORMS:
            mean, furthest = statistics.mean(scores[form]), max(moved[form])
            print(
                f"{name:28} {form:9} {mean:.4f}  largest change of an output {furthest:.2g} deviations",
                flush=True,
            )
        rows.append({"name": name, "scores": scores, "largest_change": moved})
    return {"rows": rows}


def _settings(seed: int) -> dict[str, Any]:
    return {"hidden_size": 128, "bidirectional": True, "pooling": "max", "random_state": seed, "verbose": 0}


def _emobank(seed: int) -> tuple[Any, list[str], Any, Any]:
    data = emobank.load()
    model = unspool.SequenceRegressor(epochs=6, **_settings(seed))
    model.fit(data.train.texts, data.train.score, validation_data=(data.dev.texts, data.dev.score))

    def score(model: Any) -> float:
        return float(np.corrcoef(model.predict(data.test.texts), data.test.score)[0, 1])

    return model, data.test.texts, score, lambda model, texts: model.predict(texts)


def _trec(seed: int) -> tuple[Any, list[str], Any, Any]:
    (train_y, train_x), (test_y, test_x) = (
        zip(*labelled(SENTENCES / f"TREC.{part}.all")) for part in ("train", "test")
    )
    model = unspool.SequenceClassifier(epochs=12, **_settings(seed)).fit(list(train_x), np.array(train_y))

    def score(model: Any) -> float:
        return float(model.score(list(test_x), np.array(test_y)))

    return model, list(test_x), score, lambda model, texts: np.log(model.predict_proba(texts))


PARTS = {"speed": speed, "accuracy": accuracy}


def measure(name: str) -> None:
    """One of PARTS, to results/forms_NAME.json."""
    before = setting()
    save(
        f"forms_{name}", {"versions": versions(), "threads": torch.get_num_threads(), **PARTS[name]()}, before
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "parts", nargs="*", choices=[*PARTS, []], default=[], metavar="PART", help=", ".join(PARTS)
    )
    args = parser.parse_args()
    torch.manual_seed(0)
    for name in args.parts or PARTS:
        if name == "accuracy" and not (emobank.EMOBANK.exists() and SENTENCES.exists()):
            print(f"Accuracy is not measured: no {emobank.EMOBANK.relative_to(ROOT.parent)}.")
            continue
        measure(name)


if __name__ == "__main__":
    main()
