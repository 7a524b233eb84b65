"""Series to scaled blocks: what is learnt of them (scales, covariates, categories), on the training part alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from unspool.encode.columns import Categorical, Numeric
from unspool.errors import DataError, ModelFileError, warn_caller
from unspool.forecasting.calendar import Calendar
from unspool.forecasting.panel import Names, Panel, read_panel
from unspool.forecasting.windows import Block
from unspool.saved.fields import Fields

SCALERS = ("standard", "global", "mean", "none")
MOST = 1000  # categories of a static column


@dataclass(frozen=True)
class Preparation:
    """Fitted on the training part.

    scaler: how a series is scaled: "standard": (y - mean) / deviation, of its own; "global": of all series together
    (offset, scale); "mean": y / mean |y|, of its own; "none". ids, offsets, scales: of the series that were fitted.
    covariates: (mean, deviation) of each past, then each future column. static: the encoders of the static columns.
    features: names of time features.
    """

    scaler: str
    ids: list[Any]
    offsets: np.ndarray
    scales: np.ndarray
    covariates: list[tuple[float, float]]
    static: list[Numeric | Categorical]
    features: tuple[str, ...]

    @classmethod
    def fit(cls, panel: Panel, limits: np.ndarray, scaler: str, features: tuple[str, ...]) -> Preparation:
        """From the first `limits` (S,) steps of each series. Warns of series that are constant there."""
        parts = [v[: max(int(limit), 1)] for v, limit in zip(panel.values, limits)]
        offsets, scales, constant = _scales([p[:, 0] for p in parts], scaler)
        if constant.any():
            names = ", ".join(repr(panel.ids[i]) for i in np.flatnonzero(constant)[:3])
            more = f" and {int(constant.sum()) - 3} more" if constant.sum() > 3 else ""
            warn_caller(f"Series {names}{more} are constant in the training part; their scale is taken as 1.")
        whole = np.concatenate(parts)
        covariates = []
        for k, name in enumerate([*panel.names.past, *panel.names.future], 1):
            seen = whole[:, k][~np.isnan(whole[:, k])]
            if not len(seen):
                raise DataError(f"Column {name!r} has no number in the training part.")
            covariates.append((float(seen.mean()), float(seen.std()) or 1.0))
        static = [
            _static(name, [row[k] for row in panel.static]) for k, name in enumerate(panel.names.static)
        ]
        return cls(scaler, panel.ids, offsets, scales, covariates, static, features)

    @property
    def static_width(self) -> int:
        """Numbers of a series."""
        return sum(part.width for part in self.static)

    def scales_of(self, panel: Panel, limits: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(offset, scale), (S,) each, of the panel's series: as fitted; of new ones by their own first `limits` (S,)
        steps, None: all."""
        place = {name: i for i, name in enumerate(self.ids)}
        rows = np.array([place.get(name, -1) for name in panel.ids])
        offsets, scales = (
            np.where(rows >= 0, self.offsets[rows], 0.0),
            np.where(rows >= 0, self.scales[rows], 1.0),
        )
        new = np.flatnonzero(rows < 0)
        if self.scaler == "global":
            return np.full(len(rows), self.offsets[0]), np.full(len(rows), self.scales[0])
        if len(new):
            ends = panel.counts if limits is None else limits
            own = [panel.values[i][: ends[i], 0] for i in new]
            offsets[new], scales[new], _ = _scales(own, self.scaler)
        return offsets, scales

    def with_series(self, panel: Panel) -> Preparation:
        """With the scales of those of the panel's series that are new, by their own past."""
        fitted = set(self.ids)
        new = [i for i, name in enumerate(panel.ids) if name not in fitted]
        offsets, scales = self.scales_of(panel)
        ids = [*self.ids, *(panel.ids[i] for i in new)]
        both = np.concatenate([self.offsets, offsets[new]]), np.concatenate([self.scales, scales[new]])
        return replace(self, ids=ids, offsets=both[0], scales=both[1])

    def block(
        self,
        panel: Panel,
        future: list[np.ndarray] | None = None,
        extra: int = 0,
        limits: np.ndarray | None = None,
    ) -> Block:
        """The series, each followed by `extra` steps, of the first of which `future` (k, K) each is known. limits: as
        of `scales_of`."""
        offsets, scales = self.scales_of(panel, limits)
        counts = panel.counts + extra
        past_count = len(panel.names.past)
        y, past, known = [], [], []
        for s, values in enumerate(panel.values):
            y.append(np.concatenate([(values[:, 0] - offsets[s]) / scales[s], np.full(extra, np.nan)]))
            beside = values[:, 1:]
            if extra:
                coming = np.full((extra, beside.shape[1]), np.nan)
                if future is not None:
                    coming[: len(future[s]), past_count:] = future[s]
                beside = np.concatenate([beside, coming])
            scaled = [np.nan_to_num((beside[:, k] - m) / d) for k, (m, d) in enumerate(self.covariates)]
            matrix = np.stack(scaled, 1) if scaled else np.zeros((len(beside), 0))
            stamps = panel.calendar.stamps(int(panel.firsts[s]), np.arange(int(counts[s])))
            past.append(matrix[:, :past_count])
            known.append(
                np.concatenate([matrix[:, past_count:], panel.calendar.features(self.features, stamps)], 1)
            )
        return Block(
            np.concatenate(y),
            np.concatenate(past),
            np.concatenate(known),
            self._static_numbers(panel),
            np.concatenate([[0], np.cumsum(counts)]),
        )

    def _static_numbers(self, panel: Panel) -> np.ndarray:
        found = [part.encode([row[k] for row in panel.static])[0] for k, part in enumerate(self.static)]
        return np.concatenate(found, 1) if found else np.zeros((len(panel), 0))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, without ids, offsets and scales."""
        return {
            "scaler": self.scaler,
            "covariates": [list(pair) for pair in self.covariates],
            "static": [{"kind": type(part).__name__, **vars(part)} for part in self.static],
            "features": list(self.features),
        }

    @classmethod
    def from_fields(
        cls, fields: Fields, ids: list[Any], offsets: np.ndarray, scales: np.ndarray
    ) -> Preparation:
        """What `to_dict` saved; `ModelFileError` where it does not hold."""
        covariates = []
        for pair in fields.items("covariates", list):
            mean, scale = Fields({"pair": pair}, fields.where).items("pair", float, 2)
            covariates.append((mean, scale))
        if any(scale <= 0 for _, scale in covariates) or not (np.isfinite(scales) & (scales > 0)).all():
            raise ModelFileError("a scale of the series or of a covariate is not positive.")
        static: list[Numeric | Categorical] = []
        for data in fields.items("static", dict):
            own = Fields(data, f"{fields.where}, 'static',")
            if own.choice("kind", ("Numeric", "Categorical")) == "Numeric":
                scale = own.get("scale", float)
                static.append(
                    Numeric(own.get("name", str), own.get("mean", float), scale, own.get("told", bool))
                )
                if not scale > 0:
                    raise ModelFileError("the scale of a static column must be positive.")
            else:
                categories = own.items("categories", str)
                static.append(Categorical(own.get("name", str), categories, own.get("told", bool)))
        scaler = fields.choice("scaler", SCALERS)
        return cls(scaler, ids, offsets, scales, covariates, static, tuple(fields.items("features", str)))


def _scales(series: list[np.ndarray], scaler: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(offsets, scales, whether constant) of each."""
    if scaler == "global":
        whole = np.concatenate(series)
        mean, scale = float(np.nanmean(whole)), float(np.nanstd(whole))
        return (
            np.full(len(series), mean),
            np.full(len(series), scale or 1.0),
            np.full(len(series), scale == 0),
        )
    offsets, scales = np.zeros(len(series)), np.ones(len(series))
    constant = np.zeros(len(series), bool)
    for s, values in enumerate(series):
        seen = values[~np.isnan(values)]
        if not len(seen):
            continue
        constant[s] = seen.std() <= 1e-12 * max(1.0, float(np.abs(seen).max()))
        if scaler == "standard":
            offsets[s] = seen.mean()
            scales[s] = 1.0 if constant[s] else seen.std()
        elif scaler == "mean":
            scales[s] = np.abs(seen).mean() or 1.0
    return offsets, scales, constant


