"""What is learnt and answered: members, loss, classes, calibration."""

from __future__ import annotations

from unspool.parameters.checks import (
    choice,
    class_order,
    class_weight,
    flag,
    integer,
    number,
    optional,
    read_order,
)
from unspool.parameters.parameter import MODEL, TRAINING, Parameter
from unspool.parameters.search import whole

ANSWERS: tuple[Parameter, ...] = (
    Parameter(
        "ensemble",
        1,
        integer(1),
        "networks from different seeds, whose outputs are averaged; one model.",
        MODEL,
        "Networks from different seeds, averaged.",
        later=True,
        search=whole(1, 5, asked=True),
    ),
    Parameter(
        "loss",
        "squared",
        choice(
            "squared",
            "absolute",
            "huber",
            "quantile",
            "poisson",
            "negative_binomial",
            "gamma",
            "lognormal",
        ),
        'of numbers, see `unspool.training.losses.NumberLoss`: "squared", "absolute", "huber", "quantile"; of counts, '
        '0 or more: "poisson", "negative_binomial"; of numbers above 0: "gamma", "lognormal" '
        "(`unspool.training.likelihoods`: what is predicted is the mean).",
        TRAINING,
        "Of numbers: squared, absolute, huber, quantile; of counts: poisson, negative_binomial; above 0: gamma, "
        "lognormal.",
        later=True,
    ),
    Parameter(
        "quantile",
        0.5,
        number(0, 1, "neither"),
        'the level that loss="quantile" aims at, in (0, 1).',
        TRAINING,
        "Of the quantile loss, in (0, 1).",
        later=True,
    ),
    Parameter(
        "label_smoothing",
        None,
        optional(number(0, 1, "left")),
        "share of a label that is spread over all classes while training, in [0, 1). None: 0.1. Classes only.",
        TRAINING,
        "Share of a label that all classes get. Default: 0.1.",
        kind=float | None,
        later=True,
        before=0.0,
    ),
    Parameter(
        "class_weight",
        None,
        class_weight,
        'None, "balanced" (rare classes count as much as others) or a dict from class to weight.',
        TRAINING,
        "balanced: rare classes count more.",
        kind=str | None,
        later=True,
    ),
    Parameter(
        "multilabel",
        None,
        optional(flag),
        "whether y (n, C) of 0 and 1 holds any number of labels a row. None: where a row has not just one 1. "
        "Classifiers only.",
        instead="`--task multilabel`",
        later=True,
    ),
    Parameter(
        "order",
        None,
        class_order,
        'the classes from the lowest to the highest, for classes that have an order: cumulative logits. "auto": of '
        "numbers theirs, of a pandas or polars column of ordered categories theirs. None: classes have no order.",
        MODEL,
        "Ordered classes, from the lowest to the highest: low,mid,high. With --task ordinal and numbers: theirs.",
        kind=str | None,
        later=True,
        read=read_order,
    ),
    Parameter(
        "calibrate",
        None,
        optional(flag),
        "whether the logits are divided by a temperature, of least cross-entropy on the held-back rows (Guo et al. "
        "2017, arXiv:1706.04599): probabilities then say how often they are right, and the most probable class stays. "
        "None: yes. Classifiers only; without 20 held-back rows nothing is changed.",
        TRAINING,
        "Bring probabilities to what held-back rows say. Default: yes.",
        kind=bool | None,
        later=True,
        before=False,
    ),
)
