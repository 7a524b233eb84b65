"""`to_onnx`: a layer, a stack or a fitted model to one ONNX file, checked against ONNX Runtime before it is written."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unspool.errors import DataError, check_choice, described
from unspool.estimators.base import SequenceEstimator
from unspool.exporting.checking import Case, difference
from unspool.exporting.forecasts import ForecastGraph
from unspool.exporting.generators import GeneratorGraph
from unspool.exporting.graph import IR_VERSION, Graph
from unspool.exporting.layers import DropIn
from unspool.exporting.models import PARTS, ModelGraph
from unspool.exporting.modules import ModuleGraph
from unspool.exporting.pairs import PairsGraph
from unspool.exporting.taggers import TaggerGraph
from unspool.files import check_place, replacing, write_text
from unspool.forecasting import Forecaster
from unspool.generation import SequenceGenerator
from unspool.nn import Recurrent, Stack
from unspool.program import surroundings
from unspool.seq2seq import Seq2Seq
from unspool.tagging import SequenceTagger

TOKENIZER = "tokenizer.json"
LARGEST = 2**31 - 1  # bytes of a file, which protobuf sets


@dataclass(frozen=True)
class Exported:
    """path: the file. difference: the largest between ONNX Runtime's outputs and ours on the batches tried, relative
    to max(1, |ours|). inputs, outputs: shapes by name, free dimensions as names. operators: how many of each.
    beside: further files that were written. notes: what a user should know."""

    path: Path
    difference: float
    inputs: Mapping[str, tuple]
    outputs: Mapping[str, tuple]
    operators: Mapping[str, int]
    beside: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def to_onnx(
    model: Any,
    path: str | os.PathLike[str],
    *,
    input_size: int | None = None,
    one_step: bool = False,
    initial_state: bool = False,
    part: str = "all",
    level: float | Sequence[float] | None = None,
) -> Exported:
    """Write `model` to `path` as ONNX, after ONNX Runtime gave our numbers with it to 1e-5.

    model: an `unspool.nn.Recurrent`, `Stack`, `LSTM`, `GRU` or `RNN`, or a cell module; or a fitted
        `SequenceRegressor`, `SequenceClassifier`, `SequenceTagger`, `Seq2Seq` or `Forecaster`, or one step of a
        `SequenceGenerator`.
        It is exported in evaluation: dropouts off, zoneout by its mean.
    input_size: features of a step, where the cell has no attribute of that name.
    one_step: one step of the layers, x (B, F), with the state in and out; only of layers without `reverse` and
        `bidirectional`.
    initial_state: make the state that sequences start from an input. Default: the layer's own, maybe learned.
    part: of an estimator whose network is blended with a linear model on TF-IDF, which has no ONNX form: "network"
        leaves that out; "all", the default, is then a `DataError`.
    level: of a `Forecaster`, per cent in (0, 100), one or several: intervals as of `predict`. None: the quantiles that
        it learnt, where intervals="model" and loss="quantile"; of any other the forecasts alone.

    A layer's graph takes x float32 (batch, time, F), (time, batch, F) of a layer with batch_first=False, and lengths
    int64 (batch,) of 0 to time; batch and time are free, 1 or more. Past the end of a sequence outputs are zero and its
    state stays. An estimator's takes ids int64 (batch, time) or x, lengths, and further columns, and gives predictions;
    a `tokenizer.json` beside it makes the ids of texts. A forecaster's takes the past of series (docs/export.md). What
    a program needs to know is in the file's metadata.

    Returns an `Exported`. Raises `EngineError` where a step has no form in ONNX, which it names, where the graph
    differs, and where onnx-ir or onnxruntime is not installed; `DataError` for what cannot be exported. The file is
    written whole or not at all.
    """
    _check_options(model, input_size, one_step, initial_state, part, level)
    with surroundings.defaults(), torch.inference_mode(False):
        whole = (
            ForecastGraph(model, level)
            if isinstance(model, Forecaster)
            else _graph_of(model, input_size, one_step, initial_state, part)
        )
        return write(path, whole.graph, whole.cases(), whole.about(), whole.notes, whole.tokenizer)


def _graph_of(model: Any, input_size: int | None, one_step: bool, initial_state: bool, part: str) -> Any:
    if isinstance(model, nn.Module) and callable(getattr(model, "initial_state", None)):
        module = model if isinstance(model, (Recurrent, Stack, DropIn)) else Recurrent(model)
        return ModuleGraph(module, input_size, one_step, initial_state)
    if isinstance(model, SequenceEstimator):
        return ModelGraph(model, part)
    if isinstance(model, SequenceTagger):
        return TaggerGraph(model)
    if isinstance(model, SequenceGenerator):
        return GeneratorGraph(model)
    if isinstance(model, Seq2Seq):
        return PairsGraph(model)
    if isinstance(model, nn.RNNBase):
        name = type(model).__name__
        raise DataError(
            f"to_onnx takes unspool.nn.{name}, not torch.nn.{name}: build it with the same arguments and load the "
            "state_dict."
        )
    raise DataError(
        "to_onnx takes an unspool.nn.Recurrent, Stack, LSTM, GRU or RNN, a cell, or a fitted SequenceRegressor, "
        f"SequenceClassifier, SequenceTagger, SequenceGenerator, Seq2Seq or Forecaster. Got {described(model)}."
    )


def write(
    path: str | os.PathLike[str],
    graph: Graph,
    cases: list[Case],
    about: Mapping[str, str],
    notes: Sequence[str] = (),
    tokenizer: str | None = None,
) -> Exported:
    """The graph as a file at `path`, once it gave what `cases` expect. about: its metadata. tokenizer: the content of
    a `tokenizer.json` beside it."""
    from unspool import __version__

    path = Path(os.path.expanduser(os.fspath(path)))
    check_place(path)
    beside = [] if tokenizer is None else [_place_of_tokenizer(path, tokenizer)]
    ir, made = graph.ir, graph.finished("unspool")
    model = ir.Model(
        made,
        ir_version=IR_VERSION,
        producer_name="unspool",
        producer_version=__version__,
        metadata_props={f"unspool.{key}": value for key, value in about.items()},
    )
    size = sum(value.const_value.nbytes for value in graph.constants.values())
    if size > LARGEST:
        raise DataError(f"An ONNX file holds 2 GiB at most. The weights alone have {size:,} bytes.")
    content = ir.to_proto(model).SerializeToString()
    apart = difference(content, cases)
    with replacing(path) as file:
        file.write(content)
        file.flush()
        for place in beside:  # put in place just before the graph, once that is written
            write_text(place, tokenizer or "")
    return Exported(
        path,
        apart,
        {value.name: _dims(value) for value in graph.inputs},
        {value.name: _dims(value) for value in graph.outputs},
        dict(Counter(node.op_type for node in graph.nodes)),
        beside=tuple(beside),
        notes=tuple(notes),
    )


def _place_of_tokenizer(path: Path, content: str) -> Path:
    """Where the tokenizer goes. `DataError` where that of another graph is, which would then read other numbers."""
    place = path.with_name(TOKENIZER)
    check_place(place)
    others = [p.name for p in path.parent.glob("*.onnx") if p.name != path.name] if place.exists() else []
    if others and place.read_bytes() != content.encode():
        raise DataError(
            f"{str(place)!r} is another model's, maybe that of {others[0]!r} beside it, which would then read other "
            "numbers. Export to another folder, or remove it."
        )
    return place


def _check_options(
    model: Any, input_size: Any, one_step: bool, initial_state: bool, part: str, level: Any
) -> None:
    """`DataError` and `InvalidParameterError` for options that do not go with each other, or with `model`."""
    check_choice("to_onnx", "part", part, PARTS)
    if one_step and initial_state:
        raise DataError("With one_step=True the state is an input anyway: leave initial_state out.")
    if isinstance(model, (SequenceEstimator, SequenceTagger, SequenceGenerator, Seq2Seq, Forecaster)):
        given = {"input_size": input_size is not None, "one_step": one_step, "initial_state": initial_state}
        for name in (name for name, there in given.items() if there):
            raise DataError(
                f"{name} goes with layers, not with a fitted {type(model).__name__}: leave it out."
            )
    if part != "all" and not isinstance(model, SequenceEstimator):
        raise DataError(f"part={part!r} goes with regressors and classifiers alone: leave it out.")
    if level is not None and not isinstance(model, Forecaster):
        raise DataError("level goes with a Forecaster, whose intervals it sets: leave it out.")


def _dims(value: Any) -> tuple:
    return tuple(d if isinstance(d, int) else d.value for d in value.shape)
