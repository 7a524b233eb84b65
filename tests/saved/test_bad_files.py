"""Damaged, truncated and hostile files: one `ModelFileError` with the reason, nothing run or allocated."""

from __future__ import annotations

import io
import json
import os
import re
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save

import unspool
from unspool import SequenceClassifier, SequenceRegressor
from unspool.errors import ModelFileError
from unspool.saved.document import encode

from .test_saved_models import SMALL, TEXTS, Y

JSON, WEIGHTS = "model.json", "weights.safetensors"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    one = {**SMALL, "bidirectional": False, "pooling": "last"}
    SequenceRegressor(**one).fit(TEXTS, Y).save(folder / "m")
    SequenceClassifier(**one).fit(TEXTS, Y > 2).save(folder / "c")
    SequenceRegressor(**one).fit([np.eye(2)] * 4, Y[:4]).save(folder / "s")
    return folder


def parts(folder: Path) -> tuple[dict[str, Any], bytes]:
    return json.loads((folder / JSON).read_bytes()), (folder / WEIGHTS).read_bytes()


def write(folder: Path, document: bytes, weights: bytes) -> Path:
    folder.mkdir()
    (folder / JSON).write_bytes(document)
    (folder / WEIGHTS).write_bytes(weights)
    return folder


def refused(path: Path, message: str) -> None:
    with pytest.raises(ModelFileError, match="Cannot load the model") as caught:
        unspool.load(path)
    assert re.search(message, str(caught.value)), str(caught.value)


def at(content: dict[str, Any], *keys: str, value: Any) -> None:
    for key in keys[:-1]:
        content = content[key]
    content[keys[-1]] = value


@pytest.mark.parametrize(
    ("which", "keys", "value", "message"),
    [
        ("m", ("class",), "os.system", "'class' must be one of"),
        ("m", ("class",), ["SequenceRegressor"], "'class' must be str"),
        ("m", ("class",), "SequenceClassifier", "has no field 'dtype'"),
        ("m", ("format",), "tar", "'format' must be"),
        ("m", ("format_version",), 2, "format version 2.*Install"),
        ("m", ("parameters", "hidden_size"), 10**6, "tensor .* must be float32 of shape"),
        ("m", ("parameters", "hidden_size"), 10**18, "do not make a network|must be float32"),
        ("m", ("parameters", "hidden_size"), -1, "hidden_size"),
        ("m", ("parameters", "hidden_size"), "5", "hidden_size"),
        ("m", ("parameters", "hidden_size"), [5, 0], "hidden_size"),
        ("m", ("parameters", "hidden_size"), [5, [1]], "'hidden_size' must be a list of int"),
        ("m", ("parameters", "hidden_size"), [1] * 10**5, "more layers than"),
        ("m", ("parameters", "zoneout"), ["x"], "'zoneout' must be a list of float"),
        ("m", ("parameters", "merge"), "sum", "left out without bidirectional"),
        ("m", ("parameters", "num_layers"), 10**9, "more layers than"),
        ("m", ("parameters", "dense"), [10**6] * 10, "more layers than|no tensor"),
        ("m", ("parameters", "dense"), [[1]], "'dense'"),
        ("m", ("parameters", "embedding_dim"), 10**12, "must be float32|do not make"),
        ("m", ("parameters", "bidirectional"), True, "must be float32|no tensor"),
        ("m", ("parameters", "cell"), "gru", "must be float32"),
        ("m", ("parameters", "cell"), "lstn", "Did you mean 'lstm'"),
        ("m", ("parameters", "cell"), {"a": 1}, "'cell' must be str"),
        ("m", ("parameters", "pooling"), "median", "pooling"),
        ("m", ("parameters", "pooling"), ["mean"], "'pooling' must be str"),
        ("m", ("parameters", "extra"), 1, "'extra' is missing or unknown"),
        ("m", ("parameters",), [], "'parameters' must be dict"),
        ("m", ("input", "kind"), "video", "'kind' must be one of"),
        ("m", ("input", "encoder", "words"), 3, "words"),
        ("m", ("input", "encoder", "words"), ["good"], "must be float32 of shape"),
        ("m", ("input", "encoder", "words"), ["good"] * 11, "repeated"),
        ("m", ("input", "encoder"), None, "'encoder' must be dict"),
        ("m", ("target", "mean"), ["3"], "'mean' must be a list of float"),
        ("m", ("target", "mean"), [1.0, 2.0], "'scale' must be a list of 2"),
        ("m", ("target", "ndim"), 3, "3 axes"),
        ("m", ("training", "history"), [{"epoch": "one"}], "must hold numbers"),
        ("m", ("training",), None, "'training' must be dict"),
        ("c", ("target", "classes"), [True, False], "sorted"),
        ("c", ("target", "classes"), [True], "two or more"),
        ("c", ("target", "classes"), ["a", "b"], "'classes' must be a list of bool"),
        ("c", ("target", "dtype"), "U999999999999", "'dtype' must be one of"),
        ("s", ("input", "mean"), [0.0] * 3, "'scale' must be a list of 3"),
        ("s", ("input", "scale"), [0.0, 1.0], "not positive"),
        ("s", ("input", "kind"), "ids", "no field 'vocabulary_size'"),
    ],
)
def test_settings_that_do_not_hold(
    whole: Path, tmp_path: Path, which: str, keys: tuple[str, ...], value: Any, message: str
) -> None:
    """The file is written as its format asks, checksums included: only its content is wrong."""
    content, weights = parts(whole / which)
    del content["checksums"]
    at(content, *keys, value=value)
    tracemalloc.start()
    refused(write(tmp_path / "m", encode(content, weights), weights), message)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_fields_that_are_missing(whole: Path, tmp_path: Path) -> None:
    content, weights = parts(whole / "m")
    for i, name in enumerate(("class", "parameters", "input", "target", "training", "format", "checksums")):
        short = {key: value for key, value in content.items() if key not in (name, "checksums")}
        document = encode(short, weights)
        if name in ("format", "checksums"):
            document = json.dumps({k: v for k, v in content.items() if k != name}).encode()
        refused(write(tmp_path / str(i), document, weights), f"no field '{name}'")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"", "not readable JSON"),
        (b"[1, 2]", "must hold a JSON object. Got list"),
        (b"\xff\xfe{}", "not readable JSON"),
        (b"[" * 100_000, "not readable JSON"),
        (b'{"format": NaN}', "NaN is not a JSON number"),
        (b'{"format": ' + b"9" * 10_000 + b"}", "not readable JSON"),
        (b"\x80\x04\x95cos\nsystem\n(S'true'\ntR.", "not readable JSON"),
    ],
)
def test_a_document_that_is_not_one(whole: Path, tmp_path: Path, document: bytes, message: str) -> None:
    refused(write(tmp_path / "m", document, parts(whole / "m")[1]), message)


