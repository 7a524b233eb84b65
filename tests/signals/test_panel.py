"""Arrays in both layouts, which are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unspool.errors import DataError, InvalidParameterError
from unspool.signals import from_panel, read_panel

PANEL = np.arange(24.0).reshape(2, 4, 3)  # 2 series of 4 steps with 3 features


def test_both_layouts_give_the_same_series() -> None:
    for X, layout in ((PANEL, "time-features"), (PANEL.transpose(0, 2, 1), "features-time")):
        found = from_panel(X, layout, [0, 1])
        np.testing.assert_array_equal(found.X, PANEL)
        assert found.y is not None and found.y.tolist() == [0, 1]
    assert from_panel(PANEL[:, :, 0], "features-time").X[1].shape == (4, 1)


def test_padding_of_nan_is_taken_off_and_a_gap_stays() -> None:
    X = PANEL.copy()
    X[0, 2:] = np.nan
    X[1, 1] = np.nan
    found = from_panel(X, "time-features").X
    assert [len(x) for x in found] == [2, 4] and np.isnan(found[1][1]).all()
    assert len(from_panel(np.full((1, 2, 2), np.nan), "time-features").X[0]) == 0


def test_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "both.npz", X=PANEL, y=np.array(["a", "b"]))
    np.save(tmp_path / "alone.npy", PANEL.transpose(0, 2, 1))
    X, y = read_panel(tmp_path / "both.npz", "time-features")
    assert y.tolist() == ["a", "b"]
    np.testing.assert_array_equal(read_panel(tmp_path / "alone.npy", "features-time").X, X)


def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameterError, match="an array does not say it"):
        read_panel(tmp_path / "alone.npy", None)
    with pytest.raises(InvalidParameterError, match="'features-time'"):
        from_panel(PANEL, "ntf")
    with pytest.raises(DataError, match="2 or 3 axes"):
        from_panel(np.zeros((2, 2, 2, 2)), "time-features")
    with pytest.raises(DataError, match=r"one target a series, \(2,\). Got \(3,\)"):
        from_panel(PANEL, "time-features", [1, 2, 3])
    np.savez(tmp_path / "other.npz", data=PANEL)
    with pytest.raises(DataError, match="an array 'X'"):
        read_panel(tmp_path / "other.npz", "time-features")
    np.save(tmp_path / "code.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"holds objects of Python, which are not read. Save X as numbers"):
        read_panel(tmp_path / "code.npy", "time-features")
    (tmp_path / "text.npy").write_text("a,b")
    with pytest.raises(DataError, match="is no file of NumPy"):
        read_panel(tmp_path / "text.npy", "time-features")
    with pytest.raises(DataError, match="There is no file"):
        read_panel(tmp_path / "none.npy", "time-features")