def _static(name: str, values: Sequence[Any]) -> Numeric | Categorical:
    if all(v is None or (isinstance(v, (int, float)) and not isinstance(v, bool)) for v in values):
        return Numeric.fit(name, values)
    kept = sorted({str(v) for v in values if v is not None})[:MOST]
    return Categorical(name, kept, False)


def read_future(data: Any, panel: Panel, horizon: int) -> list[np.ndarray] | None:
    """The covariates known ahead of the `horizon` steps after each series, (horizon, K) each; None: there are none."""
    names: Names = panel.names
    if not names.future:
        if data is not None:
            raise DataError("The model has no covariates that are known ahead, so it takes no future table.")
        return None
    listed = ", ".join(map(repr, names.future))
    if data is None:
        raise DataError(
            f"The model needs {listed} of the {horizon} steps ahead: pass a table of these with future=."
        )
    given = read_panel(data, names, calendar=panel.calendar, target=False)
    place = {name: i for i, name in enumerate(given.ids)}
    found = []
    for s, name in enumerate(panel.ids):
        if name not in place:
            raise DataError(f"The future table has no row of series {name!r}.")
        g = place[name]
        start = panel.calendar.positions(given.firsts[g : g + 1], int(panel.firsts[s]))[0] - len(
            panel.values[s]
        )
        values = np.full((horizon, len(names.future)), np.nan)
        own = given.values[g]
        first, last = max(start, 0), min(start + len(own), horizon)
        if last > first:
            values[first:last] = own[first - start : last - start]
        missing = np.argwhere(np.isnan(values))
        if len(missing):
            step, k = missing[0]
            at = panel.calendar.stamps(int(panel.firsts[s]), np.array([len(panel.values[s]) + step]))
            shown = panel.stamps.column("", at)[0]
            raise DataError(
                f"The future table has no {names.future[k]!r} of series {name!r} at {names.time} {shown}, "
                f"step {step + 1} of {horizon}."
            )
        found.append(values)
    return found


def calendar_features(names: Any, calendar: Calendar) -> tuple[str, ...]:
    """`time_features` as names: "auto" by the step of the calendar."""
    if names == "auto":
        return calendar.default_features()
    if names and calendar.unit == "steps":
        raise DataError("Stamps that are whole numbers have no time features. Leave time_features empty.")
    return tuple(names)
