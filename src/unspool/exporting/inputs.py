"""What an estimator is given, as inputs of a graph: ids, characters, series, columns; and random ones to try."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unspool.encode import AudioInput, Columns, IdInput, SeriesInput, TextInput
from unspool.encode.columns import Numeric
from unspool.errors import DataError
from unspool.exporting.graph import DOUBLE, FLOAT, INT64, ML_DOMAIN, Graph
from unspool.exporting.networks import Given, scaled
from unspool.exporting.time import Lengths
from unspool.ragged import Ragged


def sequence_input(g: Graph, source: Any, columns: Columns | None) -> Given:
    """The inputs of the encoder `source` and of `columns`, as the network reads them."""
    if isinstance(source, (SeriesInput, AudioInput)):
        series = source.scaling if isinstance(source, AudioInput) else source
        x = g.input("x", FLOAT, ["batch", "time", series.n_given])
        lengths, (x,) = _in_time(g, x)
        return Given(_features(g, x, series), lengths, columns=columns_input(g, columns))
    if not isinstance(source, (TextInput, IdInput)):
        raise DataError(f"There is no ONNX form of the input {source.kind!r}.")
    ids = g.input("ids", INT64, ["batch", "time"])
    spelt = isinstance(source, TextInput) and source.characters is not None
    more = []
    if isinstance(source, TextInput) and source.characters is not None:
        more = [g.input("characters", INT64, ["batch", "time", source.characters.width])]
    lengths, (ids, *rest) = _in_time(g, ids, *more)
    return Given(
        _checked_ids(g, ids, source, lengths), lengths, rest[0] if spelt else None, columns_input(g, columns)
    )


def _in_time(g: Graph, *values: Any) -> tuple[Lengths, list[Any]]:
    """The input `lengths`, and values (B, T, ...) as (T, B, ...)."""
    given = g.input("lengths", INT64, ["batch"])
    turned = [g.op("Transpose", v, perm=[1, 0, *range(2, len(v.shape))]) for v in values]
    return Lengths(g, turned[0], given), turned


def _checked_ids(g: Graph, ids: Any, source: Any, lengths: Lengths) -> Any:
    """0 past the end. An id below 0 becomes one that the embedding has not, so that the runtime refuses it too."""
    known = getattr(source, "known", None)
    if known is not None:
        places = list(range(1, len(known) + 1))
        ids = g.op(
            "LabelEncoder",
            ids,
            domain=ML_DOMAIN,
            keys_int64s=known.tolist(),
            values_int64s=places,
            default_int64=0,
        )
    else:
        ids = g.op("Where", g.op("Less", ids, np.int64(0)), np.int64(source.vocabulary_size), ids)
    return g.op("Where", g.op("Squeeze", lengths.alive, g.ints(2)), ids, np.int64(0))


def _features(g: Graph, x: Any, series: SeriesInput) -> Any:
    """As `SeriesInput.encode`."""
    mean, scale = (part.numpy() for part in series._scaling())
    values = scaled(g, x, mean, scale)
    if series.kept:
        return values
    missing = g.op("IsNaN", values)
    values = g.op("Where", missing, np.float32(0), values)
    if not series.told:
        return values
    told = g.op("Gather", missing, np.array(series.told, dtype=np.int64), axis=2)
    return g.op("Concat", values, g.cast(told, FLOAT), axis=2)


def columns_input(g: Graph, columns: Columns | None) -> Any:
    """`numeric` float64 (batch, n), NaN where missing, and `categories` int64 (batch, m), the place of a row's category
    among those that the model knows, or -1; as `Columns.encode` makes of them."""
    if columns is None:
        return None
    numeric = [part for part in columns.parts if isinstance(part, Numeric)]
    others: list[Any] = [part for part in columns.parts if not isinstance(part, Numeric)]
    made: dict[str, list[Any]] = {}
    if numeric:
        values = g.input("numeric", DOUBLE, ["batch", len(numeric)])
        missing = g.op("IsNaN", values)
        mean, scale = (np.array([getattr(part, name) for part in numeric]) for name in ("mean", "scale"))
        numbers = g.op("Where", missing, np.float32(0), scaled(g, values, mean, scale))
        for k, part in enumerate(numeric):
            which = np.array([k], dtype=np.int64)
            made[part.name] = [g.op("Gather", numbers, which, axis=1)]
            if part.told:
                made[part.name].append(g.cast(g.op("Gather", missing, which, axis=1), FLOAT))
    if others:
        places = g.input("categories", INT64, ["batch", len(others)])
        for k, part in enumerate(others):
            count = np.int64(len(part.categories))
            place = g.op("Gather", places, np.array([k], dtype=np.int64), axis=1)
            strange = g.op("Or", g.op("Less", place, np.int64(0)), g.op("Greater", place, count))
            place = g.op("Where", strange, count, place)
            one_hot = g.op("Equal", place, np.arange(part.width, dtype=np.int64)[None])
            made[part.name] = [g.cast(one_hot, FLOAT)]
    found = [value for part in columns.parts for value in made[part.name]]
    return found[0] if len(found) == 1 else g.op("Concat", *found, axis=1)


# --- random inputs to try a graph on


def random_inputs(
    source: Any, batch: int, time: int, lengths: np.ndarray, random: np.random.RandomState
) -> tuple[dict[str, np.ndarray], Ragged]:
    """(inputs of the graph, the same as the network takes them)."""
    if isinstance(source, (SeriesInput, AudioInput)):
        series = source.scaling if isinstance(source, AudioInput) else source
        mean, scale = np.array(series.mean), np.array(series.scale)
        x = (random.randn(batch, time, len(mean)) * scale + mean).astype(np.float32)
        if series.told or series.kept:
            x[random.rand(*x.shape) < 0.2] = np.nan
        raw = Ragged.from_padded(torch.from_numpy(x), torch.from_numpy(lengths))
        return {"x": x}, series.encode(SimpleNamespace(data=raw))  # type: ignore[arg-type]
    known = getattr(source, "known", None)
    ids = random.randint(0, source.vocabulary_size, (batch, time)).astype(np.int64)
    encoded = Ragged.from_padded(torch.from_numpy(ids), torch.from_numpy(lengths))
    if known is not None:  # place 0 is of all ids that are not known
        ids = np.where(ids == 0, int(known[-1]) + 1, known.numpy()[ids - 1])
    if getattr(source, "characters", None) is None:
        return {"ids": ids}, encoded
    characters = _random_words(source.characters, batch, time, random)
    spelt = Ragged.from_padded(torch.from_numpy(characters), torch.from_numpy(lengths)).values
    forms = torch.arange(len(spelt))
    values = torch.cat([torch.stack([encoded.values, forms], 1), spelt], 1)
    return {"ids": ids, "characters": characters}, encoded.with_values(values)


def _random_words(encoder: Any, batch: int, time: int, random: np.random.RandomState) -> np.ndarray:
    """(batch, time, width) ids of characters; 0 past the end of a word. One word has no character at all."""
    found = random.randint(1, encoder.vocabulary_size, (batch, time, encoder.width)).astype(np.int64)
    ends = random.randint(1, encoder.width + 1, (batch, time, 1))
    ends[0, 0] = 0
    return np.where(np.arange(encoder.width) < ends, found, 0)


def random_columns(
    columns: Columns | None, batch: int, random: np.random.RandomState
) -> tuple[dict[str, np.ndarray], Tensor | None]:
    """(inputs of the graph, the matrix that the network takes)."""
    if columns is None:
        return {}, None
    feeds, raw = random_rows(columns, batch, random)
    return feeds, columns.encode(SimpleNamespace(columns=raw))  # type: ignore[arg-type]


def random_rows(
    columns: Columns, batch: int, random: np.random.RandomState
) -> tuple[dict[str, np.ndarray], dict[str, list[Any]]]:
    """(inputs of the graph, the same as a user has them: values of each column)."""
    raw: dict[str, list[Any]] = {}
    numeric, places = [], []
    for part in columns.parts:
        if isinstance(part, Numeric):
            values = random.randn(batch) * part.scale + part.mean
            values[random.rand(batch) < 0.3] = np.nan
            numeric.append(values)
            raw[part.name] = values.tolist()
        else:
            place = random.randint(-1, len(part.categories), batch)
            places.append(place)
            raw[part.name] = [None if p < 0 else part.categories[p] for p in place]
    found: Mapping[str, Any] = {"numeric": numeric, "categories": places}
    types = {"numeric": np.float64, "categories": np.int64}
    return {name: np.stack(parts, 1).astype(types[name]) for name, parts in found.items() if parts}, raw
