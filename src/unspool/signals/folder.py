"""A folder of recordings, and where their labels are: subfolders, file names, or a table."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unspool.errors import DataError, bad_parameter, did_you_mean
from unspool.signals.labelled import Labelled, labels_or_numbers
from unspool.signals.sound import EXTENSIONS


def read_folder(
    path: str | os.PathLike[str],
    labels: str | Mapping[str, Any] | None = "folder",
) -> Labelled:
    """The recordings (WAV, FLAC, OGG, AIFF, MP3) under a folder, sorted by path, hidden ones left out, or one file; X
    are the paths, which an estimator reads, and the names are the paths within the folder.

    labels: "folder": the first subfolder that a file is in; a regular expression with one group: what it finds in the
    file's name ("^([0-9])_"); a mapping from name to label, of a table: its files are the recordings, others are left
    out; None: there are none. Labels that are all whole numbers become int64.
    Raises `DataError` where there is no recording, a label is missing, or a file of the mapping.
    """
    folder = Path(path).expanduser()
    ends = ", ".join(EXTENSIONS)
    if folder.is_file():
        if folder.suffix.lower() not in EXTENSIONS:
            raise DataError(
                f"{str(folder)!r} is neither a folder nor a recording, whose name ends in {ends}."
            )
        folder, files = folder.parent, [folder]
    elif folder.is_dir():
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in EXTENSIONS and p.is_file())
        files = [p for p in files if not any(name[0] == "." for name in p.relative_to(folder).parts)]
        if not files:
            raise DataError(f"No recording is under {str(folder)!r}: no file ends in {ends}.")
    else:
        raise DataError(f"There is no folder or recording {str(folder)!r}.")
    names = [p.relative_to(folder).as_posix() for p in files]
    if isinstance(labels, Mapping):
        return _of_table(folder, names, labels)
    if labels is None:
        return Labelled(names, [*files], None)
    if labels == "folder":
        found = [name.split("/")[0] if "/" in name else None for name in names]
        missing = "is in no subfolder. Its name is the label; or give a pattern of file names, or a table"
    else:
        pattern = _pattern(labels)
        matches = [pattern.search(name.split("/")[-1]) for name in names]
        found = [None if match is None else match[1] for match in matches]
        missing = f"does not match the pattern {labels!r}"
    for name, label in zip(names, found):
        if label is None:
            raise DataError(f"{name!r} {missing}.")
    return Labelled(names, [*files], labels_or_numbers([str(label) for label in found]))


def _pattern(text: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        bad_parameter("read_folder", "labels", "'folder' or a regular expression", text, f"{error}.")
    if pattern.groups != 1:
        bad_parameter(
            "read_folder", "labels", "a regular expression with one group, such as '^([0-9])_'", text
        )
    return pattern


def _of_table(folder: Path, names: list[str], labels: Mapping[str, Any]) -> Labelled:
    known = set(names)
    for name in labels:
        if name not in known:
            hint = did_you_mean(str(name), names)
            raise DataError(f"The table names {name!r}, which is not under {str(folder)!r}. {hint}".rstrip())
    wanted = [*labels]
    values = [labels[name] for name in wanted]
    text = all(isinstance(value, str) for value in values)
    return Labelled(
        wanted, [folder / n for n in wanted], labels_or_numbers(values) if text else np.array(values)
    )
