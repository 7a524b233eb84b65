"""A fitted `Forecaster` as a whole graph: the past of series in, forecasts and their intervals out."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import stats

from unspool.encode import Columns
from unspool.errors import DataError, check_fitted
from unspool.exporting.checking import Case
from unspool.exporting.forecast_networks import Read, forecast_outputs, point_of, positive
from unspool.exporting.forecast_windows import (
    Window,
    cut,
    filled,
    level_of,
    network_input,
    of_steps,
    place_of,
    scales,
)
from unspool.exporting.graph import DOUBLE, FLOAT, INT64, Graph
from unspool.exporting.inputs import columns_input, random_rows
from unspool.exporting.stamps import time_features
from unspool.forecasting import Forecaster
from unspool.forecasting.answers import ahead_of, check_reach
from unspool.forecasting.building import loss_of, normalization_of
from unspool.forecasting.levels import Wanted


class ForecastGraph:
    """Inputs `y` float64 (batch, time), NaN where missing, and `lengths`, and what the model has of `series`, `past`,
    `future`, `future_ahead`, `stamps`, `stamps_ahead`, `numeric`, `categories`; outputs `forecast` float64 (batch,
    horizon), and those of the intervals, as the columns of `predict` are called. NaN where `predict` raises an error.

    level: per cent, one or several, as of `predict`; None: the quantiles that the model learnt, where it did.
    """

    tokenizer: str | None = None

    def __init__(self, model: Forecaster, level: float | Sequence[float] | None) -> None:
        check_fitted(model)
        self.model = copy.copy(model)
        self.model.__dict__.pop("frozen_", None)
        self.model.network_ = copy.deepcopy(model.network_).cpu().eval()
        learnt = model.loss == "quantile" and model.intervals == "model"
        self.wanted = Wanted.of(None, model.quantiles) if learnt and level is None else Wanted.of(level, None)
        check_reach(model, model.horizon, self.wanted)
        self.notes = (
            f"Reads the last {model.input_size_} steps of each row, or those that there are"
            + (f", a multiple of {model.unit_}" if model.unit_ > 1 else "")
            + f"; answers {model.horizon} steps ahead, NaN for a row that predict refuses.",
        )
        self.preparation, self.loss = model.preparation_, loss_of(model)
        self.static = Columns(self.preparation.static)
        scaled = self.preparation.scaler in ("standard", "mean")
        by_series = bool(self.wanted.levels) and model.calibration == "series"
        self.by_series = model.id_col is not None and (scaled or by_series)
        self.graph = Graph()
        self._build()

    def _build(self) -> None:
        g, model = self.graph, self.model
        y = g.input("y", DOUBLE, ["batch", "time"])
        window = cut(g, y, g.input("lengths", INT64, ["batch"]), model.input_size_, model.unit_)
        place = None
        if self.by_series:
            kind = "STRING" if isinstance(self.preparation.ids[0], str) else INT64
            place = place_of(g, self.preparation.ids, g.input("series", kind, ["batch"]))
        own = place if self.preparation.scaler in ("standard", "mean") else None
        offset, scale = scales(g, self.preparation, own, y, window.counts)
        scaled = g.op("Div", g.op("Sub", window.y, offset), scale)
        kind = normalization_of(model)
        level = level_of(g, window, scaled, kind, model.season_, model.horizon)
        beside, known, told = self._covariates(window)
        x = network_input(g, window, scaled, level, beside)
        static = columns_input(g, self.static) if self.static.parts else None
        read = Read(x, window.sizes, static, known)
        raw = forecast_outputs(g, model.network_, self.loss, read, model.input_size_)
        usable = g.op(
            "Unsqueeze", window.usable if told is None else g.op("And", window.usable, told), g.ints(1)
        )

        def output(name: str, values: Any) -> None:
            answer = g.op("Where", usable, values, np.float64(np.nan))
            g.output(name, answer, DOUBLE, ["batch", model.horizon])

        def in_units(values: Any) -> Any:
            values = g.op("Add", g.op("Mul", g.cast(values, DOUBLE), level.spread), level.base)
            return g.op("Add", g.op("Mul", values, scale), offset)

        point = in_units(point_of(g, self.loss, raw))
        output("forecast", point)
        if model.intervals == "model" and self.wanted.levels:
            for name, values in zip(self.wanted.names, self._learnt(raw)):
                output(name, in_units(values))
            return
        for name, quantile in zip(self.wanted.names, self.wanted.levels):
            output(name, self._conformal(quantile, point, scale, place))

    def _covariates(self, window: Window) -> tuple[list[Any], Any, Any]:
        """(what stands beside y at each step of the window, (B, W, ·) each; what is known ahead, (B, horizon, K)
        float32 or None; (B,): whether all that must be known ahead is, or None)."""
        g, model = self.graph, self.model
        past, future = len(model.past), len(model.future)
        pairs, beside, ahead, told = self.preparation.covariates, [], [], None
        if past:
            given = g.input("past", DOUBLE, ["batch", "time", past])
            beside.append(filled(g, of_steps(g, window, given), pairs[:past]))
        if future:
            given = g.input("future", DOUBLE, ["batch", "time", future])
            coming = g.input("future_ahead", DOUBLE, ["batch", model.horizon, future])
            beside.append(filled(g, of_steps(g, window, given), pairs[past:]))
            ahead.append(filled(g, coming, pairs[past:]))
            missing = g.cast(g.op("IsNaN", coming), INT64)
            told = g.op("Equal", g.op("ReduceMax", missing, g.ints(1, 2), keepdims=0), np.int64(0))
        if self.preparation.features:
            stamps = g.input("stamps", INT64, ["batch", "time"])
            coming = g.input("stamps_ahead", INT64, ["batch", model.horizon])
            at = g.op("GatherElements", stamps, window.at, axis=1)
            for found, some in ((beside, at), (ahead, coming)):
                found.append(time_features(g, self.preparation.features, some))
        if not ahead:
            return beside, None, told
        known = ahead[0] if len(ahead) == 1 else g.op("Concat", *ahead, axis=2)
        return beside, g.cast(known, FLOAT), told

    # --- intervals

    def _learnt(self, raw: Any) -> list[Any]:
        """(B, horizon) for each level wanted, scaled: by the outputs of the network."""
        g, levels, name = self.graph, self.wanted.levels, self.loss.name
        if name == "quantile":
            count = len(self.loss.levels)
            ordered, _ = g.several("TopK", 2, raw, g.ints(count), axis=-1, largest=0, sorted=1)
            rank = {level: i for i, level in enumerate(sorted(self.loss.levels))}
            nearest = [min(rank, key=lambda own: abs(own - level)) for level in levels]
            return [g.op("Gather", ordered, np.int64(rank[own]), axis=-1) for own in nearest]
        if name != "normal":
            raise DataError(
                f"There is no ONNX form of the quantiles of loss={name!r} with intervals='model'. Leave level out for "
                "the forecasts alone, or fit with intervals='conformal'."
            )
        exact = g.cast(raw, DOUBLE)
        mean, second = (g.op("Gather", exact, np.int64(i), axis=-1) for i in range(2))
        scale = positive(g, second, np.float64)
        steps = [np.float64(stats.norm.ppf(level)) for level in levels]
        return [g.op("Add", mean, g.op("Mul", scale, step)) for step in steps]

    def _conformal(self, level: float, point: Any, scale: Any, place: Any) -> Any:
        """(B, horizon), in units of y: one end of an interval around the points."""
        g, scores = self.graph, self.model.scores_
        if level == 0.5:
            return point
        assert scores is not None
        coverage, horizon = abs(2 * level - 1), self.model.horizon
        if scores.pooled or place is None:
            width = g.constant(scores.widths(coverage, np.zeros(1, np.int64), horizon).copy())
        else:
            width = g.op("Gather", self._widths(coverage), place, axis=0)  # -1: the last row
        width = g.op("Mul", width, scale)
        found = g.op("Add" if level > 0.5 else "Sub", point, width)
        return g.op("Max", found, np.float64(0)) if self.loss.name == "negative_binomial" else found

    def _widths(self, coverage: float) -> np.ndarray:
        """(S + 1, horizon): of each series, NaN where it has too few held-back forecasts, and in the last row."""
        scores, horizon = self.model.scores_, self.model.horizon
        assert scores is not None
        count, refused = len(self.preparation.ids), None
        table = np.full((count + 1, horizon), np.nan)
        for s in range(count):
            try:
                table[s] = scores.widths(coverage, np.array([s]), horizon)[0]
            except DataError as error:
                refused = error
        if refused is not None and np.isnan(table).all():
            raise refused
        return table

    # --- what goes with the graph

    def about(self) -> dict[str, str]:
        """Metadata: what a program needs beside the graph, as JSON."""
        model = self.model
        found: dict[str, Any] = {
            "past": list(model.past),
            "future": list(model.future),
            "columns": self.static.to_dict(),
            "time_features": list(self.preparation.features),
            "calendar": model.calendar_.to_dict(),
            "horizon": model.horizon,
            "input_size": model.input_size_,
            "levels": dict(zip(self.wanted.names, self.wanted.levels)),
        }
        told = {"model": "Forecaster", "description": model.describe(), "notes": " ".join(self.notes)}
        return {**told, **{name: json.dumps(value) for name, value in found.items()}}

    def cases(self) -> list[Case]:
        """Series longer and shorter than a window, with missing values, and what `predict` answers."""
        random, unit, size = np.random.RandomState(0), self.model.unit_, self.model.input_size_
        return [self.case(rows, time, random) for rows, time in ((3, 2 * size + 3), (5, size), (1, unit))]

    def case(self, batch: int, time: int, random: np.random.RandomState) -> Case:
        """One batch; of series that were fitted, and where that can be one that was not."""
        model, tail, horizon = self.model, self.model.tail_, self.model.horizon
        ids = self.preparation.ids
        chosen = [ids[i] for i in random.permutation(len(ids))[:batch]]
        chosen += [ids[0]] * (batch - len(chosen))
        if batch > 1 and model.id_col is not None and model.calibration == "pooled":
            chosen[-1] = "".join(map(str, ids)) + "?" if isinstance(ids[0], str) else max(ids) + 1
        lengths = random.randint(model.unit_, time + 1, batch)
        lengths[0] = time
        values = [self._series(chosen[b], int(n), random) for b, n in enumerate(lengths)]
        feeds, raw = random_rows(self.static, batch, random) if self.static.parts else ({}, {})
        static = [tuple(raw[name][b] for name in model.static) for b in range(batch)]
        firsts = np.full(batch, tail.firsts.min(), np.int64)
        past, future = len(model.past), len(model.future)
        coming = random.randn(batch, horizon, future)
        # `predict` knows series by their ids, which are all different.
        found: dict[str, list[np.ndarray]] = {}
        for b in range(batch):
            panel = replace(
                tail, ids=[chosen[b]], firsts=firsts[b : b + 1], values=[values[b]], static=[static[b]]
            )
            point, bands = ahead_of(model, panel, horizon, [coming[b]] if future else None, self.wanted)
            for name, own in {"forecast": point, **bands}.items():
                found.setdefault(name, []).append(own[0])
        padded = np.full((batch, time, 1 + past + future), np.nan)
        for row, own in zip(padded, values):
            row[: len(own)] = own
        feeds |= {"y": padded[..., 0], "lengths": lengths.astype(np.int64)}
        if self.by_series:
            feeds["series"] = np.array(chosen, object if isinstance(ids[0], str) else np.int64)
        if past:
            feeds["past"] = padded[..., 1 : 1 + past]
        if future:
            feeds |= {"future": padded[..., 1 + past :], "future_ahead": coming}
        if self.preparation.features:
            steps = model.calendar_.stamps
            feeds["stamps"] = np.stack([steps(int(first), np.arange(time)) for first in firsts])
            ends = [steps(int(f), int(n) + np.arange(horizon)) for f, n in zip(firsts, lengths)]
            feeds["stamps_ahead"] = np.stack(ends)
        place = [ids.index(name) if name in ids else -1 for name in chosen]
        unit = np.where(np.array(place) < 0, 1.0, self.preparation.scales[place])[:, None]
        expected = {name: np.stack(own) for name, own in found.items()}
        return Case(feeds, expected, dict.fromkeys(expected, unit))

    def _series(self, name: Any, steps: int, random: np.random.RandomState) -> np.ndarray:
        """(steps, columns): a walk in the series' own units, some values missing, the last one not."""
        place = self.preparation.ids.index(name) if name in self.preparation.ids else 0
        offset, scale = self.preparation.offsets[place], self.preparation.scales[place]
        y = offset + scale * random.randn(steps).cumsum() / 3
        if self.loss.name == "negative_binomial":
            y = np.round(np.abs(y))
        pairs = np.array(self.preparation.covariates).reshape(-1, 2)
        beside = pairs[:, 0] + pairs[:, 1] * random.randn(steps, len(pairs))
        values = np.concatenate([y[:, None], beside], 1)
        values[:-1][random.rand(*values[:-1].shape) < 0.15] = np.nan
        return values
