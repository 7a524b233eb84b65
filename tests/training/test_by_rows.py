"""An embedding trained on the rows of each batch against dense AdamW."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from estimators.conftest import SMALL, make_texts

from unspool import SequenceRegressor
from unspool.estimators import DivergenceError
from unspool.training import Trainer, by_rows
from unspool.training.optimizers import RowAdam
from unspool.training.tails import Tails

V, E, LR = 12, 3, 0.01


class Pair:
    """Dense AdamW in float64 and RowAdam beside each other on the same gradients, drawn from N(0, scale²).

    Column 0 of the gradients is zero, column 1 a thousand times smaller.
    """

    def __init__(self, dtype: torch.dtype, scale: float = 1.0, weight_decay: float = 0.0) -> None:
        self.random = torch.Generator().manual_seed(0)
        self.scale = scale
        start = self.draw(V)
        self.dense = start.clone().requires_grad_()
        self.ours = start.to(dtype).requires_grad_()
        self.oracle = torch.optim.AdamW([self.dense], lr=LR, weight_decay=weight_decay)
        self.rows = RowAdam([self.ours], lr=LR, weight_decay=weight_decay, untouched="moving")

    def draw(self, rows: int) -> torch.Tensor:
        return torch.randn(rows, E, generator=self.random, dtype=torch.float64)

    def step(self, ids: torch.Tensor) -> None:
        values = self.draw(len(ids)) * self.scale * torch.tensor([0.0, 1e-3, 1.0], dtype=torch.float64)
        self.dense.grad = torch.zeros_like(self.dense).index_copy(0, ids, values)
        self.ours.grad = torch.sparse_coo_tensor(
            ids[None], values.to(self.ours.dtype), self.ours.shape, check_invariants=True
        )
        self.rows.catch_up(self.ours, ids)
        self.oracle.step()
        self.rows.step()

    def steps(self, count: int) -> None:
        """Row i is touched with probability 10^(-i/3): always, at every second step, ..., at one of 5,000."""
        chance = 10 ** (-torch.arange(V) / 3)
        for _ in range(count):
            self.step((torch.rand(V, generator=self.random) < chance).nonzero()[:, 0])

    def apart(self) -> float:
        """The largest difference of any row, in units of lr."""
        self.rows.catch_up_all()
        assert torch.isfinite(self.ours).all()
        return float((self.ours.detach() - self.dense.detach()).abs().max()) / LR


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-11), (torch.float32, 1.5e-3)])
def test_gaps_of_none_to_thousands_of_steps_get_the_numbers_of_adamw(
    decay: float, dtype: torch.dtype, limit: float
) -> None:
    pair = Pair(dtype, weight_decay=decay)
    pair.step(torch.arange(V))
    for count in (0, 1, 3, 30, 400, 2000):
        pair.steps(count)
        assert pair.apart() < limit


@pytest.mark.parametrize("scale", [1e-5, 3e-7, 1e-8, 1e-12, 0.0])
@pytest.mark.parametrize(("before", "limit"), [(1, 0.03), (1000, 2e-7)])
def test_gradients_so_small_that_eps_matters(scale: float, before: int, limit: float) -> None:
    pair = Pair(torch.float64, scale)
    for _ in range(before):
        pair.step(torch.arange(V))
    for count in (1, 5, 300):
        pair.steps(count)
        assert pair.apart() < limit


@pytest.mark.parametrize(("s", "stated"), [(1, 6e-3), (10, 1.2e-3), (100, 2e-5), (1000, 9e-8)])
def test_the_sum_of_many_steps_term_by_term(s: int, stated: float) -> None:
    """The errors that `Tails` states; sqrt(v) / eps from 1e-7 to 1e7; moments of step s, values of s, s + 3."""
    beta1, beta2, eps, worst = 0.9, 0.999, 1e-8, 0.0
    tails = Tails((beta1, beta2), 1.0)
    for last in (s, s + 3):
        for k in (1, 2, 5, 20, 100, 3000):
            j = np.arange(last - s + 1, last - s + k + 1, dtype=float)
            c1, c2 = 1 - beta1 ** (s + j), 1 - beta2 ** (s + j)
            w, y = (beta1 / beta2**0.5) ** j * np.sqrt(c2) / c1, np.sqrt(c2) / beta2 ** (j / 2)
            found = tails.coefficients(np.array([s]), np.array([last]), last + k, eps)
            factor, mean, square, kept = (float(x[0]) for x in found)
            assert kept == 1 and factor == pytest.approx(w.sum(), rel=1e-12)
            for root in np.logspace(-15, -1, 57):
                full = (w / (root + eps * y)).sum() * root
                ours = factor / (root + mean - square / (root + mean)) * root
                worst = max(worst, abs(ours - full) / w.sum())
                if k == 1 or root > 1e-2:
                    assert ours == pytest.approx(full, rel=1e-9)
    assert stated / 3 < worst < stated


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_rows_that_are_up_to_date_stay_as_they_are(dtype: torch.dtype) -> None:
    pair = Pair(dtype, weight_decay=0.3)
    pair.rows.catch_up(pair.ours, torch.arange(V))
    pair.steps(20)
    pair.rows.catch_up(pair.ours, torch.tensor([3, 7, 7, 3, 11]))
    some = pair.ours.detach().clone()
    assert float((some - pair.dense.detach())[[3, 7, 11]].abs().max()) < 1e-4 * LR
    pair.rows.catch_up_all()
    every = pair.ours.detach().clone()
    assert torch.equal(every[[0, 3, 7, 11]], some[[0, 3, 7, 11]])
    pair.rows.catch_up_all()
    assert torch.equal(pair.ours, every)


@pytest.mark.parametrize(
    "change", [{"lr": 0.002}, {"weight_decay": 2.0}, {"betas": (0.8, 0.99)}, {"eps": 0.1}, {"lr": 0.0}]
)
def test_changed_settings_count_from_the_next_step_on(change: dict[str, Any]) -> None:
    pair = Pair(torch.float64, weight_decay=0.3)
    pair.step(torch.arange(V))
    pair.steps(50)
    for optimizer in (pair.oracle, pair.rows):
        optimizer.param_groups[0].update(change)
    pair.steps(5)
    assert pair.apart() < 1e-4 if "eps" in change else pair.apart() < 1e-9
    pair.steps(100)
    assert pair.apart() < 1e-4 if "eps" in change else pair.apart() < 1e-9


def test_a_table_that_no_batch_has_or_that_is_long_out_of_use() -> None:
    """300,000 steps: beta2^(-k/2) is above float32's 3e38."""
    pair = Pair(torch.float32)
    pair.step(torch.arange(V))
    pair.rows.catch_up_all()
    pair.rows.state[pair.ours]["step"] += 300_000
    pair.rows.catch_up_all()
    pair.rows.state[pair.ours]["step"] += 1
    before = pair.ours.detach().clone()
    pair.rows.catch_up_all()
    assert torch.isfinite(pair.ours).all() and torch.equal(pair.ours, before)
    pair.step(torch.arange(0))
    assert pair.rows.state[pair.ours]["step"] == 300_003


