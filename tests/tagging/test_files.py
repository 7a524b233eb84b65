"""Files of tagged sentences: columns and JSON lines, read and written back; what cannot be read names its line."""

from __future__ import annotations

import json

import pytest

from unspool.errors import DataError
from unspool.tagging import read_tagged
from unspool.tagging.files import write_predictions

CONLL = "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\n\nPeter NNP B-PER\n"


def test_columns(tmp_path):
    file = tmp_path / "a.conll"
    file.write_text(CONLL)
    found = read_tagged(file)
    assert found.tokens == [["EU", "rejects"], ["Peter"]]
    assert found.tags == [["B-ORG", "O"], ["B-PER"]] and found.labels is None
    assert read_tagged(file, tags=1).tags == [["NNP", "VBZ"], ["NNP"]]
    assert read_tagged(file, tokens=1, with_tags=False).tokens == [["NNP", "VBZ"], ["NNP"]]


def test_tabs_keep_blanks_and_windows_lines(tmp_path):
    file = tmp_path / "a.txt"
    file.write_bytes("\ufeffNew York\tB-LOC\r\n#\tO\r\n\r\n\u00a0x\tO\r\n \t\r\n".encode())
    found = read_tagged(file)
    assert found.tokens == [["New York", "#"], ["\u00a0x"]] and found.tags == [["B-LOC", "O"], ["O"]]


def test_json_lines(tmp_path):
    file = tmp_path / "a.jsonl"
    rows = [
        {"id": 7, "tokens": ["a", "b"], "ner": ["O", "B-X"], "intent": "ask"},
        {"tokens": [], "ner": [], "intent": "end"},
    ]
    file.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    found = read_tagged(file, tags="ner", label="intent")
    assert found.tokens == [["a", "b"], []] and found.tags == [["O", "B-X"], []]
    assert found.labels == ["ask", "end"] and found.rows == rows


def test_written_back(tmp_path):
    file, out = tmp_path / "a.conll", tmp_path / "b.conll"
    file.write_text(CONLL)
    added = [{"prediction": ["B-ORG", "O"], "p": [0.5, 0.25]}, {"prediction": ["O"], "p": [1.0]}]
    write_predictions(out, read_tagged(file), added)
    assert out.read_text() == (
        "EU\tNNP\tB-ORG\tB-ORG\t0.5000\nrejects\tVBZ\tO\tO\t0.2500\n\nPeter\tNNP\tB-PER\tO\t1.0000\n\n"
    )
    assert read_tagged(out, tags=3).tags == [["B-ORG", "O"], ["O"]]
    lines = tmp_path / "a.jsonl"
    lines.write_text('{"tokens": ["é"], "id": 1}\n')
    text = write_predictions(None, read_tagged(lines, with_tags=False), [{"tags": ["O"], "label": "x"}])
    assert text == '{"tokens": ["é"], "id": 1, "tags": ["O"], "label": "x"}\n'


@pytest.mark.parametrize(
    "name, text, options, message",
    [
        ("a.conll", "a O\nb X Y\n", {}, "Line 2 of .* must have 2 columns, as those before it. Got 'b X Y'"),
        ("a.conll", "a\nb\n", {}, "Line 1 of .* must have a token and a tag"),
        ("a.conll", "a O\n", {"tags": 2}, "Line 1 of .* has no column 2 for the tag"),
        ("a.conll", "a O\n", {"tags": "ner"}, "the number of one, from 0. Got 'ner'"),
        ("a.conll", "a O\n", {"label": "x"}, "no label of a whole sentence"),
        ("a.conll", "\n\n", {}, "holds no sentence"),
        ("a.conll", "# id 1\na O\n", {}, "Line 2 .* must have 3 columns.*Take out the comments"),
        ("a.conll", "a O\n# id 1\n", {}, "Line 2 .* must have 2 columns.*Take out the comments"),
        ("a.conll", "B-X a\nO b\n", {}, "columns of .* seem exchanged: .*'B-X'.*tokens=1, tags=0"),
        ("a.jsonl", "[" * 100_000, {}, "Line 1 of .* is not JSON that can be read"),
        ("a.conll", "a O\n", {"encoding": "utf-9"}, "Unknown encoding 'utf-9'"),
        (
            "a.jsonl",
            '{"tokens": ["a"], "tags": ["O"]}\n{"tokens": ["a"], "tags": []}',
            {},
            "Line 2 .* 1 tokens and 0",
        ),
        ("a.jsonl", '{"tokens": ["a"]}', {}, "Line 1 .* list of strings 'tags'. It has 'tokens'"),
        ("a.jsonl", "nothing", {}, "Line 1 of .* is not JSON"),
        ("a.jsonl", "[1]", {}, "must be an object. Got list"),
        ("a.jsonl", '{"tokens": ["a"], "tags": ["O"]}', {"label": "y"}, "must have a label 'y'"),
    ],
)
def test_refused(tmp_path, name, text, options, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_tagged(tmp_path / name, **options)


def test_not_utf8(tmp_path):
    (tmp_path / "a.conll").write_bytes("é O\n".encode("latin-1"))
    with pytest.raises(DataError, match="is not utf-8"):
        read_tagged(tmp_path / "a.conll")
    assert read_tagged(tmp_path / "a.conll", encoding="latin-1").tokens == [["é"]]
