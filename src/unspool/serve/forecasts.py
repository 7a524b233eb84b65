"""A served forecaster: a long table in, the long table of the steps ahead out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unspool.errors import DataError, InvalidParameterError
from unspool.forecasting.answers import check_reach
from unspool.forecasting.levels import Wanted
from unspool.serve.errors import RequestError
from unspool.serve.rows import Rows
from unspool.serve.served import Served, Spec, records

_LEVELS = 20  # intervals of a request


class Forecasts(Served):
    """A long table, a tensor [N] a column as `fit` had it -> the long table of the steps ahead, N' = series x h.

    Time stamps are INT64 where `fit` had whole numbers, and text otherwise. The parameters of a request: `h`, steps,
    the horizon; `level`, per cent, one or a list, of intervals: further columns lo-80, hi-80.
    """

    drawn, streamed = "", False
    options = ("h", "level")

    def _check(self) -> None:
        self.kind, self.text_column = "table", None
        if self.model.future:
            raise DataError(
                f"The forecaster {self.name!r} has covariates that are known ahead (future=...), which a request has "
                "no table for. Call predict, or fit one without them."
            )
        panel = self.model.tail_
        self.names = panel.names
        self.whole_time = panel.stamps.kind == "int"
        self.whole_ids = bool(panel.id_type.is_integer())
        self.level = self._level()

    def _level(self) -> float | None:
        """Per cent of the widest of the usual intervals that the model has; None: it has none."""
        model, levels = self.model, [90.0, 80.0, 50.0]
        if model.intervals == "model" and model.loss == "quantile":
            pairs = [
                q for q in model.quantiles if any(abs(1 - q - other) < 1e-9 for other in model.quantiles)
            ]
            levels = sorted({round(100 * (1 - 2 * q), 6) for q in pairs if q < 0.5}, reverse=True)
        for level in levels:
            try:
                check_reach(model, 1, Wanted.of(level, None))
                if model.intervals == "conformal":
                    model.scores_.widths(level / 100, model.scores_.series[:1], model.horizon)
                return level
            except DataError:
                continue
        return None

    def _columns(self) -> list[Spec]:
        found = (
            []
            if self.names.id is None
            else [Spec(self.names.id, "INT64" if self.whole_ids else "BYTES", (-1,))]
        )
        found.append(Spec(self.names.time, "INT64" if self.whole_time else "BYTES", (-1,)))
        return [*found, Spec(self.names.target, "FP64", (-1,))]

    def _inputs(self) -> list[Spec]:
        first = self.model.tail_.static[0] if self.names.static else ()
        kinds = ["BYTES" if isinstance(value, str) else "FP64" for value in first]
        past = [Spec(name, "FP64", (-1,)) for name in self.names.past]
        return [*self._columns(), *past, *(Spec(n, k, (-1,)) for n, k in zip(self.names.static, kinds))]

    def _outputs(self) -> list[Spec]:
        return self._columns()

    def checked(self, given: Mapping[str, Any]) -> dict[str, Any]:
        h = given.get("h", self.model.horizon)
        if type(h) is not int or not 1 <= h <= self.limits.tokens:
            raise RequestError(
                422, f"The parameter 'h' must be an int in [1, {self.limits.tokens}]. Got {h!r:.40}."
            )
        return {"h": h, "level": _levels(given.get("level"))}

    def rows(self, tensors: Mapping[str, np.ndarray]) -> Rows:
        self._check_names(tensors)
        sizes = {name: array.size for name, array in tensors.items()}
        if len(set(sizes.values())) > 1 or any(array.ndim != 1 for array in tensors.values()):
            raise RequestError(422, f"Each column must have shape [N], N rows. Got {sizes}.")
        for spec in self.inputs:
            self._check_type(spec, tensors[spec.name])
        count = next(iter(sizes.values()))
        if not count:
            raise RequestError(422, "The request holds no row. Give one at least.")
        if count > self.limits.steps:
            raise RequestError(413, f"A table may have {self.limits.steps:,} rows. Got {count:,}.")
        rows = Rows(lengths=np.array([count], np.int64))
        rows.columns = {name: array.tolist() for name, array in tensors.items()}
        return rows

    def answer(self, parts: Sequence[Rows]) -> list[dict[str, np.ndarray]]:
        return [self._forecast(part) for part in parts]

    def outputs_of(self, options: Mapping[str, Any]) -> list[Spec]:
        wanted = Wanted.of(options.get("level"), None)
        return [*self.outputs, *(Spec(name, "FP64", (-1,)) for name in dict.fromkeys(wanted.names))]

    def _forecast(self, part: Rows) -> dict[str, np.ndarray]:
        level = part.options.get("level")
        found = self.model.predict(h=part.options.get("h"), df=part.columns, level=level)
        answer = {}
        for spec in self.outputs_of(part.options):
            column = np.asarray(found[spec.name])
            if spec.datatype == "BYTES":
                column = np.array([str(value) for value in column.tolist()], dtype=object)
            answer[spec.name] = column.astype(np.float64) if spec.datatype == "FP64" else column
        return answer

    def predictions(self, outputs: Mapping[str, np.ndarray]) -> list[Any]:
        """A record a step ahead."""
        return records(outputs)

    def parameters(self) -> dict[str, Any]:
        columns = {"id": self.names.id, "time": self.names.time, "target": self.names.target}
        return {
            **super().parameters(),
            "columns": columns,
            "horizon": self.model.horizon,
            "level": self.level,
        }

    def example(self) -> list[dict[str, Any]]:
        """The end of the first series."""
        panel = self.model.tail_
        steps = int(panel.counts[0])
        frame = panel.frame(np.zeros(steps, np.int64), np.arange(steps))
        values = panel.values[0]
        columns: dict[str, list[Any]] = {name: frame[name].to_list() for name in frame.columns}
        for k, name in enumerate([self.names.target, *self.names.past]):
            columns[name] = [None if np.isnan(v) else float(f"{v:.6g}") for v in values[:, k]]
        for name, value in zip(self.names.static, panel.static[0] if panel.static else ()):
            columns[name] = [value] * steps
        found = []
        for spec in self.inputs:
            data = columns[spec.name]
            data = [str(v) for v in data] if spec.datatype == "BYTES" else data
            found.append({"name": spec.name, "datatype": spec.datatype, "shape": [steps], "data": data})
        return found


def _levels(given: Any) -> Any:
    """`given`; `RequestError` 422 for what is no level of an interval."""
    if isinstance(given, list) and len(given) > _LEVELS:
        raise RequestError(422, f"'level' may be {_LEVELS} levels. Got {len(given)}.")
    try:
        Wanted.of(given, None)
    except InvalidParameterError as error:
        raise RequestError(422, str(error)) from error
    return given
