"""Saved models with bfloat16 and int8 weights: smaller, near, checked as any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import unspool
from unspool import SequenceGenerator, SequenceRegressor, saved
from unspool.errors import InvalidParameterError, ModelFileError
from unspool.saved.weights import to_bytes

SMALL: dict[str, Any] = {"hidden_size": 24, "embedding_dim": 32, "epochs": 1, "verbose": 0, "random_state": 0}
TEXTS = [f"word{i % 50} and word{i % 7} or word{i % 11}" for i in range(80)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    fitted = SequenceRegressor(early_stopping=False, blend=False, **SMALL).fit(TEXTS, np.arange(80) % 7)
    fitted.save(folder / "model")
    return folder / "model"


def size(path: Path) -> int:
    return (path / "weights.safetensors").stat().st_size


def test_bfloat16_by_torch(model: Path, tmp_path: Path) -> None:
    saved.shrink(model, tmp_path / "small", "bfloat16")
    whole, small = (unspool.load(p).network_.state_dict() for p in (model, tmp_path / "small"))
    for name, weight in whole.items():
        expected = weight.bfloat16().float() if weight.dim() > 1 else weight
        assert torch.equal(small[name], expected) and small[name].dtype == torch.float32
    assert size(tmp_path / "small") < 0.55 * size(model)


def test_int8_is_within_half_a_step(model: Path, tmp_path: Path) -> None:
    saved.shrink(model, tmp_path / "small.zip", "int8")
    saved.shrink(model, tmp_path / "small", "int8")
    whole, small = (unspool.load(p).network_.state_dict() for p in (model, tmp_path / "small.zip"))
    for name, weight in whole.items():
        if weight.dim() == 1:
            assert torch.equal(small[name], weight)
            continue
        assert weight.shape[1] >= 16
        step = weight.abs().amax(1, keepdim=True) / 127
        assert ((small[name] - weight).abs() <= 0.5001 * step).all()
        assert not torch.equal(small[name], weight)
        assert small[name].abs().amax(1).allclose(weight.abs().amax(1))  # the largest of a row is kept
    assert size(tmp_path / "small") < 0.35 * size(model)
    near = np.corrcoef(unspool.load(model).predict(TEXTS), unspool.load(tmp_path / "small").predict(TEXTS))
    assert near[0, 1] > 0.99


def test_numbers_worked_by_hand(tmp_path: Path) -> None:
    from unspool.saved.narrow import _narrowed

    row = torch.zeros(2, 16)
    row[0, :3] = torch.tensor([2.54, -1.25, 0.004])
    found = _narrowed("w", row, "int8")
    assert found["w"][:, :4].tolist() == [
        [127, -62, 0, 0],
        [0, 0, 0, 0],
    ]  # steps of 0.02; -62.5 to the even one
    assert found["w::scale"].tolist() == pytest.approx([0.02, 0.0])
    short = _narrowed("w", row[:, :15], "int8")  # a scale for so few would take more than it saves
    assert [*short] == ["w"] and torch.equal(short["w"], row[:, :15].bfloat16())


def test_a_loaded_one_is_saved_whole_and_any_class_goes(model: Path, tmp_path: Path) -> None:
    saved.shrink(model, tmp_path / "small", "int8")
    small = unspool.load(tmp_path / "small")
    small.save(tmp_path / "again")
    assert size(tmp_path / "again") == size(model)
    assert np.array_equal(unspool.load(tmp_path / "again").predict(TEXTS), small.predict(TEXTS))
    writer = SequenceGenerator(**SMALL).fit("a day and a night. " * 30)
    writer.save(tmp_path / "writer")
    saved.shrink(tmp_path / "writer", tmp_path / "small writer", "bfloat16")
    assert unspool.load(tmp_path / "small writer").score("a night") == pytest.approx(
        writer.score("a night"), rel=0.02
    )


def test_what_does_not_hold_is_told(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidParameterError, match="'weights' parameter of shrink must be one of"):
        saved.shrink(model, tmp_path / "small", "int4")
    saved.shrink(model, tmp_path / "small", "int8")
    with pytest.raises(ModelFileError, match="weights of int8 already"):
        saved.shrink(tmp_path / "small", tmp_path / "smaller", "bfloat16")
    with pytest.raises(ModelFileError):
        saved.shrink(tmp_path / "nowhere", tmp_path / "x", "int8")
    content = saved.content_of(tmp_path / "small").data
    head = ("checksums", "format", "format_version", "libraries", "weights_form")
    own = {key: value for key, value in content.items() if key not in head}
    whole = unspool.load(model).network_.state_dict()
    for more, tensors, match in [
        ({"weights_form": "int8"}, whole, "must be int8"),
        ({"weights_form": "int4"}, whole, "'weights_form' must be one of"),
        ({"weights_form": ["int8"]}, whole, "weights_form"),
        ({}, {name: t.bfloat16() for name, t in whole.items()}, "must be float32"),
    ]:
        saved.save(tmp_path / "odd", {**own, **more}, tensors)
        with pytest.raises(ModelFileError, match=match):
            unspool.load(tmp_path / "odd")
    broken = {name: t.clone() for name, t in whole.items()}
    next(iter(broken.values()))[0] = torch.inf
    saved.save(tmp_path / "infinite", own, broken)
    with pytest.raises(ModelFileError, match="not finite"):
        saved.shrink(tmp_path / "infinite", tmp_path / "x", "int8")
    assert json.loads((tmp_path / "small" / "model.json").read_text())["weights_form"] == "int8"
    assert len(to_bytes(whole)) == size(model) and not (tmp_path / "x").exists()
