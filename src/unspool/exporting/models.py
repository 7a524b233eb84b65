"""A fitted estimator as a whole graph: ids or series in, predictions out; and the batches that it is checked on."""

from __future__ import annotations

import copy
import json

import numpy as np
import torch

from unspool.encode import AudioInput, TextInput
from unspool.errors import DataError, check_fitted
from unspool.estimators.base import SequenceEstimator
from unspool.exporting.answers import answer, expected, units
from unspool.exporting.checking import SHAPES, Case, lengths_for
from unspool.exporting.graph import Graph
from unspool.exporting.inputs import random_columns, random_inputs, sequence_input
from unspool.exporting.networks import outputs_of

PARTS = ("all", "network")


class ModelGraph:
    """Of a `SequenceRegressor` or `SequenceClassifier`. part: "network" leaves a blend's linear part away.

    tokenizer: what makes ids of texts, as JSON of the tokenizers library; None where X is no text. notes: for the user.
    """

    def __init__(self, model: SequenceEstimator, part: str) -> None:
        check_fitted(model)
        self.notes: list[str] = []
        if model.linear_ is not None and part == "all":
            raise DataError(
                "This model blends its network with a linear model on TF-IDF, which reads the text itself and has no "
                "ONNX form. Export the network alone with part='network' (--part network), after measuring it "
                "(model.network_alone()), or fit with blend=False."
            )
        if model.task.per_step:
            raise DataError("There is no ONNX form of a model with a target a step.")
        if model.linear_ is not None and model.blend_ is not None:
            share = model.blend_.share
            self.notes.append(
                f"The network alone: the model's predictions have {1 - share:.0%} of a linear model on TF-IDF, which "
                "this graph leaves out."
            )
        if isinstance(model.input_, AudioInput):
            self.notes.append("Steps are spectra, as model.input_.spectrum(sound) gives them, not samples.")
        self.model = copy.copy(model.network_alone())
        self.model.__dict__.pop("frozen_", None)
        self.graph, task = Graph(), model.task_
        network = copy.deepcopy(model.network_).cpu().eval()
        given = sequence_input(self.graph, model.input_, model.columns_)
        answer(self.graph, task, outputs_of(self.graph, network, given))
        self.tokenizer: str | None = None
        if isinstance(model.input_, TextInput):
            self.tokenizer = model.input_.encoder.tokenizer().to_str(pretty=True)

    def about(self) -> dict[str, str]:
        """Metadata: what a program needs beside the graph, as JSON."""
        model = self.model
        found = {
            "model": type(model).__name__,
            "description": model.describe(),
            "input": json.dumps(model.input_.to_dict()),
            "task": model.task_.name,
            "notes": " ".join(self.notes),
        }
        if model.columns_ is not None:
            found["columns"] = json.dumps(model.columns_.to_dict())
        if hasattr(model.task_, "classes"):
            found["classes"] = json.dumps(model.task_.classes.tolist())
        return found

    def cases(self) -> list[Case]:
        """Batches of several sizes, ragged, with the estimator's own answers."""
        random = np.random.RandomState(0)
        return [self.case(batch, time, random) for batch, time in SHAPES]

    def case(self, batch: int, time: int, random: np.random.RandomState) -> Case:
        """One batch of random inputs."""
        model, lengths = self.model, lengths_for(batch, time, random)
        feeds, inputs = random_inputs(model.input_, batch, time, lengths, random)
        more, columns = random_columns(model.columns_, batch, random)
        with torch.no_grad():
            outputs = model._network_outputs(inputs, columns)
        own = expected(model.task_, outputs)
        return Case({**feeds, "lengths": lengths, **more}, own, units(model.task_))
