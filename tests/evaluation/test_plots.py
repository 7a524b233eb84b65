"""Plots: the picture holds a mark for what was drawn."""

from __future__ import annotations

import warnings

import numpy as np
from matplotlib.image import imread

from unspool.evaluation.metrics import regression_metrics
from unspool.evaluation.plots import drawable, plot_confusion, plot_regression


def test_scatter_has_a_panel_a_target(tmp_path):
    rng = np.random.default_rng(0)
    true = rng.normal(size=(50, 2))
    metrics = [regression_metrics(true[:, k], true[:, k]) for k in range(2)]
    plot_regression(tmp_path / "two.png", true, true, ["V", "A"], metrics)
    plot_regression(tmp_path / "one.png", true[:, :1], true[:, :1], ["V"], metrics[:1])
    two, one = imread(tmp_path / "two.png"), imread(tmp_path / "one.png")
    assert abs(two.shape[1] / one.shape[1] - 2) < 0.01 and two.shape[0] == one.shape[0]


def test_confusion_colours_the_diagonal_of_a_perfect_model(tmp_path):
    true = np.array(["a", "b", "c"] * 10)
    plot_confusion(tmp_path / "right.png", true, true, ["a", "b", "c"])
    plot_confusion(tmp_path / "wrong.png", true, np.roll(true, 1), ["a", "b", "c"])
    right, wrong = imread(tmp_path / "right.png")[..., :3], imread(tmp_path / "wrong.png")[..., :3]
    dark = right.mean(-1) < 0.35
    rows, columns = np.nonzero(dark)
    # filled cells of the perfect model run from the top left to the bottom right
    assert np.corrcoef(rows, columns)[0, 1] > 0.8
    rows, columns = np.nonzero(wrong.mean(-1) < 0.35)
    assert np.corrcoef(rows, columns)[0, 1] < 0.3


def test_names_that_the_font_cannot_draw(tmp_path):
    assert drawable("caf\u00e9 \u5929\n x") == "caf\u00e9 \\u5929 x" and drawable("$a$") == r"\$a\$"
    names = ["\u5929\u6c14", "\u0e17", "\U0001f389", "a $x_1$ b", "two\nlines", "$\\frac$"]
    true = np.array(names * 3)
    numbers = np.random.default_rng(0).normal(size=(9, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_confusion(tmp_path / "c.png", true, np.roll(true, 1), names)
        for name in names:
            metrics = [regression_metrics(numbers[:, 0], numbers[:, 0])]
            plot_regression(tmp_path / "r.png", numbers, numbers, [name], metrics)
