"""Files of the archives: values, labels, and one clear error for each way in which a file is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unspool.errors import DataError
from unspool.signals import read_ts

HEAD = "# of two channels\n@problemName Two\n@timeStamps false\n@classLabel true a b\n@data\n"


def written(folder: Path, text: str) -> Path:
    (folder / "two.ts").write_text(text)
    return folder / "two.ts"


def test_channels_become_columns_and_question_marks_nan(tmp_path: Path) -> None:
    found = read_ts(written(tmp_path, HEAD + "1,2,3:4,5,?:a\n7:8:b\n\n"))
    X, y = found
    np.testing.assert_array_equal(X[0], [[1, 4], [2, 5], [3, np.nan]])
    np.testing.assert_array_equal(X[1], [[7, 8]])
    assert y.tolist() == ["a", "b"] and found.names == [0, 1]


def test_targets_and_files_without_labels(tmp_path: Path) -> None:
    _, y = read_ts(written(tmp_path, "@targetlabel true\n@data\n1,2:0.5\n3,4:-1\n"))
    assert y.tolist() == [0.5, -1.0]
    X, y = read_ts(written(tmp_path, "@classLabel false\n@data\n1,2\n3,4,5\n"))
    assert y is None and [len(x) for x in X] == [2, 3]
    _, y = read_ts(written(tmp_path, "@classLabel true 1 2\n@data\n1,2:2\n3,4:1\n"))
    assert y.dtype == np.int64 and y.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD + "1,2:3:a\n", r"two.ts, line 6, has channels of \[1, 2\] values"),
        (HEAD + "1:2:a\n1:a\n", "line 7, has 1 channels, those before it 2"),
        (HEAD + "1:2:c\n", "line 6, has the class 'c', which its header does not name"),
        (HEAD + "1:x:a\n", "line 6, must hold numbers"),
        (HEAD, "no case after @data"),
        ("1,2:a\n", "no line '@data'"),
        (HEAD.replace("@timeStamps false", "@timeStamps true") + "(0,1):a\n", "time stamps"),
        ("@targetLabel true\n@data\n1,2:high\n", "The target of two.ts must hold numbers"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_ts(written(tmp_path, text))


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(DataError, match=r"There is no file 'nowhere.ts'"):
        read_ts("nowhere.ts")


def test_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.ts").write_bytes(b"# caf\xe9\n")
    with pytest.raises(DataError, match=r"is not UTF-8: byte 0xe9 at 5. Save it as UTF-8"):
        read_ts(tmp_path / "a.ts")
