"""What a checkpoint says of the training that it is of: other data are refused, another machine is named."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from estimators import golden
from forecasting.conftest import SMALL as FORECASTER
from forecasting.conftest import waves
from seq2seq.conftest import LETTERS
from tagging.toy import sentences

from unspool import (
    Forecaster,
    Seq2Seq,
    SequenceClassifier,
    SequenceGenerator,
    SequenceRegressor,
    SequenceTagger,
)
from unspool.errors import ModelFileError
from unspool.training import depends

SMALL: dict[str, Any] = {"hidden_size": 5, "embedding_dim": 4, "epochs": 1, "random_state": 0, "verbose": 0}
TEXTS, _, LABELS = golden.texts(40)
COUNTS = np.arange(40) % 5
PROSE = "the cat sat on the mat and the dog sat on the cat so the mat was flat " * 9
TOKENS, TAGS, *_ = sentences(20)
TARGETS = [text[::-1].upper() for text in LETTERS]

#: Of each estimator and kind of target: what makes it, its data, and the data with one target or row changed.
OTHER: dict[str, tuple[Callable[[], Any], tuple, tuple]] = {
    "counts": (
        lambda: SequenceRegressor(**SMALL, blend=False, loss="poisson"),
        (TEXTS, COUNTS),
        (TEXTS, COUNTS[::-1]),
    ),
    "ordered": (
        lambda: SequenceClassifier(**SMALL, blend=False, order=(0, 1, 2)),
        (TEXTS, COUNTS % 3),
        (TEXTS, COUNTS[::-1] % 3),
    ),
    "several labels": (
        lambda: SequenceClassifier(**SMALL, blend=False),
        (TEXTS, np.stack([COUNTS > 1, COUNTS > 3], 1).astype(int)),
        (TEXTS, np.stack([COUNTS > 1, COUNTS > 2], 1).astype(int)),
    ),
    "tags": (
        lambda: SequenceTagger(**SMALL, characters=None),
        (TOKENS, TAGS),
        (TOKENS, [*TAGS[:-1], ["O"] * len(TAGS[-1])]),
    ),
    "forecasts": (
        lambda: Forecaster(**{**FORECASTER, "epochs": 1}),
        (waves({"a": 90}),),
        (waves({"a": 91}),),
    ),
    "text": (lambda: SequenceGenerator(**SMALL, chunk_length=20), (PROSE,), (PROSE + " the",)),
    "pairs": (
        lambda: Seq2Seq(**SMALL),
        (LETTERS, TARGETS),
        (LETTERS, [*TARGETS[:-1], TARGETS[-1] + TARGETS[-1][:1]]),
    ),
}


@pytest.mark.parametrize("kind", OTHER)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_other_data_are_refused(kind: str, tmp_path: Path) -> None:
    make, data, changed = OTHER[kind]
    make().fit(*data, checkpoint=tmp_path / "state")
    with pytest.raises(ModelFileError, match=r"of another training. What differs: .*(rows|network)"):
        make().fit(*changed, checkpoint=tmp_path / "state")
    make().fit(*data, checkpoint=tmp_path / "state")  # the file is as it was


def test_each_part_of_another_machine_is_said() -> None:
    here = depends.machine()
    assert {"unspool", "torch", "numpy", "Python", "processor", "instruction set", "threads"} == set(here)
    then = {"settings": {}, "network": "", "training rows": "", "validation rows": "", "machine": here}
    depends.compare(Path("state"), then, then)
    for name, was in here.items():
        with pytest.warns(UserWarning, match=f"What differs: {name}, there {re.escape(was)}, here another"):
            depends.compare(Path("state"), then, {**then, "machine": {**here, name: "another"}})
