"""Arrays (n, ., .) of series of one length, in a layout that is named."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from unspool.arrays import unwrapped
from unspool.errors import DataError, bad_parameter, check_choice
from unspool.signals.labelled import Labelled

LAYOUTS = ("time-features", "features-time")


def from_panel(X: Any, layout: str, y: Any = None) -> Labelled:
    """The series (T, F) of a numeric array X (n, T, F), layout "time-features", or (n, F, T), "features-time", as
    sktime and aeon have them; or (n, T), in either. y: (n,), or None. NaN at the end of all channels of a series is
    its padding and taken off; `DataError` for another shape or type."""
    check_choice("from_panel", "layout", layout, LAYOUTS)
    array = np.asarray(unwrapped(X))
    if array.dtype.kind not in "iufb" or array.ndim not in (2, 3) or 0 in array.shape:
        raise DataError(
            f"A panel must be a numeric array of 2 or 3 axes, none empty. Got {array.dtype} of {array.shape}."
        )
    array = array.astype(np.float64)
    if array.ndim == 2:
        array = array[:, :, None]
    elif layout == "features-time":
        array = array.transpose(0, 2, 1)
    there = ~np.isnan(array).all(2)
    lengths = np.where(there.any(1), there.shape[1] - there[:, ::-1].argmax(1), 0)
    labels = None if y is None else np.asarray(unwrapped(y))
    if labels is not None and labels.shape != (len(array),):
        raise DataError(f"y must have one target a series, ({len(array)},). Got {labels.shape}.")
    series = [row[:length] for row, length in zip(array, lengths.tolist())]
    return Labelled([*range(len(series))], series, labels)


def read_panel(path: str | os.PathLike[str], layout: str | None) -> Labelled:
    """Of a .npy file with X, or a .npz with arrays X and, where there are targets, y; layout as of `from_panel`."""
    if layout is None:
        bad_parameter("read_panel", "layout", f"one of {list(LAYOUTS)}: an array does not say it", None)
    path = Path(path).expanduser()
    if not path.is_file():
        raise DataError(f"There is no file {str(path)!r}.")
    try:
        with open(path, "rb") as file:
            if not file.read(6).startswith((b"\x93NUMPY", b"PK")):
                raise DataError(f"{str(path)!r} is no file of NumPy. Write it by numpy.save or numpy.savez.")
        found = np.load(path, allow_pickle=False)
        arrays = dict(found) if isinstance(found, np.lib.npyio.NpzFile) else {"X": found}
    except DataError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        if "allow_pickle" in str(error):
            raise DataError(
                f"{str(path)!r} holds objects of Python, which are not read. Save X as numbers and y as numbers or "
                "texts: X.astype(float), y.astype(str)."
            ) from None
        raise DataError(f"Cannot read {str(path)!r} as .npy or .npz: {error}") from error
    if "X" not in arrays:
        raise DataError(f"{path.name} must hold an array 'X', and 'y' for targets. It has {sorted(arrays)}.")
    return from_panel(arrays["X"], layout, arrays.get("y"))
