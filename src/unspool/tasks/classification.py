"""One of two or more classes for each sequence."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import scipy
import torch
from torch import Tensor

from unspool.arrays import check_texts, frame, is_missing, named_matrix
from unspool.errors import DataError, ModelFileError, bad_parameter, warn_caller
from unspool.evaluation.baselines import Baseline, classification_baselines, majority_baseline
from unspool.evaluation.metrics import CLASSIFICATION, classification_metrics
from unspool.saved.fields import Fields
from unspool.tasks import calibration, conformal
from unspool.tasks.base import Measured, Task
from unspool.tasks.reading import read_labels
from unspool.training.losses import ClassLoss

if TYPE_CHECKING:
    from unspool.tables import Table

SMOOTHING = 0.1
_SAVED_KINDS = {"U": str, "i": int, "u": int, "f": float, "b": bool, "O": str}


class Classification(Task):
    """Classes by cross-entropy, with smoothed labels and weights of classes where asked; labels of any one type.

    classes (C,): the labels, sorted. temperature: what logits are divided by, of held-back rows where `calibrate`.
    """

    name = "classification"
    has_classes = True
    outputs_are = "classes"
    metrics: ClassVar[Mapping[str, tuple[str, bool]]] = CLASSIFICATION
    default_metric = "accuracy"

    classes: np.ndarray

    def __init__(self, smoothing: float = 0.0, class_weight: Any = None) -> None:
        self.criterion = ClassLoss(smoothing)
        self.class_weight = class_weight
        self.scores: conformal.Scores | None = None
        self.calibrate, self.temperature = False, 1.0

    @classmethod
    def new(cls, settings: Mapping[str, Any]) -> Classification:
        """settings: the estimator's parameters; `InvalidParameterError` for those of the other task."""
        only_classes(settings)
        smoothing = settings["label_smoothing"]
        task = cls(SMOOTHING if smoothing is None else smoothing, settings["class_weight"])
        task.calibrate = calibration.asked(settings)
        return task

    def read(self, y: Any, count: int, learn: bool) -> np.ndarray:
        """Class numbers (n,) int64."""
        labels = class_labels(read_labels(y, count))
        if learn:
            _tell_near_ones(labels)
            classes = np.unique(labels)
            if len(classes) < 2:
                raise DataError(f"y must have two classes or more. Got 1 class: {classes.tolist()[0]!r}.")
            self.classes = classes
        numbers = np.searchsorted(self.classes, labels).clip(max=len(self.classes) - 1)
        strange = self.classes[numbers] != labels
        if strange.any():
            raise DataError(
                f"y has a class that the model was not fitted with: {labels[strange].tolist()[0]!r}. "
                f"It has {', '.join(map(repr, self.classes.tolist()[:10]))}."
            )
        return numbers.astype(np.int64)

    def fit(self, target: Any) -> None:
        """The classes' weights, brought to a mean of 1 over the rows of `target`."""
        if self.class_weight is None:
            return
        from sklearn.utils.class_weight import compute_class_weight

        try:
            found = compute_class_weight(self.class_weight, classes=self.classes, y=self.classes[target])
        except ValueError as error:
            raise DataError(
                f"class_weight does not fit the classes {self.classes.tolist()}. {error}"
            ) from error
        found = found / found[target].mean()
        self.criterion.class_weight = torch.from_numpy(found.astype(np.float32))

    def renew(self, fresh: Classification, target: Any) -> None:
        """The losses and weights of `fresh`; the weights of classes from those that `target` has."""
        self.criterion, self.class_weight = fresh.criterion, fresh.class_weight
        self.fit(target)

    def encode(self, target: Any) -> Tensor:
        """Class numbers (n,)."""
        return torch.from_numpy(target)

    def named_classes(self, target: Any) -> np.ndarray:
        """The labels (n,)."""
        return self.classes[target]

    @property
    def output_size(self) -> int:
        """C, the number of classes."""
        return len(self.classes)

    def decode(self, outputs: Any) -> np.ndarray:
        """The most probable label of each sequence, (n,)."""
        return self.classes[outputs.argmax(1)]

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """float64 (n, C), rows adding up to 1, columns in the order of `classes`."""
        return scipy.special.softmax(outputs / self.temperature, axis=1)

    def tune(self, outputs: np.ndarray, target: Any) -> None:
        """The temperature, and what the true classes of held-back rows lack in probability (Sadinle, Lei, Wasserman
        2019, arXiv:1609.00451)."""
        weight = self.criterion.class_weight
        weights = None if weight is None else weight.numpy().astype(np.float64)
        self.temperature = calibration.temperature(outputs, target, weights) if self.calibrate else 1.0
        self.scores = conformal.Scores.of(
            1 - self.probabilities(outputs)[np.arange(len(target)), target][:, None]
        )

    def covering(self, outputs: Any, level: int) -> np.ndarray:
        """bool (n, C): the classes of a set, in the order of `classes`; the most probable one is always among them."""
        limit = conformal.needed(self.scores).limit(level)[0]
        shares = self.probabilities(outputs)
        return (1 - shares <= limit) | (shares == shares.max(1, keepdims=True))

    def covering_columns(self, outputs: Any, names: Sequence[str], level: int) -> dict[str, np.ndarray]:
        """NAME_set: the classes, joined by |."""
        labels = [str(c) for c in self.classes]
        sets = self.covering(outputs, level)
        return {
            f"{names[0]}_set": np.array(
                ["|".join(c for c, there in zip(labels, row) if there) for row in sets]
            )
        }

    def columns(self, outputs: Any, names: Sequence[str]) -> dict[str, np.ndarray]:
        """The label, then probability_<class> for each class."""
        (name,) = names
        shares = {f"probability_{c}": p for c, p in zip(self.classes, self.probabilities(outputs).T)}
        return {name: self.decode(outputs), **shares}

    def to_dict(self) -> dict[str, Any]:
        kind = self.classes.dtype.kind
        values = self.classes.tolist()
        if kind not in _SAVED_KINDS or not all(type(v) is _SAVED_KINDS[kind] for v in values):
            expected = "str, int, float or bool to be saved"
            bad_parameter("SequenceClassifier", "y", expected, values[0], "Convert the labels.")
        dtype = "object" if kind == "O" else "str" if kind == "U" else self.classes.dtype.name
        limits = {} if self.scores is None else {"limits": self.scores.to_list()}
        return {"dtype": dtype, "classes": values, **limits, **calibration.to_dict(self.temperature)}

    @staticmethod
    def _in_order(classes: np.ndarray) -> bool:
        return bool((classes[1:] > classes[:-1]).all())

    @classmethod
    def from_fields(cls, fields: Fields) -> Classification:
        task = cls()
        names = ["object", "str", "bool", "float16", "float32", "float64"]
        names += [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
        dtype = np.dtype(fields.choice("dtype", names))
        values: list[Any] = fields.items("classes", _SAVED_KINDS[dtype.kind])
        try:
            task.classes = np.array(values, dtype=dtype)
        except OverflowError as error:
            raise ModelFileError(f"the classes do not fit their type ({error}).") from error
        if len(values) < 2 or not cls._in_order(task.classes):
            raise ModelFileError("the classes must be two or more, different and sorted.")
        task.scores = conformal.read(fields, 1)
        task.temperature = calibration.read(fields)
        return task

    @classmethod
    def read_columns(cls, table: Table, names: Sequence[str]) -> np.ndarray:
        from unspool.tables import label_column

        return label_column(table, names[0])

    @classmethod
    def measure(cls, model: Any, X: Any, y: np.ndarray) -> Measured:
        probabilities, classes = np.asarray(model.predict_proba(X)), np.asarray(model.classes_)
        metrics = classification_metrics(y, probabilities, classes)
        return Measured(classes[probabilities.argmax(1)], [metrics], probabilities, classes)

    @classmethod
    def baselines(
        cls,
        X: Any,
        y: np.ndarray,
        *,
        level: str,
        validation: tuple[Any, np.ndarray] | None,
        seed: int,
        settings: Mapping[str, Any] | None = None,
    ) -> list[Baseline]:
        if X is None:
            return [majority_baseline(y)]
        return classification_baselines(
            X, y, level=level, validation=validation, seed=seed, settings=settings
        )

    @classmethod
    def plot(cls, path: str | Path, y: np.ndarray, found: Measured, targets: Sequence[str]) -> None:
        from unspool.evaluation.plots import plot_confusion

        assert found.classes is not None
        strange = sorted({*y.tolist()} - {*found.classes.tolist()}, key=str)
        plot_confusion(path, y, found.predicted, [*found.classes.tolist(), *strange])


def like_classes(labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """`labels` (n,) by the type of `classes`, such as a table's "true" and "1" for True: each the class that is
    written alike, or the label as it is where there is none."""
    if labels.dtype.kind == classes.dtype.kind:
        return labels
    known = {_written(value): value for value in classes.tolist()}
    if classes.dtype.kind == "b":
        known |= {"1": True, "0": False}
    found = [known.get(_written(value), value) for value in labels.tolist()]
    if all(type(value) is type(classes.tolist()[0]) for value in found):
        return np.array(found, dtype=None if classes.dtype.kind in "US" else classes.dtype)
    return np.array([*found, None], dtype=object)[:-1]


def _written(value: Any) -> str:
    whole = isinstance(value, float) and value.is_integer()
    text = str(int(value)) if whole else str(value).strip()
    return text.lower() if text.lower() in ("true", "false") else text


def only_classes(settings: Mapping[str, Any]) -> None:
    """`InvalidParameterError` for the parameters of a loss of numbers."""
    for name, default in (("loss", "squared"), ("quantile", 0.5)):
        if settings[name] != default:
            expected = f"left at {default!r}: classes have cross-entropy"
            bad_parameter("SequenceClassifier", name, expected, settings[name])


def several_labels(y: Any) -> bool:
    """Whether y (n, C) holds zeros and ones, C two or more, and not just one 1 in each row."""
    try:
        y = frame(y)
        found = read_labels(named_matrix(y)[1] if hasattr(y, "columns") else y, len(y))
    except (DataError, TypeError, ValueError):
        return False  # `read` says why
    if found.ndim != 2 or found.shape[1] < 2 or found.dtype.kind not in "biuf":
        return False
    return bool(np.isin(found, (0, 1)).all() and (found.sum(1) != 1).any())


def class_numbers(y: np.ndarray) -> np.ndarray:
    """y as it is, or of one-hot rows (n, C) the columns' numbers (n,). `DataError` for rows of several labels."""
    if y.ndim != 2 or y.shape[1] < 2 or y.dtype.kind not in "biuf" or not np.isin(y, (0, 1)).all():
        return y
    several = np.flatnonzero(y.sum(1) != 1)
    if len(several):
        row = int(several[0])
        raise DataError(
            f"y must have one label a sequence, as in training. Row {row} of y {y.shape} has {int(y[row].sum())} ones. "
            "Several labels a sequence need a model that was fitted on such rows."
        )
    return y.argmax(1)


def _tell_near_ones(labels: np.ndarray) -> None:
    """Warn of labels that differ in case, blanks or Unicode form only."""
    if labels.dtype.kind not in "UO":
        return
    spellings: dict[str, list[str]] = {}
    for label in dict.fromkeys(labels.tolist()):
        if isinstance(label, str):
            seen = "".join(c for c in unicodedata.normalize("NFKC", label) if unicodedata.category(c) != "Cf")
            same = " ".join(seen.casefold().split())
            spellings.setdefault(same, []).append(label)
    near = [group for group in spellings.values() if len(group) > 1]
    if near:
        shown = "; ".join(", ".join(map(repr, sorted(group))) for group in near[:3])
        warn_caller(
            f"Some labels differ in case or blanks only, and are classes of their own: {shown}"
            f"{'; ...' if len(near) > 3 else ''}. If they are meant to be one, write them alike.",
        )


def class_labels(y: np.ndarray) -> np.ndarray:
    """(n,) labels of one type, of y as `read_labels` gives it; `DataError` for what is none."""
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import column_or_1d

    y = class_numbers(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = column_or_1d(y, warn=True)
    if y.ndim != 1:
        raise DataError(f"y must have one label a sequence, shape (n,). Got shape {y.shape}.")
    missing = [i for i, v in enumerate(y) if is_missing(v)]
    if missing:
        raise DataError(
            f"y must have a label in every row. Got none in row {missing[0]} ({len(missing)} in all)."
        )
    types = sorted({type(v).__name__ for v in y}) if y.dtype.kind == "O" else []
    if len(types) > 1 and ("str" in types or "bool" in types):
        raise DataError(f"y must be labels of one type. Got {', '.join(types)}.")
    if len(y) and not isinstance(y[0], (str, int, float, np.bool_, np.integer, np.floating)):
        got = f"{type(y[0]).__name__}, such as {y[0]!r:.60}"
        raise DataError(
            f"y must be texts, whole numbers or booleans. Got {got}. Make texts of them: map(str, y)."
        )
    if types and all(isinstance(v, (bool, int, float, np.number, np.bool_)) for v in y):
        plain = np.array(y.tolist())  # of a table's column of objects
        y = plain if plain.dtype.kind in "iub" or "float" in types[0] else y
    if types == ["int"] and y.dtype.kind == "O" and not all(-(2**63) <= v < 2**64 for v in y):
        raise DataError("y holds whole numbers beyond 64 bits. Make texts of them: list(map(str, y)).")
    labels = {v for v in y if isinstance(v, str)}
    check_texts(labels, "y")
    zero = next((label for label in labels if label.endswith("\0")), None)
    if zero is not None:
        raise DataError(
            f"y has a label that ends in a zero character, {zero!r}, which NumPy leaves out. Strip it."
        )
    try:
        if y.dtype.kind == "f" and not np.isfinite(y).all():
            raise DataError("y must be finite. Got infinity.")
        check_classification_targets(y)
        np.unique(y)
    except (ValueError, TypeError) as error:
        raise DataError(f"y must be labels of one type. {error}") from error
    return y
