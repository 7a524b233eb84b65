"""How a forecaster learns: what is held back, training windows, the scores of intervals, the baselines beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from unspool.errors import DataError, warn_caller
from unspool.forecasting.answers import actual, points_of
from unspool.forecasting.baselines import NAMES, at_cutoffs, warn_of_baselines
from unspool.forecasting.building import build_network, loss_of, some_windows
from unspool.forecasting.conformal import Scores
from unspool.forecasting.panel import Panel
from unspool.forecasting.prepare import Preparation, calendar_features
from unspool.forecasting.weights import weigh
from unspool.forecasting.windows import Block, Windows, training_windows
from unspool.program import surroundings
from unspool.training import Callback, Settings, train
from unspool.training.checkpoint import checkpoints
from unspool.training.device import choose, on, seeded
from unspool.training.parallel import same_random

if TYPE_CHECKING:
    from unspool.forecasting.forecaster import Forecaster

CALIBRATION = 2000  # held-back windows at most that scores are kept of, for each series where these are apart


@surroundings.training()
def fit_panel(
    model: Forecaster,
    panel: Panel,
    callbacks: Sequence[Callback] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int | str | None = None,
) -> Forecaster:
    """See `Forecaster.fit`."""
    device = choose("Forecaster", model.device, model.verbose)
    settle(model, panel)
    counts = panel.counts
    held = held_back(model, counts)
    usable = counts - held - model.horizon >= model.unit_
    if not usable.any():
        raise DataError(
            f"No series is long enough: one needs {model.unit_} steps to look back on, {model.horizon} to learn and "
            f"{int(held.min())} held back. The longest has {int(counts.max())}. Take a shorter horizon, "
            "segment_length or validation_size."
        )
    tell_short(model, panel, usable, counts - held - model.horizon)
    scaler = model.scaler or ("mean" if model.loss == "negative_binomial" else "standard")
    limits = np.maximum(counts - held, 1)
    model.preparation_ = Preparation.fit(
        panel, limits, scaler, calendar_features(model.time_features, panel.calendar)
    )
    check_counts(model, panel)
    random = same_random(model.random_state)
    seed = int(random.randint(2**31 - 1))
    block = model.preparation_.block(panel)
    _, scales = model.preparation_.scales_of(panel)
    training = all_windows(model, block, counts, np.zeros_like(counts), limits, model.stride, scales)
    if not len(training):
        raise DataError("No window of the training part has values on both sides of its cut-off.")
    validation = None
    if model.validation_size != 0:
        ends = np.where(held >= model.horizon, counts, 0)
        validation = all_windows(model, block, counts, np.maximum(limits, 1), ends, 1, scales)
        validation = validation if len(validation) else None
    for windows in (training, validation):
        weigh(windows, panel)
    model.__dict__.pop("frozen_", None)
    calls = [*callbacks, *checkpoints(model, checkpoint, checkpoint_every)]
    outcome = train_network(model, training, validation, seed, model.epochs, calls, device)
    model.history_, model.best_epoch_ = outcome.history, outcome.best_epoch
    model.interrupted_ = outcome.interrupted
    remember(model, panel)
    model.scores_ = model.validation_ = None
    if validation is not None:
        judge(model, panel, validation, scales)
    if model.refit and not outcome.interrupted and model.best_epoch_:
        everything = all_windows(model, block, counts, np.zeros_like(counts), counts, model.stride, scales)
        weigh(everything, panel)
        again = train_network(model, everything, None, seed, model.best_epoch_, calls, device)
        model.interrupted_ = again.interrupted
    model.n_parameters_ = sum(p.numel() for p in model.network_.parameters() if p.requires_grad)
    return model


def settle(model: Forecaster, panel: Panel) -> None:
    """What parameters that are None stand for."""
    model.calendar_ = panel.calendar
    model.season_ = model.season or panel.calendar.season
    segment = min(model.horizon, 24, model.season_ if model.season_ > 1 else 24)
    model.segment_length_ = model.segment_length or segment
    model.unit_ = model.segment_length_ if model.model == "segments" else 1
    size = model.input_size or max(4 * model.season_, 2 * model.horizon)
    model.input_size_ = -(-size // model.unit_) * model.unit_


def held_back(model: Forecaster, counts: np.ndarray) -> np.ndarray:
    """(S,): the last steps of each series that are not trained on."""
    if model.validation_size is not None:
        return np.full(len(counts), model.validation_size)
    return np.maximum(model.horizon, counts // 10)


def tell_short(model: Forecaster, panel: Panel, usable: np.ndarray, windows: np.ndarray) -> None:
    """Warn of series that are not `usable` (S,), and of those whose first window, of `windows` (S,) steps, is short."""
    short = np.flatnonzero(~usable)
    if len(short):
        shown = ", ".join(repr(panel.ids[i]) for i in short[:3])
        warn_caller(
            f"{len(short)} of {len(panel)} series are too short to be learnt from, such as {shown}: after the "
            f"held-back steps one needs {model.unit_ + model.horizon}. They can still be forecast."
        )
    partly = int((usable & (windows < model.input_size_)).sum())
    if partly:
        warn_caller(
            f"{partly} of {len(panel)} series are shorter than the window of {model.input_size_} steps; their "
            "windows hold what there is."
        )


def check_counts(model: Forecaster, panel: Panel) -> None:
    """`DataError` where the loss is of counts and a value is none."""
    if model.loss != "negative_binomial":
        return
    for name, values in zip(panel.ids, panel.targets()):
        seen = values[~np.isnan(values)]
        if (seen < 0).any() or (seen != np.round(seen)).any():
            raise DataError(
                f"loss='negative_binomial' takes counts, whole numbers of 0 or more. Series {name!r} has "
                f"{seen[(seen < 0) | (seen != np.round(seen))][0]:g}."
            )


def all_windows(
    model: Forecaster,
    block: Block,
    counts: np.ndarray,
    firsts: np.ndarray,
    limits: np.ndarray,
    stride: int,
    scales: np.ndarray,
) -> Windows:
    """All windows with a whole horizon, whose cut-offs are at `firsts` or later and that end at `limits`, and that
    have something observed on both sides; full ones where the series has any."""
    room = np.minimum(counts, limits) - model.horizon
    firsts = np.maximum(firsts, np.minimum(model.input_size_, room))
    of, at, sizes = training_windows(
        counts, firsts, limits, model.horizon, model.input_size_, model.unit_, stride
    )
    seen = np.concatenate([[0], np.cumsum(~np.isnan(block.y))])
    ends = block.offsets[of] + at
    good = (seen[ends] > seen[ends - sizes]) & (seen[ends + model.horizon] > seen[ends])
    return some_windows(model, block, of[good], at[good], sizes[good], scales)


def train_network(
    model: Forecaster,
    training: Windows,
    validation: Windows | None,
    seed: int,
    epochs: int,
    calls: list[Callback],
    device: torch.device,
) -> Any:
    """A new network for the model, and its training's `Outcome`."""
    settings = replace(Settings.of(model), epochs=epochs)
    with seeded(seed, device):
        model.network_ = build_network(model)
        with on(model.network_, device):
            return train(model.network_, loss_of(model), training, validation, settings, seed, calls)