@pytest.mark.parametrize(
    "settings", [{"lr": 1.0, "weight_decay": 0.2}, {"lr": 1.0, "weight_decay": 1.5}, {"betas": (0.99, 0.98)}]
)
def test_settings_whose_sums_have_no_end_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError, match=r"must be at most 0\.999 for rows that .* Got .*Use dense gradients"
    ):
        RowAdam([torch.zeros(2, 2, requires_grad=True)], untouched="moving", **settings)
    RowAdam([torch.zeros(2, 2, requires_grad=True)], **settings)


# --- in training

WORDS = 400
SETTINGS = {
    **SMALL,
    "batch_size": 4,
    "epochs": 3,
    "learning_rate": 0.003,
    "weight_decay": 0.1,
    "gradient_clip": 0.2,
}


def rare_texts(count: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Texts of 1 to 8 of 400 words, some of them in one text only."""
    random = np.random.RandomState(seed)
    value = np.random.RandomState(99).randn(WORDS)
    rows = [np.minimum(random.geometric(0.01, random.randint(1, 9)), WORDS) - 1 for _ in range(count)]
    return [" ".join(f"w{i}" for i in row) for row in rows], np.array([value[row].mean() for row in rows])


@pytest.fixture
def by_rows_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`by_rows_of(True)`: from now on embeddings of any size are trained on rows; False: none is."""
    used = []
    catch_up = RowAdam.catch_up

    def watched(self: RowAdam, table: torch.Tensor, rows: torch.Tensor) -> None:
        used.append(len(rows))
        catch_up(self, table, rows)

    def switch(on: bool) -> list[int]:
        used.clear()
        monkeypatch.setattr(RowAdam, "catch_up", watched)
        monkeypatch.setattr(by_rows, "LARGE_TABLE", 0 if on else 10**9)
        monkeypatch.setattr(by_rows, "ROWS_A_TOKEN", 0)
        return used

    return switch


def same(ours: SequenceRegressor, dense: SequenceRegressor, tolerance: float) -> None:
    weights = dense.network_.state_dict()
    for name, weight in ours.network_.state_dict().items():
        torch.testing.assert_close(weight, weights[name], rtol=0, atol=tolerance, msg=name)
    embedding = ours.network_.embedding
    assert not embedding.sparse and embedding.weight.grad is None and not embedding._forward_pre_hooks


@pytest.mark.filterwarnings("ignore:2 of 300 texts hold no word")
@pytest.mark.parametrize("early_stopping", [True, False])
def test_a_fit_by_rows_is_the_fit_with_dense_adamw(early_stopping: bool, by_rows_of: Any) -> None:
    X, y = rare_texts(300)
    settings = {**SETTINGS, "early_stopping": early_stopping, "validation_fraction": 0.3}
    used = by_rows_of(False)
    dense = SequenceRegressor(**settings).fit(X, y)
    assert not used
    used = by_rows_of(True)
    ours = SequenceRegressor(**settings).fit(X, y)
    assert len(used) > 100 and np.median(used) < 0.1 * ours.input_.vocabulary_size
    same(ours, dense, 5e-5)
    np.testing.assert_allclose(ours.predict(X), dense.predict(X), rtol=0, atol=1e-5)
    assert ours.best_epoch_ == dense.best_epoch_ and len(ours.history_) == len(dense.history_) == 3
    for one, other in zip(ours.history_, dense.history_):
        for name in one.keys() - {"seconds", "train_seconds"}:
            assert one[name] == pytest.approx(other[name], rel=1e-4), name
    sparse = SequenceRegressor(**settings, embedding_update="sparse").fit(X, y)
    assert np.abs(sparse.predict(X) - dense.predict(X)).max() > 2e-3


def stopped(monkeypatch: pytest.MonkeyPatch, at: int, what: Any) -> Any:
    """A fit in which batch `at` calls what(trainer); its estimator."""
    train_step, count, network = Trainer.train_step, 0, None

    def step(self: Trainer, batch: Any) -> Any:
        nonlocal count, network
        count, network = count + 1, self.network
        if count == at:
            what(self)
        return train_step(self, batch)

    X, y = rare_texts(200)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", step)
        model = SequenceRegressor(**SETTINGS, early_stopping=False)
        try:
            model.fit(X, y)
        except DivergenceError:
            assert what is spoil
            model.network_ = network  # which the model lets go
    return model


def interrupt(trainer: Trainer) -> None:
    raise KeyboardInterrupt


def spoil(trainer: Trainer) -> None:
    """The gradient of this batch becomes NaN."""
    trainer.network.head.layers[-1].weight.register_hook(lambda gradient: gradient * float("nan"))


@pytest.mark.parametrize("what", [interrupt, spoil])
@pytest.mark.parametrize("at", [1, 30, 75])
def test_all_rows_are_up_to_date_after_a_stop_midway(
    what: Any, at: int, by_rows_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batch 30 of the first epoch's 50, 25 of the second. A batch whose gradient is not finite is no step."""
    by_rows_of(False)
    dense = stopped(monkeypatch, at, what)
    by_rows_of(True)
    same(stopped(monkeypatch, at, what), dense, 5e-5)


def test_which_embeddings_are_trained_by_rows(by_rows_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = make_texts(40)
    settings = {**SMALL, "epochs": 1}

    def rows_used(more: dict[str, Any] | None = None) -> bool:
        used.clear()
        SequenceRegressor(**{**settings, **(more or {})}).fit(X, y)
        return bool(used)

    used = by_rows_of(True)
    assert rows_used()
    assert not rows_used({"learning_rate": 0.5, "weight_decay": 0.5})
    assert rows_used({"learning_rate": 0.1, "weight_decay": 0.5})
    monkeypatch.setattr(by_rows, "ROWS_A_TOKEN", 4)
    assert not rows_used() and rows_used({"batch_size": 1})
    monkeypatch.setattr(by_rows, "ROWS_A_TOKEN", 0)
    monkeypatch.setattr(by_rows, "LARGE_TABLE", 32 * 8)  # 30 words, padding, unknown
    assert not rows_used() and rows_used({"embedding_dim": 9})
