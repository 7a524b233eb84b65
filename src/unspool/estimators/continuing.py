"""A fitted model that learns on: `warm_start` and `partial_fit`."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from unspool.arrays import as_they_are, unwrapped
from unspool.encode import new_input
from unspool.errors import DataError, bad_parameter, described
from unspool.estimators import building
from unspool.estimators.by_kind import training_of
from unspool.estimators.network import members_of
from unspool.parameters import check_parameters
from unspool.tasks import Classification, Ordinal
from unspool.tasks.classification import class_labels
from unspool.tasks.reading import read_weights
from unspool.training.device import seeded
from unspool.training.parallel import same_random

if TYPE_CHECKING:
    from unspool.estimators.base import SequenceEstimator


def network_of(model: SequenceEstimator) -> Any:
    """A network by the parameters as they are now, with the weights of the fitted one; `InvalidParameterError` where
    they do not fit into it."""
    before, members = model.network_.state_dict(), members_of(model.network_)
    model.ensemble_ = model.ensemble
    network = model._build_network()
    cells = [type(m.stack.layers[0].cell) for m in (members[0], members_of(network)[0])]
    if cells[0] is not cells[1]:
        _changed(model, f"its cell is {cells[0].__name__}, not {cells[1].__name__}")
    after = network.state_dict()
    for name in [*before, *(name for name in after if name not in before)]:
        shapes = [None if name not in state else tuple(state[name].shape) for state in (before, after)]
        if shapes[0] != shapes[1]:
            shown = ["absent" if shape is None else f"of shape {shape}" for shape in shapes]
            model.ensemble_ = len(members)
            _changed(model, f"its weight {name!r} is {shown[0]}, and would be {shown[1]}")
    network.load_state_dict(before)
    return network


def _changed(model: SequenceEstimator, what: str) -> None:
    bad_parameter(
        type(model).__name__,
        "warm_start",
        "False where other parameters change the network's shape",
        True,
        f"To go on from the fitted network: {what}. Set the parameters back, or fit a new model.",
    )


def partial_fit(model: SequenceEstimator, X: Any, y: Any, classes: Any, sample_weight: Any) -> None:
    """One pass over X in place; see `SequenceEstimator.partial_fit`."""
    settings = model.get_params(deep=False)
    check_parameters(type(model).__name__, settings)
    first = not hasattr(model, "network_")
    raw = model._read(X, None if first else model.input_.kind)
    rows = np.arange(len(raw))
    fresh = (model.kind_of(y) if first else type(model.task_)).new(settings)
    if isinstance(fresh, Classification) and not isinstance(fresh, Ordinal):
        known = _classes(model, classes, first)
        fresh.classes = known
    elif isinstance(fresh, Ordinal):
        _check_order(fresh, classes, first)
    elif classes is not None:
        raise DataError("Several labels a sequence are those of y's columns: leave classes out.")
    task = fresh if first else copy.copy(model.task_)
    learn = first and (isinstance(fresh, Ordinal) or not isinstance(fresh, Classification))
    target = task.read(y, len(raw), learn=learn)
    weights = read_weights(sample_weight, len(raw), model.task.per_step)
    random = same_random(model.random_state)
    if first:
        building.check_kind(model, raw.kind)
        model.task_ = task
        model.input_ = new_input(raw.kind, settings).fit(raw)
        model.columns_ = model._new_columns(raw)
        if raw.names is not None:
            model.feature_names_in_ = np.array(raw.names, dtype=object)
        task.fit(target)
    else:
        task.renew(fresh, target)
        model.task_ = task
    model.__dict__.pop("frozen_", None)
    training = model._data(raw, target, weights, rows)
    seed = int(random.randint(2**31 - 1))
    chosen = building.settings(model, training_of(model, raw.kind, len(raw), task.has_classes))
    once = replace(chosen, epochs=1, patience=None, average=0.0, schedule="constant", warmup=0)
    device = model._device()
    with seeded(seed, device):
        if first:
            model.ensemble_ = model.ensemble
            model.linear_ = model.blend_ = None
            model.network_ = model._build_network()
        else:
            model.network_ = network_of(model)
        model._train(training, None, seed, [], once, device)
    model._finish()


def _check_order(fresh: Ordinal, classes: Any, first: bool) -> None:
    if classes is not None or (first and isinstance(fresh.order, str)):
        raise DataError("partial_fit of ordered classes needs order, a list of all of them, and no classes.")


def _classes(model: Any, classes: Any, first: bool) -> np.ndarray:
    if classes is None:
        if first:
            raise DataError(
                "classes, all that there will be, must be given at the first call of partial_fit."
            )
        return model.task_.classes
    try:
        if isinstance(classes, (str, bytes, Mapping)):
            raise DataError(f"Got {described(classes)}.")
        known = np.unique(class_labels(as_they_are(unwrapped([*classes]))))
    except (DataError, TypeError) as error:
        raise DataError(f"classes must be a list of all labels that there will be. {error}") from error
    if len(known) < 2:
        raise DataError(f"classes must be two or more. Got {known.tolist()}.")
    if not first and not np.array_equal(known, model.task_.classes):
        raise DataError(
            f"classes must be those of the first fit, {model.task_.classes.tolist()}. Got {known.tolist()}."
        )
    return known