def judge(model: Forecaster, panel: Panel, validation: Windows, scales: np.ndarray) -> None:
    """Scores for intervals, and the baselines beside the model, at held-back cut-offs."""
    rows = spread_out(model, validation)
    some = some_windows(
        model,
        validation.block,
        validation.series[rows],
        validation.cutoffs[rows],
        validation.sizes[rows],
        scales,
    )
    offsets, _ = model.preparation_.scales_of(panel)
    y = actual(panel, some.series, some.cutoffs, model.horizon)
    unit = scales[some.series][:, None]
    point = points_of(model, some, offsets[some.series])
    model.scores_ = Scores(np.abs(y - point) / unit, some.series, model.calibration == "pooled")
    targets = panel.targets()
    found = {"this model": float(np.nanmean(np.abs(y - point) / unit))}
    for name in NAMES:
        other = at_cutoffs(name, targets, some.series, some.cutoffs, model.horizon, model.season_)
        found[name] = float(np.nanmean(np.abs(y - other) / unit))
    model.validation_ = found
    warn_of_baselines(found, "the mean absolute error on the held-back part")


def spread_out(model: Forecaster, windows: Windows) -> np.ndarray:
    """Rows of at most `CALIBRATION` windows, evenly over time; of each series where these are apart."""
    if model.calibration == "pooled":
        count = min(CALIBRATION, len(windows))
        return np.unique(np.linspace(0, len(windows) - 1, count).round().astype(int))
    parts = [np.flatnonzero(windows.series == s) for s in np.unique(windows.series)]
    picks = [
        p[np.unique(np.linspace(0, len(p) - 1, min(CALIBRATION, len(p))).round().astype(int))] for p in parts
    ]
    return np.concatenate(picks)


def remember(model: Forecaster, panel: Panel) -> None:
    """The end of each series, from which `predict` without a table goes on."""
    kept = np.minimum(panel.counts, model.input_size_)
    values = [v[len(v) - k :] for v, k in zip(panel.values, kept)]
    starts = panel.counts - kept
    firsts = [int(panel.calendar.stamps(int(f), np.array([s]))[0]) for f, s in zip(panel.firsts, starts)]
    model.tail_ = replace(panel, values=values, firsts=np.array(firsts, np.int64), weights=None)
