"""Learning curves: what is in the history is in the picture."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.image import imread

from unspool.errors import DataError
from unspool.evaluation.curves import TRAINING, VALIDATION
from unspool.study import plot_learning_curves


def has_colour(path, colour: str) -> bool:
    wanted = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    return bool(np.isclose(imread(path)[..., :3], wanted, atol=0.02).all(axis=2).sum() > 100)


def test_a_line_for_each_loss_and_a_panel_for_the_norms(tmp_path) -> None:
    epochs = [{"epoch": k, "train_loss": 1 / k, "validation_loss": 1 / k + 0.1} for k in range(1, 6)]
    plot_learning_curves(tmp_path / "both.png", epochs, best_epoch=3)
    assert has_colour(tmp_path / "both.png", TRAINING) and has_colour(tmp_path / "both.png", VALIDATION)
    alone = [{"epoch": e["epoch"], "train_loss": e["train_loss"]} for e in epochs]
    plot_learning_curves(tmp_path / "alone.png", alone)
    assert has_colour(tmp_path / "alone.png", TRAINING) and not has_colour(tmp_path / "alone.png", VALIDATION)
    plot_learning_curves(
        tmp_path / "norms.png", [{**e, "gradient_norm": 2.0, "gradient_norm_max": 9.0} for e in epochs]
    )
    assert imread(tmp_path / "norms.png").shape[0] > imread(tmp_path / "both.png").shape[0]
    with pytest.raises(DataError, match="no complete epoch"):
        plot_learning_curves(tmp_path / "none.png", [])
