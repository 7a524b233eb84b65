"""A fitted estimator as MLflow keeps and calls it: a table in, a table of its predictions out."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unspool import __version__, examples
from unspool.arrays import frame
from unspool.errors import DataError, did_you_mean
from unspool.saved import load

try:
    import mlflow
    import pandas as pd
    from mlflow.pyfunc import PythonModel
except ImportError as error:
    raise ImportError(f"unspool.mlflow needs MLflow: pip install 'unspool[mlflow]'. ({error})") from error

CODE = Path(__file__).with_name("code.py")
ARTIFACT = "model"
_COLUMN = {"text": "text", "ids": "ids", "series": "series", "tokens": "tokens"}


class _Tables:
    """`predict` by itself: MLflow asks for annotations of a class's own, of rows; what comes here is a table."""

    model: Any = None

    def load_context(self, context: Any) -> None:
        """Read the saved model that lies beside the code."""
        self.model = load(context.artifacts[ARTIFACT])

    def predict(self, context: Any, model_input, params=None) -> Any:
        """A DataFrame, a row for each of `model_input`; of a forecaster for each step ahead. See `predictions`."""
        return predictions(self.model, model_input, params or {})


class Answering(_Tables, PythonModel):
    """What MLflow calls. model: the estimator, once MLflow has loaded it."""


def save_model(model: Any, path: str | os.PathLike[str], input_example: Any = None, **options: Any) -> None:
    """Write a fitted estimator to the folder `path`, as an MLflow model.

    input_example: a table as `predict` is to get it; None: one of what the model was fitted on. The signature is
    inferred from it and its predictions. options: of `mlflow.pyfunc.save_model`, such as `pip_requirements` (this
    version of unspool) and `metadata`.

    Raises `DataError` for a model that has no form with one table: recordings, forecasters with covariates that are
    known ahead.
    """
    with tempfile.TemporaryDirectory() as folder:
        mlflow.pyfunc.save_model(os.fspath(path), **_parts(model, folder, input_example), **_own(options))


def log_model(model: Any, name: str = "model", input_example: Any = None, **options: Any) -> Any:
    """Log a fitted estimator in the run that is active; MLflow's ModelInfo.

    options: of `mlflow.pyfunc.log_model`, such as `registered_model_name`; otherwise as `save_model`.
    """
    with tempfile.TemporaryDirectory() as folder:
        parts = _parts(model, folder, input_example)
        return mlflow.pyfunc.log_model(name=name, **parts, **_own(options))


def load_model(model_uri: str) -> Any:
    """The estimator itself of a model that `save_model` or `log_model` wrote, such as "runs:/RUN/model".

    The code that lies beside it is not run. Raises `DataError` where there is no model of ours.
    """
    place = Path(mlflow.artifacts.download_artifacts(artifact_uri=model_uri)) / "artifacts" / ARTIFACT
    if not place.exists():
        raise DataError(f"{model_uri!r} is no model of unspool.mlflow. Load it by mlflow.pyfunc.load_model.")
    return load(place)


def predictions(model: Any, table: Any, params: Mapping[str, Any]) -> pd.DataFrame:
    """What `model` says of a table: a DataFrame of pandas or polars, an Arrow table, or a dict of columns.

    Of regressors and classifiers `columns` of the model; of a tagger a column `tags` of lists, and `label`; of
    `Seq2Seq` its `columns`; of a generator `text`, by the arguments of `generate` in params; of a forecaster the long
    table of `predict`, for params["h"] steps.
    """
    kind = _kind(model)
    if kind == "forecast":
        long = model.predict(h=params.get("h"), df=frame(table))
        return _pandas(long)
    columns = _columns(table, _names(model))
    X: Any = next(iter(columns.values()))
    if kind == "tokens":
        found: dict[str, Any] = {"tags": model.predict(X)}
        if model.labels_ is not None:
            found["label"] = model.predict_labels(X)
    elif kind == "generation":
        found = {"text": model.generate(X, **params)}
    elif kind == "seq2seq":
        found = model.columns(X)
    else:
        if kind == "series":
            X = [np.asarray(list(row), dtype=np.float64) for row in X]
        found = model.columns(X if model.text_column is None else {**columns, model.text_column: X})
    return pd.DataFrame(found)


