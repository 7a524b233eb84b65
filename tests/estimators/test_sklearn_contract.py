"""scikit-learn's own checks; the ones left out are named with the reason."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from unspool import SequenceClassifier, SequenceRegressor

SETTINGS: dict[str, Any] = {
    "hidden_size": 4,
    "embedding_dim": 3,
    "batch_size": 8,
    "epochs": 3,
    "learning_rate": 0.05,
    "early_stopping": False,
    "random_state": 0,
    "verbose": 0,
}

_STEPS = "a row of X is a sequence of any length: its columns are steps, not features"
_ROUNDS = "three epochs of a recurrent network do not learn the check's data"
LEFT_OUT = {
    "check_n_features_in": _STEPS,
    "check_n_features_in_after_fitting": _STEPS,
    "check_dont_overwrite_attributes": _STEPS,
    "check_estimators_partial_fit_n_features": _STEPS,
    "check_classifiers_train": _ROUNDS,
    "check_regressors_train": _ROUNDS,
    "check_sample_weight_equivalence_on_dense_data": "weight 2 is one step with twice the loss, not two rows",
    "check_sample_weights_invariance": "weight 2 is one step with twice the loss, not two rows",
}


def left_out(estimator: Any) -> dict[str, str]:
    return LEFT_OUT


@parametrize_with_checks(
    [SequenceRegressor(**SETTINGS), SequenceClassifier(**SETTINGS)], expected_failed_checks=left_out
)
def test_scikit_learn_check(estimator: Any, check: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


@pytest.mark.parametrize("cls", [SequenceRegressor, SequenceClassifier])
def test_parameters_are_stored_as_they_come(cls: Any) -> None:
    dense = [3, 4]
    model = cls(dense=dense, cell="gru", random_state=3)
    assert model.dense is dense
    copy = clone(model.set_params(hidden_size=-1))
    assert copy.get_params() == model.get_params() and copy.hidden_size == -1
