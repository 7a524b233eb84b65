"""Models that the first version wrote: they load, predict the same, and can be saved again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import unspool

FOLDER = Path(__file__).with_name("version_1")
EXPECTED = json.loads((FOLDER / "expected.json").read_text())


@pytest.mark.parametrize("name", EXPECTED)
def test_a_model_of_version_1_predicts_what_it_predicted(name: str, tmp_path: Path) -> None:
    expected = EXPECTED[name]
    X = [x if isinstance(x, str) else np.array(x) for x in expected["X"]]
    model = unspool.load(FOLDER / f"{name}.zip")
    model.save(tmp_path / "again")
    for found in (model, unspool.load(tmp_path / "again")):
        assert type(found).__name__ == expected["class"]
        assert (len(found.history_), found.best_epoch_) == (expected["epochs"], expected["best_epoch"])
        outputs = found.predict_proba(X) if hasattr(found, "predict_proba") else found.predict(X)
        np.testing.assert_allclose(outputs, expected["outputs"], rtol=1e-4, atol=1e-5)
        if hasattr(found, "classes_"):
            assert found.predict(X).tolist() == expected["predict"]
