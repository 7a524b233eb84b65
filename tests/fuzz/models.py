"""Saved models of every kind: their document, header or bytes changed, checksums made to fit."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from forecasting.conftest import SMALL as FORECASTER
from forecasting.conftest import waves
from seq2seq.conftest import LETTERS
from tagging.toy import sentences

import unspool
from unspool import (
    Forecaster,
    Seq2Seq,
    SequenceClassifier,
    SequenceGenerator,
    SequenceRegressor,
    SequenceTagger,
)

from .mutations import HUGE, changed_bytes, changed_json

JSON, WEIGHTS = "model.json", "weights.safetensors"
TINY: dict[str, Any] = {"hidden_size": 4, "epochs": 1, "batch_size": 8, "random_state": 0, "verbose": 0}
TEXTS = ["good day", "bad day", "fine", "a good one", "awful", "day after day"] * 8
Y = np.array([2.0, -2.0, 1.0, 2.5, -3.0, 0.0] * 8)
SERIES = [np.cumsum(np.ones((n, 2)), 0) for n in (3, 5, 4, 6, 2, 7)]
TABLE = waves({"a": 60, "b": 70})


def made() -> dict[str, tuple[Any, Callable[[Any], Any]]]:
    """Kind -> (a fitted model, what asks it for answers)."""
    small = {**TINY, "embedding_dim": 4}
    tokens, tags, labels = sentences(20)
    return {
        "regressor": (SequenceRegressor(**small).fit(TEXTS, Y), lambda m: m.predict(TEXTS[:3])),
        "ensemble": (
            SequenceRegressor(**small, ensemble=2, blend=False, level="char", cell="gru").fit(TEXTS, Y),
            lambda m: m.predict(TEXTS[:3]),
        ),
        "classifier": (
            SequenceClassifier(**small, dense=(3,), characters="cnn", num_layers=2).fit(TEXTS, Y > 0),
            lambda m: m.predict_proba(TEXTS[:3]),
        ),
        "series": (SequenceRegressor(**TINY).fit(SERIES, Y[:6]), lambda m: m.predict(SERIES)),
        "tagger": (SequenceTagger(**small).fit(tokens, tags, labels), lambda m: m.predict(tokens[:2])),
        "generator": (
            SequenceGenerator(**small, chunk_length=16).fit("the cat sat on the mat. " * 12),
            lambda m: m.generate("the", 5, random_state=0),
        ),
        "forecaster": (
            Forecaster(**{**FORECASTER, "epochs": 1, "hidden_size": 4}).fit(TABLE),
            lambda m: m.predict(),
        ),
        "seq2seq": (
            Seq2Seq(**small).fit(LETTERS * 2, LETTERS * 2),
            lambda m: m.predict(LETTERS[:2], max_new_tokens=4),
        ),
    }


def sealed(body: dict[str, Any], weights: bytes) -> bytes:
    """The document of `body` as its format asks, checksums included."""
    text = json.dumps(body).replace(f'"{HUGE}"', "1e999")
    try:
        content = json.loads(text)
        plain = json.dumps(content, sort_keys=True, separators=(",", ":"))
    except ValueError:
        plain = ""
    sums = {"document": _sha(plain.encode()), "weights": _sha(weights)}
    return f'{text[:-1]}, "checksums": {json.dumps(sums)}}}'.encode()


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def changed_weights(data: bytes, rng: random.Random) -> bytes:
    """Safetensors with another header over the same numbers, or other bytes."""
    if rng.random() < 0.4:
        return changed_bytes(data, rng)
    length = int.from_bytes(data[:8], "little")
    header = (
        json.dumps(changed_json(json.loads(data[8 : 8 + length]), rng)).replace(f'"{HUGE}"', "1e999").encode()
    )
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def target(folder: Path) -> Callable[[random.Random], None]:
    kept: list[tuple[dict[str, Any], bytes, Callable[[Any], Any]]] = []
    for name, (model, ask) in made().items():
        model.save(folder / name)
        body = json.loads((folder / name / JSON).read_bytes())
        del body["checksums"]
        kept.append((body, (folder / name / WEIGHTS).read_bytes(), ask))
    work = folder / "work"

    def case(rng: random.Random) -> None:
        body, weights, ask = rng.choice(kept)
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        kind = rng.random()
        if kind < 0.6:
            body = changed_json(body, rng)
            body = body if isinstance(body, dict) else {"format": body}
            body.pop("checksums", None)
            document = sealed(body, weights)
        elif kind < 0.85:
            weights = changed_weights(weights, rng)
            document = sealed(body, weights)
        else:
            document = changed_bytes(sealed(body, weights), rng)
        if rng.random() < 0.8:
            place = work / "m"
            place.mkdir()
            (place / JSON).write_bytes(document)
            (place / WEIGHTS).write_bytes(weights)
        else:
            place = work / "m.zip"
            with zipfile.ZipFile(place, "w") as archive:
                archive.writestr(JSON, document, zipfile.ZIP_DEFLATED)
                archive.writestr(WEIGHTS, weights, zipfile.ZIP_STORED)
            if rng.random() < 0.7:
                place.write_bytes(changed_bytes(place.read_bytes(), rng))
        model = unspool.load(place)
        model.save(work / "again")
        ask(model)
        ask(unspool.load(work / "again"))

    return case
