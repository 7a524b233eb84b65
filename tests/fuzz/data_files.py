"""Files of data: word vectors, tables, series and recordings, tagged sentences."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import wave
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from tables.workbooks import workbook

from unspool.encode import vector_files
from unspool.signals import read_folder, read_sound, read_ts
from unspool.tables import read_pieces, read_table
from unspool.tagging.files import read_tagged

from .mutations import changed_bytes

Case = Callable[[random.Random], None]
WORDS = ["the", "cat", "sat", "émile", "a b"]
TABLE = np.arange(15, dtype=np.float32).reshape(5, 3)


def vectors(folder: Path) -> Case:
    lines = "".join(f"{w} {' '.join(map(str, row))}\n" for w, row in zip(WORDS, TABLE)).encode()
    binary = b"5 3\n" + b"".join(w.encode() + b" " + row.tobytes() for w, row in zip(WORDS[:4], TABLE))
    array = io.BytesIO()
    np.save(array, TABLE)
    kept = {
        "glove.txt": lines,
        "word2vec.vec": b"5 3\n" + lines,
        "word2vec.bin": binary,
        "packed.txt": gzip.compress(lines),
        "array.npy": array.getvalue(),
    }
    listed = io.BytesIO()
    pl.DataFrame({"word": WORDS}).write_parquet(listed)
    lists = {"array.txt": "\n".join(WORDS).encode(), "array.parquet": listed.getvalue()}

    def case(rng: random.Random) -> None:
        name = rng.choice(list(kept))
        data = changed_bytes(kept[name], rng)
        if name == "packed.txt" and rng.random() < 0.5:
            data = gzip.compress(changed_bytes(lines, rng))
        (folder / name).write_bytes(data)
        if name == "array.npy":
            for each in lists:
                (folder / each).unlink(missing_ok=True)
            which = rng.choice(list(lists))
            (folder / which).write_bytes(
                lists[which] if rng.random() < 0.5 else changed_bytes(lists[which], rng)
            )
        found = vector_files.read(folder / name, {"the", "cat"}, rng.choice([0, 3]))
        assert len(found.words) == len(found.table) and np.isfinite(found.table).all()

    return case


def tables(folder: Path) -> Case:
    frame = pl.DataFrame(
        {"text": ["good", "bad, very", None, 'a "b"'], "score": [1.5, -2.0, 0.0, 1e9], "n": [1, 2, 3, 4]}
    )
    csv = frame.write_csv().encode()
    rows = frame.to_dicts()
    kept: dict[str, bytes] = {
        "t.csv": csv,
        "t.tsv": frame.write_csv(separator="\t").encode(),
        "t.json": json.dumps(rows).encode(),
        "t.jsonl": "\n".join(map(json.dumps, rows)).encode(),
        "t.csv.gz": gzip.compress(csv),
        "t.csv.bz2": bz2.compress(csv),
        "t.csv.xz": lzma.compress(csv),
        "wide.csv": csv.decode().encode("utf-16"),
    }

    def case(rng: random.Random) -> None:
        name = rng.choice(list(kept))
        path = folder / name
        path.write_bytes(changed_bytes(kept[name], rng))
        options: dict[str, Any] = {}
        if rng.random() < 0.3:
            options = {
                "encoding": rng.choice(["utf-8", "utf-16", "latin-1", "cp1252", "none"]),
                "quotes": rng.random() < 0.5,
                "header": rng.random() < 0.5,
                "delimiter": rng.choice([None, ";", "\t"]),
            }
        table = read_table(path, **options)
        assert len(table) == len(table.rows) > 0

    return case


def parquet(folder: Path) -> Case:
    """Each case starts a process, a quarter of a second."""
    frame = pl.DataFrame(
        {"text": ["good", "bad, very", None, 'a "b"'], "score": [1.5, -2.0, 0.0, 1e9], "n": [1, 2, 3, 4]}
    )
    kept = []
    for packed in ("uncompressed", "zstd"):
        file = io.BytesIO()
        frame.write_parquet(file, compression=packed, statistics=False)  # type: ignore[arg-type]
        kept.append(file.getvalue())

    def case(rng: random.Random) -> None:
        path = folder / "t.parquet"
        path.write_bytes(changed_bytes(rng.choice(kept), rng))
        if rng.random() < 0.5:
            assert len(read_table(path)) > 0
        else:
            assert sum(map(len, read_pieces(path, None, rows=3))) > 0

    return case


def workbooks(folder: Path) -> Case:
    """Sheets, their parts changed or the whole archive; each case starts a process."""
    workbook(folder / "whole.xlsx", [["text", "n"], ["good", 1.5], ["bad", 2]])
    whole = (folder / "whole.xlsx").read_bytes()
    with zipfile.ZipFile(folder / "whole.xlsx") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}

    def case(rng: random.Random) -> None:
        path = folder / "t.xlsx"
        if rng.random() < 0.8:
            name = rng.choice(list(parts))
            with zipfile.ZipFile(path, "w") as archive:
                for each, data in parts.items():
                    archive.writestr(each, changed_bytes(data, rng) if each == name else data)
        else:
            path.write_bytes(changed_bytes(whole, rng))
        assert len(read_table(path)) > 0

    return case


def signals(folder: Path) -> Case:
    head = (
        "@problemName p\n@timeStamps false\n@univariate false\n@dimensions 2\n@classLabel true a b\n@data\n"
    )
    series = (head + "1,2,3:4,5,6:a\n1,?:2,3:b\n").encode()
    sound = io.BytesIO()
    with wave.open(sound, "wb") as file:
        file.setparams((1, 2, 8000, 200, "NONE", ""))
        file.writeframes((np.sin(np.arange(200)) * 9000).astype("<i2").tobytes())

    def case(rng: random.Random) -> None:
        if rng.random() < 0.5:
            (folder / "s.ts").write_bytes(changed_bytes(series, rng))
            found = read_ts(folder / "s.ts")
            assert all(x.ndim == 2 for x in found.X)
            return
        place = folder / "sounds" / "yes"
        place.mkdir(parents=True, exist_ok=True)
        (place / "one.wav").write_bytes(changed_bytes(sound.getvalue(), rng))
        for path in read_folder(folder / "sounds").X:
            read_sound(path).at(4000)

    return case


def tagged(folder: Path) -> Case:
    columns = b"mr O\nSmith B-PER\n\nin O\nNew B-LOC\nYork I-LOC\n"
    lines = b'{"tokens": ["mr", "Smith"], "tags": ["O", "B-PER"]}\n{"tokens": ["in"], "tags": ["O"]}\n'

    def case(rng: random.Random) -> None:
        name, data = rng.choice([("t.conll", columns), ("t.jsonl", lines)])
        (folder / name).write_bytes(changed_bytes(data, rng))
        found = read_tagged(folder / name)
        assert found.tags is not None and [*map(len, found.tags)] == [*map(len, found.tokens)]

    return case
