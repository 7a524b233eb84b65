"""Sequences that a fitted model knows something of, made of what it was fitted on: for descriptions and signatures."""

from __future__ import annotations

from typing import Any

import numpy as np


def sequences(model: Any) -> list[Any]:
    """Two that `predict` of the model takes, of different lengths: texts, lists of tokens, of ids, or of steps."""
    if hasattr(model, "source_"):  # texts to texts
        return _texts(model.source_.vocabulary.tokens, model.source_.level)
    if hasattr(model, "vocabulary_"):  # a language model: prompts
        return _texts(model.vocabulary_.tokens, model.vocabulary_.level)
    source = model.input_
    if source.kind == "text":
        return _texts(source.encoder.words_, source.encoder.level)
    if source.kind == "tokens":
        words = _readable(source.encoder.words)
        return [words[:3], words[3:8] or words[:1]]
    if source.kind == "ids":
        known = range(source.vocabulary_size) if source.known is None else source.known.tolist()
        ids = [int(i) for i in known[-5:]]
        return [ids[:2], ids]
    steps = [np.array(source.mean) + k * np.array(source.scale) for k in (0.0, 0.5, -0.5)]
    series = [[float(f"{v:.4g}") for v in step] for step in steps]
    return [series, series[:2]]


def beside(model: Any) -> dict[str, float | str]:
    """The further columns of a model, and a value of each."""
    parts = [] if getattr(model, "columns_", None) is None else model.columns_.parts
    return {p.name: float(f"{p.mean:.4g}") if hasattr(p, "mean") else p.categories[0] for p in parts}


def _texts(words: Any, level: str) -> list[str]:
    known = _readable(words)
    joint = " " if level == "word" else ""
    return [joint.join(known[:3]), joint.join(known[3:8]) or joint.join(known[:1])]


def _readable(words: Any) -> list[str]:
    printable = [word.strip() for word in words if isinstance(word, str) and word.isprintable()]
    shown = [word for word in printable if word][:40]
    return [word for word in shown if word.isalnum()] or shown