def _own(options: dict[str, Any]) -> dict[str, Any]:
    """MLflow's options, without those that are ours to say."""
    for name in ("python_model", "artifacts", "loader_module", "data_path", "signature"):
        if name in options:
            raise DataError(f"unspool.mlflow says {name!r} itself. Leave it out.")
    return {"pip_requirements": [f"unspool[mlflow]=={__version__}"], **options}


def _parts(model: Any, folder: str, example: Any) -> dict[str, Any]:
    params = _params(model)
    example = _example(model) if example is None else _pandas(frame(example))
    answer = predictions(model, example, params)
    place = os.path.join(folder, ARTIFACT)
    model.save(place)
    return {
        "python_model": os.fspath(CODE),
        "artifacts": {ARTIFACT: place},
        "signature": mlflow.models.infer_signature(example, answer, params or None),
        "input_example": example,
    }


def _kind(model: Any) -> str:
    """ "text", "ids", "series" or "tokens" by the encoder, "seq2seq", "generation" or "forecast"; `DataError` for what
    has no table of a row a sequence."""
    name = type(model).__name__
    if name == "Forecaster":
        if model.future:
            raise DataError(
                "A forecaster with covariates that are known ahead (future=...) reads two tables, and MLflow gives one."
            )
        return "forecast"
    others = {"Seq2Seq": "seq2seq", "SequenceGenerator": "generation"}
    kind = others.get(name) or getattr(getattr(model, "input_", None), "kind", None)
    if kind is None or (kind not in _COLUMN and kind not in others.values()):
        raise DataError(
            "unspool.mlflow takes fitted estimators of texts, tokens, ids and series. "
            f"Got a {name}{'' if kind is None else f' of {kind}'}."
        )
    return kind


def _names(model: Any) -> list[str]:
    """The columns of the table, the sequences first."""
    kind = _kind(model)
    own = getattr(model, "text_column", None) or {"seq2seq": "text", "generation": "prompt", **_COLUMN}[kind]
    return [own, *examples.beside(model)]


def _params(model: Any) -> dict[str, Any]:
    """Those that MLflow may give beside a table, with their defaults."""
    kind = _kind(model)
    if kind == "forecast":
        return {"h": int(model.horizon)}
    if kind == "generation":
        return {"max_new_tokens": 200, "do_sample": True, "temperature": 1.0, "top_p": 1.0, "random_state": 0}
    return {}


def _example(model: Any) -> pd.DataFrame:
    """A table of what the model was fitted on."""
    if _kind(model) == "forecast":
        panel = model.tail_
        counts = panel.counts
        rows = np.repeat(np.arange(len(panel)), counts)
        found = _pandas(panel.frame(rows, np.concatenate([np.arange(n) for n in counts])))
        values = np.concatenate(panel.values)
        for k, name in enumerate([panel.names.target, *panel.names.past]):
            found[name] = values[:, k]
        for k, name in enumerate(panel.names.static):
            found[name] = [panel.static[s][k] for s in rows]
        return found
    first, *others = _names(model)
    sequences, value = examples.sequences(model), examples.beside(model)
    return pd.DataFrame({first: sequences, **{name: [value[name]] * len(sequences) for name in others}})


def _columns(table: Any, names: list[str]) -> dict[str, list[Any]]:
    """name -> values, a row each; a table of one column may call it as it likes."""
    table = frame(table)
    if not hasattr(table, "columns") and not isinstance(table, Mapping):
        raise DataError(f"The input must be a table with the columns {names}. Got {type(table).__name__}.")
    held = [str(name) for name in (table if isinstance(table, Mapping) else table.columns)]
    if len(held) == len(names) == 1:
        return {names[0]: _values(table[held[0]])}
    for name in names:
        if name not in held:
            hint = did_you_mean(name, held)
            raise DataError(
                f"The table has no column {name!r}. It has {', '.join(map(repr, held))}. {hint}".rstrip()
            )
    return {name: _values(table[name]) for name in names}


def _values(column: Any) -> list[Any]:
    return column.to_list() if hasattr(column, "to_list") else list(column)


def _pandas(table: Any) -> pd.DataFrame:
    """A DataFrame of pandas of one of polars, or a dict."""
    if isinstance(table, pd.DataFrame):
        return table
    if hasattr(table, "get_columns"):  # polars
        return pd.DataFrame(
            {
                c.name: c.to_numpy() if c.dtype.is_numeric() or c.dtype.is_temporal() else c.to_list()
                for c in table.get_columns()
            }
        )
    return pd.DataFrame(dict(table))
