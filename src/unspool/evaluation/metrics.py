"""Test metrics: name -> number, in the order in which they are printed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

# Metric -> the heading in printed tables and whether more is better.
REGRESSION = {
    "rmse": ("RMSE", False),
    "mae": ("MAE", False),
    "pearson_r": ("Pearson r", True),
    "r2": ("R2", True),
}
CLASSIFICATION = {
    "accuracy": ("Accuracy", True),
    "macro_f1": ("Macro F1", True),
    "log_loss": ("Log loss", False),
}
ORDINAL = {
    "rank_mae": ("MAE in ranks", False),
    "kappa": ("Weighted kappa", True),
    "accuracy": ("Accuracy", True),
    "log_loss": ("Log loss", False),
}
# The deviance is of the Poisson distribution for counts, of the gamma distribution for positive numbers.
COUNTS = {"deviance": ("Poisson deviance", False)} | REGRESSION
POSITIVE = {"deviance": ("Gamma deviance", False)} | REGRESSION
MULTILABEL = {
    "micro_f1": ("Micro F1", True),
    "macro_f1": ("Macro F1", True),
    "exact_match": ("Exact match", True),
    "log_loss": ("Log loss", False),
}
TEXTS = {
    "exact_match": ("Exact match", True),
    "wer": ("WER", False),
    "cer": ("CER", False),
    "bleu": ("BLEU", True),
}
TAGS = {
    "span_f1": ("Span F1", True),
    "token_accuracy": ("Token accuracy", True),
    "label_accuracy": ("Label accuracy", True),
}
LANGUAGE = {
    "nats_per_token": ("Nats a token", False),
    "perplexity": ("Perplexity", False),
    "bits_per_character": ("Bits a character", False),
}
FORECASTS = {
    "mae": ("MAE", False),
    "rmse": ("RMSE", False),
    "smape": ("sMAPE", False),
    "mase": ("MASE", False),
}
METRICS = (
    {"deviance": ("Deviance", False)}
    | (REGRESSION | CLASSIFICATION | ORDINAL | MULTILABEL | TEXTS)
    | (TAGS | LANGUAGE | FORECASTS)
)
# The values that a metric can have.
RANGES = {
    "rmse": (0.0, math.inf),
    "mae": (0.0, math.inf),
    "pearson_r": (-1.0, 1.0),
    "r2": (-math.inf, 1.0),
    "accuracy": (0.0, 1.0),
    "macro_f1": (0.0, 1.0),
    "log_loss": (0.0, math.inf),
    "deviance": (0.0, math.inf),
    "rank_mae": (0.0, math.inf),
    "kappa": (-1.0, 1.0),
    "micro_f1": (0.0, 1.0),
    "exact_match": (0.0, 1.0),
    "wer": (0.0, math.inf),
    "cer": (0.0, math.inf),
    "bleu": (0.0, 100.0),
    "span_f1": (0.0, 1.0),
    "token_accuracy": (0.0, 1.0),
    "label_accuracy": (0.0, 1.0),
    "nats_per_token": (0.0, math.inf),
    "perplexity": (1.0, math.inf),
    "bits_per_character": (0.0, math.inf),
    "smape": (0.0, 200.0),
    "mase": (0.0, math.inf),
}

Metrics = dict[str, float | None]


def regression_metrics(true: np.ndarray, predicted: np.ndarray) -> Metrics:
    """RMSE, MAE, Pearson r and R2 of one target.

    true, predicted: (B,). r is None where one side is constant, R2 where the true values are.
    """
    from scipy.stats import pearsonr
    from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

    true, predicted = np.asarray(true, float), np.asarray(predicted, float)
    # A constant prediction leaves rounding noise of a few ULP of its size in the standard deviation.
    spread = min(np.std(true), np.std(predicted))
    constant = len(true) < 2 or spread <= 1e-12 * max(1.0, float(np.abs(true).max()))
    return {
        "rmse": math.sqrt(mean_squared_error(true, predicted)),
        "mae": float(mean_absolute_error(true, predicted)),
        "pearson_r": None if constant else float(pearsonr(true, predicted).statistic),
        "r2": float(r2_score(true, predicted)) if np.std(true) > 0 else None,
    }


def deviance_metrics(true: np.ndarray, means: np.ndarray, power: int) -> Metrics:
    """The mean deviance of the Poisson (power 1) or the gamma distribution (2), and `regression_metrics`; (B,) above 0.

    The deviance is None where a mean, or for power 2 a true number, is not above 0.
    """
    from sklearn.metrics import mean_tweedie_deviance

    able = means.min() > 0 and (true.min() > 0 if power == 2 else true.min() >= 0)
    deviance = float(mean_tweedie_deviance(true, means, power=power)) if able else None
    return {"deviance": deviance, **regression_metrics(true, means)}


def ordinal_metrics(true: np.ndarray, probabilities: np.ndarray, predicted: np.ndarray) -> Metrics:
    """Mean absolute error in ranks, quadratic weighted kappa (Cohen 1968), accuracy and log loss, per row.

    true, predicted (B,): ranks 0, 1, ... of K ordered classes. probabilities (B, K). Kappa is None where one rank is
    all that is true and predicted.
    """
    from sklearn.metrics import cohen_kappa_score

    ranks = np.arange(probabilities.shape[1])
    varied = len({*true.tolist(), *predicted.tolist()}) > 1
    chosen = probabilities[np.arange(len(true)), true].astype(float)
    return {
        "rank_mae": float(np.abs(true - predicted).mean()),
        "kappa": float(cohen_kappa_score(true, predicted, labels=ranks, weights="quadratic"))
        if varied
        else None,
        "accuracy": float((true == predicted).mean()),
        "log_loss": float(-np.log(np.clip(chosen, np.finfo(np.float32).eps, 1.0)).mean()),
    }


def classification_metrics(true: np.ndarray, probabilities: np.ndarray, classes: np.ndarray) -> Metrics:
    """Accuracy, macro F1 and log loss (natural logarithm, per row).

    true (B,): labels. probabilities (B, K): one column for each of `classes` (K,). Macro F1 averages over
    the classes that are true or predicted somewhere. A true label outside `classes` counts as wrong, and
    the log loss is then None.
    """
    from sklearn.metrics import f1_score

    chosen_column = probabilities.argmax(1)
    column = {label: k for k, label in enumerate(classes.tolist())}
    index = np.array([column.get(label, -1) for label in true.tolist()])
    # Labels outside `classes`, of whatever type, as numbers of their own.
    others = {label: -1 - k for k, label in enumerate(dict.fromkeys(true[index < 0].tolist()))}
    numbers = np.array([column.get(label, others.get(label)) for label in true.tolist()])
    loss = None
    if (index >= 0).all():
        chosen = probabilities[np.arange(len(index)), index].astype(float)
        loss = float(-np.log(np.clip(chosen, np.finfo(np.float32).eps, 1.0)).mean())
    return {
        "accuracy": float(np.mean(chosen_column == numbers)),
        "macro_f1": float(f1_score(numbers, chosen_column, average="macro", zero_division=0)),
        "log_loss": loss,
    }


def multilabel_metrics(true: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray) -> Metrics:
    """Micro and macro F1, share of rows with every label right, and log loss, the mean over rows and labels; (B, C).

    Micro F1 counts the labels of all rows together; macro F1 is the mean over labels that are true or given somewhere.
    """
    from sklearn.metrics import f1_score

    there = (true.sum(0) + predicted.sum(0)) > 0
    right = np.where(true == 1, probabilities, 1 - probabilities)
    return {
        "micro_f1": float(f1_score(true, predicted, average="micro", zero_division=0)),
        "macro_f1": float(f1_score(true, predicted, average=None, zero_division=0)[there].mean())
        if there.any()
        else 0.0,
        "exact_match": float((true == predicted).all(1).mean()),
        "log_loss": float(-np.log(np.clip(right, np.finfo(np.float32).eps, 1.0)).mean()),
    }


@dataclass(frozen=True)
class BesideBaselines:
    """Whether a baseline beats the model, and the sentence to print."""

    baseline_wins: bool
    sentence: str


def beside_baselines(model: Metrics, baselines: Mapping[str, Metrics], target: str = "") -> BesideBaselines:
    """Compare the model with each baseline, metric by metric, on the same test rows.

    Names every metric on which a baseline is better; what is equal as it is shown is level.
    """
    where = f" for {target!r}" if target else ""
    sentences: list[str] = []
    tied: list[str] = []
    for name, metrics in baselines.items():
        level = [
            key for key, value in metrics.items() if value is not None and shown(value) == shown(model[key])
        ]
        better = [
            f"{METRICS[key][0]} {shown(value)} against {shown(model[key])}"
            for key, value in metrics.items()
            if key not in level and beats(key, value, model[key])
        ]
        if level:
            tied.append(f"the {name} baseline ({', '.join(METRICS[key][0] for key in level)})")
        if better:
            every = "" if len(better) == len(metrics) else f" on {len(better)} of {len(metrics)} metrics"
            sentences.append(
                f"The {name} baseline is better than this model{where}{every}: {', '.join(better)}."
            )
    if sentences:
        return BesideBaselines(True, " ".join(sentences))
    if tied:
        return BesideBaselines(
            False, f"No baseline is better than the model{where}; it is level with {', '.join(tied)}."
        )
    return BesideBaselines(False, f"The model is better than both baselines on every metric{where}.")


def beats(metric: str, value: float | None, other: float | None) -> bool:
    """Whether `value` of `metric` is better than `other`; a metric that is undefined beats nothing."""
    if value is None or other is None:
        return False
    return value > other if METRICS[metric][1] else value < other


def shown(value: float | None) -> str:
    """Four significant digits, or a dash for a metric that is undefined."""
    return "-" if value is None else f"{value:.4g}"