def test_every_truncation_and_every_flipped_byte_is_noticed(whole: Path, tmp_path: Path) -> None:
    document, weights = (whole / "m" / JSON).read_bytes(), (whole / "m" / WEIGHTS).read_bytes()
    folder = write(tmp_path / "m", document, weights)
    random = np.random.RandomState(0)
    for name, data in ((JSON, document), (WEIGHTS, weights)):
        for cut in random.randint(0, len(data), 20):
            (folder / name).write_bytes(data[:cut])
            refused(folder, "damaged|truncated|readable|checksum|field")
        for place in random.randint(0, len(data), 60):
            changed = bytearray(data)
            changed[place] ^= 1 << random.randint(8)
            (folder / name).write_bytes(changed)
            try:
                unspool.load(folder)
            except ModelFileError:
                continue
            # White space between JSON values carries nothing.
            assert name == JSON and json.loads(bytes(changed)) == json.loads(data)
        (folder / name).write_bytes(data)
    unspool.load(folder)


def header(entries: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (b"", "truncated"),
        (header({}, length=2**62), "truncated"),
        (header([]), "must be a JSON object"),
        (header(b"{" * 50), "header .* not readable"),
        (header({}), "the 0 tensors"),
        (header({"x": 3}), "'x' has no valid dtype"),
        (header({"x": {"dtype": "F32", "shape": [2**39, 2**39], "data_offsets": [0, 0]}}), "declares"),
        (header({"x": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"abcd"), "no valid dtype"),
        (header({"x": {"dtype": "F32", "shape": ["1"], "data_offsets": [0, 4]}}, b"abcd"), "no valid dtype"),
        (
            header({"x": {"dtype": "F32", "shape": [1] * 99, "data_offsets": [0, 4]}}, b"abcd"),
            "no valid dtype",
        ),
        (header({"x": {"dtype": "PY", "shape": [1], "data_offsets": [0, 4]}}, b"abcd"), "no valid dtype"),
        (
            header({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"abcd"),
            "no tensor|that the model",
        ),
    ],
)
def test_weights_that_are_none(whole: Path, tmp_path: Path, weights: bytes, message: str) -> None:
    content, _ = parts(whole / "m")
    del content["checksums"]
    refused(write(tmp_path / "m", encode(content, weights), weights), message)


def test_tensors_of_other_shapes_dtypes_and_offsets(whole: Path, tmp_path: Path) -> None:
    content, _ = parts(whole / "m")
    del content["checksums"]
    tensors = load_file(whole / "m" / WEIGHTS)
    name = sorted(tensors)[0]
    changes: list[Callable[[torch.Tensor], torch.Tensor]] = [
        lambda t: t.double(),
        lambda t: t.flatten(),
        lambda t: t[..., :-1].contiguous(),
    ]
    for i, change in enumerate(changes):
        weights = save({**tensors, name: change(tensors[name])})
        refused(write(tmp_path / str(i), encode(content, weights), weights), f"{name}.*must be float32.*Got")
    weights = save({**tensors, "spare": torch.zeros(1)})
    refused(write(tmp_path / "spare", encode(content, weights), weights), "'spare' that the model does not")
    good = save(tensors)
    length = int.from_bytes(good[:8], "little")
    entries = json.loads(good[8 : 8 + length])
    entries[name]["data_offsets"] = [0, 10**15]
    weights = header(entries, good[8 + length :])
    refused(write(tmp_path / "offsets", encode(content, weights), weights), "not readable")


def zipped(path: Path, members: list[tuple[str, bytes, int]]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data, method in members:
            archive.writestr(name, data, method)
    return path


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zips_that_are_not_models(whole: Path, tmp_path: Path) -> None:
    document, weights = (whole / "m" / JSON).read_bytes(), (whole / "m" / WEIGHTS).read_bytes()
    stored, deflated = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
    good = [(JSON, document, deflated), (WEIGHTS, weights, stored)]
    assert unspool.load(zipped(tmp_path / "good.zip", good)).predict(["good"]).shape == (1,)
    for i, extra in enumerate(("../evil.py", "/etc/evil", "sub/model.json", JSON)):
        path = zipped(tmp_path / f"extra{i}.zip", [*good, (extra, b"x", stored)])
        refused(path, "and nothing else")
    refused(zipped(tmp_path / "short.zip", good[:1]), "and nothing else")
    refused(zipped(tmp_path / "empty.zip", []), "and nothing else")
    bomb = zipped(tmp_path / "bomb.zip", [(JSON, bytes(2**28), deflated), good[1]])
    assert bomb.stat().st_size < 2**19
    tracemalloc.start()
    refused(bomb, "larger than 128 MiB")
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()
    refused(zipped(tmp_path / "packed.zip", [good[0], (WEIGHTS, bytes(10**6), deflated)]), "uncompressed")
    whole_zip = (tmp_path / "good.zip").read_bytes()
    random = np.random.RandomState(0)
    for i, cut in enumerate(random.randint(0, len(whole_zip), 20)):
        (tmp_path / f"cut{i}.zip").write_bytes(whole_zip[:cut])
        refused(tmp_path / f"cut{i}.zip", "readable zip")
    data_start = whole_zip.index(weights[:64])
    for i in range(20):
        changed = bytearray(whole_zip)
        changed[data_start + random.randint(len(weights))] ^= 4
        (tmp_path / f"flip{i}.zip").write_bytes(changed)
        refused(tmp_path / f"flip{i}.zip", "damaged|CRC|readable|truncated|dtype|tensor")
    changed = bytearray(whole_zip)
    changed[changed.rindex(b"PK\x01\x02") + 8] |= 1  # the encryption flag of the last member
    (tmp_path / "locked.zip").write_bytes(changed)
    refused(tmp_path / "locked.zip", "encrypted|readable")


def test_a_size_claimed_in_the_zip_is_not_believed(whole: Path, tmp_path: Path) -> None:
    """model.json of 256 MiB that claims to be small: at most 128 MiB are ever unpacked."""
    weights = (whole / "m" / WEIGHTS).read_bytes()
    path = zipped(tmp_path / "m.zip", [(JSON, bytes(2**28), zipfile.ZIP_DEFLATED), (WEIGHTS, weights, 0)])
    data = bytearray(path.read_bytes())
    place = data.index(b"PK\x01\x02")
    data[place + 24 : place + 28] = struct.pack("<I", 1000)
    path.write_bytes(data)
    tracemalloc.start()
    refused(path, "readable")
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_paths_that_hold_no_model(tmp_path: Path) -> None:
    refused(tmp_path / "nothing", "nothing at this path")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "no model.json")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / JSON).write_text("{}")
    refused(tmp_path / "half", "no weights.safetensors")
    (tmp_path / "text.txt").write_text("hello")
    refused(tmp_path / "text.txt", "neither a folder nor a readable zip")
    (tmp_path / "folders" / JSON).mkdir(parents=True)
    refused(tmp_path / "folders", "model.json is not a file")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "neither a folder nor a file")
    (tmp_path / "pipes").mkdir()
    (tmp_path / "pipes" / JSON).write_text("{}")
    os.mkfifo(tmp_path / "pipes" / WEIGHTS)
    refused(tmp_path / "pipes", "weights.safetensors is not a file")


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(marker),)

    buffer = io.BytesIO()
    torch.save(Evil(), buffer)
    (tmp_path / "m.zip").write_bytes(buffer.getvalue())
    refused(tmp_path / "m.zip", "nothing else")
    assert not marker.exists()
