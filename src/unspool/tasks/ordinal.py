"""One of several classes that have an order, such as grades or stars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from unspool.errors import DataError, bad_parameter
from unspool.evaluation.baselines import Baseline, ordinal_baselines
from unspool.evaluation.metrics import ORDINAL, ordinal_metrics
from unspool.tasks import calibration
from unspool.tasks.base import Measured
from unspool.tasks.classification import Classification, class_labels, like_classes, only_classes
from unspool.tasks.reading import read_labels

if TYPE_CHECKING:
    from unspool.tables import Table


class Ordinal(Classification):
    """Ordered classes by cumulative logits (`unspool.heads.Ordered`), fitted by their cross-entropy.

    classes (C,): from the lowest to the highest. Given is the median of the probabilities, the lowest class at or below
    which half of the probability lies, since that has the least expected error in ranks.
    """

    name = "ordinal"
    metrics: ClassVar[Mapping[str, tuple[str, bool]]] = ORDINAL
    default_metric = "kappa"

    order: Any = "auto"
    starts: Tensor | None = None

    @classmethod
    def new(cls, settings: Mapping[str, Any]) -> Ordinal:
        """settings: the estimator's parameters; `InvalidParameterError` for those of other tasks."""
        only_classes(settings)
        for name in ("label_smoothing", "multilabel"):
            if settings[name] not in (None, False, 0):
                bad_parameter("SequenceClassifier", name, "None for classes with an order", settings[name])
        task = cls(0.0, settings["class_weight"])
        task.order = settings["order"]
        task.calibrate = calibration.asked(settings)
        return task

    def read(self, y: Any, count: int, learn: bool) -> np.ndarray:
        """Ranks (n,) int64 of labels (n,); `DataError` for a label that the order has not."""
        labels = class_labels(read_labels(y, count))
        if learn:
            self.classes = _ordered(self.order, y, labels)
        return ranks(labels, self.classes)

    def fit(self, target: Any) -> None:
        """The weights of the classes, and thresholds by their shares."""
        super().fit(target)
        shares = np.bincount(target, minlength=len(self.classes)) + 0.5
        above = 1 - (shares / shares.sum()).cumsum()[:-1]
        self.starts = torch.from_numpy(np.log((1 - above) / above).astype(np.float32))

    @property
    def thresholds_start(self) -> Tensor:
        """(C - 1,): logits of the classes' shares below each."""
        return torch.arange(len(self.classes) - 1.0) if self.starts is None else self.starts

    def decode(self, outputs: Any) -> np.ndarray:
        """The median class of each sequence, (n,)."""
        return self.classes[median(self.probabilities(outputs))]

    def covering(self, outputs: Any, level: int) -> np.ndarray:
        """bool (n, C): a run of classes, with all between the lowest and the highest that the level needs."""
        found = super().covering(outputs, level)
        return np.maximum.accumulate(found, 1) & np.maximum.accumulate(found[:, ::-1], 1)[:, ::-1]

    @staticmethod
    def _in_order(classes: np.ndarray) -> bool:
        return len({*classes.tolist()}) == len(classes)

    @classmethod
    def settings_for(cls, settings: Mapping[str, Any], table: Table, names: Sequence[str]) -> dict[str, Any]:
        """The order: that of --order, of a column of ordered categories, or of numbers."""
        labels = cls.read_columns(table, names)
        given = settings["order"] if settings["order"] is not None else table.orders.get(names[0], "auto")
        return {"order": _ordered(given, labels, labels).tolist()}

    @classmethod
    def measure(cls, model: Any, X: Any, y: np.ndarray) -> Measured:
        probabilities, classes = np.asarray(model.predict_proba(X)), np.asarray(model.classes_)
        predicted, true = median(probabilities), ranks(y, classes)
        return Measured(
            classes[predicted], [ordinal_metrics(true, probabilities, predicted)], probabilities, classes
        )

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
        """By the order in `settings`."""
        order = _ordered("auto" if settings is None else settings["order"], y, y)
        held = None if validation is None else (validation[0], ranks(validation[1], order))
        return ordinal_baselines(
            X, ranks(y, order), order, level=level, validation=held, seed=seed, settings=settings
        )

    @classmethod
    def read_columns(cls, table: Table, names: Sequence[str]) -> np.ndarray:
        from unspool.tables import label_column

        return label_column(table, names[0])

    @classmethod
    def plot(cls, path: str | Path, y: np.ndarray, found: Measured, targets: Sequence[str]) -> None:
        from unspool.evaluation.plots import plot_confusion

        assert found.classes is not None
        plot_confusion(path, y, found.predicted, found.classes.tolist())


def ordered(order: Any, labels: np.ndarray) -> np.ndarray:
    """(C,): the classes of labels (n,) from the lowest to the highest. order: a list of them, or "auto": of numbers
    theirs. `DataError` for labels that have none, or that the order lacks."""
    return _ordered(order, labels, class_labels(labels))


def median(probabilities: np.ndarray) -> np.ndarray:
    """(n,): of probabilities (n, C) the first rank at which their sum is half or more."""
    return (probabilities.cumsum(1) >= 0.5 - 1e-12).argmax(1)


def ranks(labels: np.ndarray, order: np.ndarray) -> np.ndarray:
    """(n,) int64: the place of each label in the order; `DataError` for one that it has not."""
    places = {label: rank for rank, label in enumerate(order.tolist())}
    found = np.array([places.get(label, -1) for label in labels.tolist()], np.int64)
    if (found < 0).any():
        row = int((found < 0).argmax())
        raise DataError(
            f"y has a class that the order has not: {labels[row : row + 1].tolist()[0]!r} in row {row} "
            f"({int((found < 0).sum())} rows in all). The order is {', '.join(map(repr, order.tolist()[:10]))}."
        )
    return found


def _ordered(order: Any, y: Any, labels: np.ndarray) -> np.ndarray:
    """The classes from the lowest to the highest, of the labels' type."""
    known = _categories(y) if order is None or isinstance(order, str) else [*order]
    if known is None:
        if labels.dtype.kind not in "iufb":
            raise DataError(
                "Classes that are texts have no order of their own. Give it from the lowest to the highest, such as "
                f"order=['low', 'mid', 'high'] (--order low,mid,high). y has {np.unique(labels).tolist()[:10]}."
            )
        known = np.unique(labels).tolist()
    given = np.array(known) if len({type(v) for v in known}) == 1 else np.array([*known, None], object)[:-1]
    classes = like_classes(given, np.unique(labels)) if len(labels) else given
    if len(classes) < 2:
        raise DataError(f"y must have two classes or more. Got 1 class: {classes.tolist()[0]!r}.")
    ranks(labels, classes)
    return classes


def _categories(y: Any) -> list[Any] | None:
    """Those of an ordered pandas or a polars column of categories; None for any other y."""
    kind: Any = getattr(y, "dtype", None)
    if type(y).__module__.startswith("pandas") and getattr(kind, "ordered", False):
        return [*kind.categories]
    categories: Any = getattr(kind, "categories", None)
    if type(y).__module__.startswith("polars") and hasattr(categories, "to_list"):
        return categories.to_list()
    return None
