"""Both directions of a sequence that still comes: the rule of the look-ahead, by the plain layers, to the bit."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from unspool import Ragged, SequenceClassifier, SequenceRegressor, SequenceTagger, cells
from unspool.cli.app import app
from unspool.errors import DataError, InvalidParameterError, ModelFileError
from unspool.nn import GRU, LSTM, Recurrent, Stack
from unspool.nn.recurrent import merge_outputs
from unspool.streaming import LookAheadPool, LookAheadStream, Stream, StreamPool

CUTS = ([19], [1] * 19, [3, 0, 7, 1, 8])
SETTINGS: dict[str, Any] = {
    "hidden_size": 7,
    "embedding_dim": 5,
    "epochs": 1,
    "verbose": 0,
    "random_state": 0,
}


def rule(layer: Recurrent, x: torch.Tensor, ahead: int) -> tuple[torch.Tensor, ...]:
    """(forward, backward) (T, H): the layer over the whole, and at each step over the window from there on."""
    both = copy.deepcopy(layer)
    both.merge = None
    forward = both(x[None])[0][0][0]
    backward = [both(x[None, t : t + ahead + 1])[0][1][0, 0] for t in range(len(x))]
    return forward, torch.stack(backward)


@torch.no_grad()
def of_stack(stack: Stack, x: torch.Tensor, ahead: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(outputs, what "last" of a pooling is), layer by layer."""
    for depth, layer in enumerate(stack._recurrent()):
        parts = rule(layer, x, ahead)
        h = merge_outputs(parts, layer.merge)
        last = merge_outputs([parts[0][-1:], parts[1][:1]], layer.merge)[0]
        if depth and stack.connection is not None:
            h = x + h if stack.connection == "residual" else stack.highways[depth - 1](x, h)
            width = parts[1].shape[1]
            last = torch.cat([h[-1, :-width], h[0, -width:]])
        x = h
    return x, last


def in_cuts(stream: LookAheadStream, x: torch.Tensor, cuts: list[int]) -> torch.Tensor:
    stream.reset()
    parts, place = [], 0
    for cut in cuts:
        parts.append(stream.push(x[place : place + cut]))
        place += cut
        expected = max(0, place - stream.look_ahead * len(stream.model.members[0]))
        assert sum(map(len, parts)) == expected and stream.waiting == place - expected
    return torch.cat([*parts, torch.from_numpy(stream.finish())])


@pytest.mark.parametrize("ahead", [0, 1, 4, 18, 40])
def test_outputs_follow_the_rule_however_cut(ahead: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(19, 5)
    for module in (
        Stack("lstm", 5, 6, 1, True),
        Stack("peephole_lstm", 5, 6, 2, True, merge="sum"),
        Stack("gru", 5, 6, 3, True, connection="residual", initial_state="learned"),
        Stack("layer_norm_lstm", 5, 6, 2, True, connection="highway", zoneout=0.2),
    ):
        expected, _ = of_stack(module.eval(), x, ahead)
        stream = LookAheadStream(module, ahead)
        for cuts in CUTS:
            assert torch.equal(in_cuts(stream, x, cuts), expected)
        if ahead >= 18:
            with torch.no_grad():
                assert torch.equal(expected, module(x[None])[0][0])


def test_drop_ins_and_single_layers() -> None:
    torch.manual_seed(1)
    x = torch.randn(19, 5)
    for module in (
        LSTM(5, 6, 2, bidirectional=True, batch_first=True),
        GRU(5, 6, bidirectional=True, batch_first=True),
        Recurrent(cells.RNNCell(5, 6), bidirectional=True, merge="product"),
        Recurrent(cells.LSTMCell(5, 6), reverse=True),
    ):
        module.eval()
        with torch.no_grad():
            whole = module(x[None])[0][0]
        assert torch.equal(in_cuts(LookAheadStream(module, 18), x, CUTS[2]), whole)
        few = in_cuts(LookAheadStream(module, 2), x, CUTS[2])
        assert torch.equal(few, in_cuts(LookAheadStream(module, 2), x, CUTS[1]))
        assert not torch.equal(few, whole)


def test_the_plain_loop_too() -> None:
    torch.manual_seed(0)
    x = torch.randn(19, 5)
    module = Recurrent(cells.GRUCell(5, 6), bidirectional=True, engine="eager").eval()
    forward, backward = rule(module, x, 3)
    found = in_cuts(LookAheadStream(module, 3), x, CUTS[2])
    torch.testing.assert_close(found, torch.cat([forward, backward], 1).detach(), rtol=0, atol=1e-6)


def ids(count: int = 30) -> list[list[int]]:
    random = np.random.default_rng(2)
    return [random.integers(0, 12, length).tolist() for length in random.integers(1, 15, count)]


@pytest.mark.parametrize(
    "settings",
    [
        {"pooling": "mean+max+last+first", "num_layers": 2},
        {"pooling": "last", "merge": "mean"},
        {"pooling": "attention"},
        {"pooling": "last+mean", "num_layers": 2, "connection": "residual", "dense": (5,)},
    ],
)
def test_answers_are_those_of_the_steps_so_far(settings: dict[str, Any]) -> None:
    model = SequenceRegressor(**SETTINGS, **settings).fit(ids(), np.random.default_rng(0).normal(size=30))
    network, ahead = model.network_, 3
    stream = model.stream(look_ahead=ahead)
    row = [3, 1, 4, 1, 5, 9, 2, 6]
    said = [stream.push(step) for step in row]
    near = {"abs": 1e-6} if "attention" in settings["pooling"] else {"abs": 0, "rel": 0}
    for steps in range(1, len(row) + 1):
        with torch.no_grad():
            x = network.embedding(model.input_.encode(read(row[:steps])).values)
            output, last = of_stack(network.stack, x, ahead)
            pooled = network.pooling(Ragged.from_list([output]), None, last[None])
            expected = model.task_.decode(network.head(pooled).double().numpy())[0]
        assert said[steps - 1] == pytest.approx(expected, **near)
    assert stream.finish() == said[-1] == stream.reset().push(row)
    for steps in range(1, ahead + 2):
        assert said[steps - 1] == pytest.approx(model.predict([row[:steps]])[0], **near)


def read(row: list[int]) -> Any:
    from unspool.encode.reading import read_input

    return read_input([row], "ids")


def test_texts_ensembles_and_classes() -> None:
    words = "the cat likes a good bad dog".split()
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(words, random.integers(1, 9))) for _ in range(30)]
    model = SequenceClassifier(**SETTINGS, blend=False, ensemble=2, pooling="mean+last").fit(
        texts, ["up", "down"] * 15
    )
    stream = model.stream(look_ahead=20)
    for text in texts[:8]:
        for cut in range(len(text)):
            stream.reset().push(text[:cut])
            stream.push(text[cut:])
            assert stream.finish() == model.predict([text])[0]
        assert stream.columns()["probability_up"] == model.predict_proba([text])[0, 1]
    again = model.stream(look_ahead=20).load(stream.save())
    assert again.columns() == stream.columns() and again.push(" bad cat") == stream.push(" bad cat")


def test_tags_come_later() -> None:
    random = np.random.default_rng(0)
    X = [[str(random.choice(["a", "b", "c"])) for _ in range(n)] for n in random.integers(1, 9, 30)]
    y = [[random.choice(["A", "B", "O"]) for _ in row] for row in X]
    model = SequenceTagger(**SETTINGS, crf=False, characters=None).fit(X, y)
    stream = model.stream(look_ahead=2)
    tags = [stream.push(token) for token in "abcab"]
    assert [len(each) for each in tags] == [0, 0, 1, 1, 1] and len(stream.finish()) == 2
    for call in (lambda: stream.push("a"), stream.finish, stream.save):
        with pytest.raises(DataError, match="ended"):
            call()
    for row, expected in zip(X, model.predict(X)):
        far = model.stream(look_ahead=9)
        assert [tag for token in row for tag in far.push(token)] + list(far.finish()) == expected


def test_states_as_bytes_forks_and_pools() -> None:
    torch.manual_seed(0)
    module, x = Stack("lstm", 5, 6, 2, True).eval(), torch.randn(19, 5)
    expected, _ = of_stack(module, x, 3)
    for cut in range(20):
        stream = LookAheadStream(module, 3)
        begin = stream.push(x[:cut])
        data = stream.save()
        for other in (LookAheadStream(module, 3).load(data), stream.fork()):
            rest = torch.cat([begin, other.push(x[cut:]), torch.from_numpy(other.finish())])
            assert torch.equal(rest, expected) and other.steps == 19
    for strange in (LookAheadStream(module, 2), LookAheadStream(Stack("lstm", 5, 6, 2, True), 3)):
        with pytest.raises(ModelFileError, match="another model"):
            strange.load(data)
    with pytest.raises(ModelFileError, match="damaged"):
        stream.load(data[:-1] + bytes([data[-1] ^ 1]))
    now = [0.0]
    pool = LookAheadPool(module, 3, capacity=2, max_age=9, clock=lambda: now[0])
    parts = [pool.push({"a": x[:5], "b": x[:2]})["a"]]
    with pytest.raises(DataError, match="session 'b'"):
        pool.push({"a": x[5:9], "b": x[:2, :3]})
    parts += [pool.push({"a": x[5:]})["a"], torch.from_numpy(pool.finish(["a"])["a"])]
    assert torch.equal(torch.cat(parts), expected) and pool.steps("b") == 2 and pool.unfinished() == ["b"]
    pool.push({"c": x[:1]})
    assert pool.keys() == ["a", "c"] and "b" not in pool
    now[0] = 10.0
    assert pool.expire() == ["a", "c"] and not len(pool)


def in_a_pool(model: Any, ahead: int, sequences: list[Any], cuts: np.random.Generator) -> list[list[Any]]:
    """What each session is told, chunk by chunk, beside others that get chunks of other lengths or none."""
    pool, told = LookAheadPool(model, ahead, capacity=len(sequences)), [[] for _ in sequences]
    left = list(sequences)
    while any(map(len, left)):
        some = {
            k: int(cuts.integers(0, 6)) for k, rest in enumerate(left) if len(rest) and cuts.random() < 0.7
        }
        for key, answer in pool.push({k: left[k][:n] for k, n in some.items()}).items():
            told[key].append((some[key], answer))
        left = [rest[some.get(k, 0) :] for k, rest in enumerate(left)]
    for key, answer in pool.finish(range(len(sequences))).items():
        told[key].append((None, answer))
    return told


@pytest.mark.parametrize("ahead", [0, 2, 40])
def test_a_pool_has_the_bits_of_each_session_alone(ahead: int) -> None:
    torch.manual_seed(0)
    random = np.random.default_rng(3)
    series = [random.normal(size=(n, 5)).astype(np.float32) for n in (1, 3, 19, 30, 8, 2)]
    models: list[tuple[Any, list[Any]]] = [
        (Stack("gru", 5, 6, 3, True, connection="highway").eval(), series),
        (Recurrent(cells.RNNCell(5, 6), bidirectional=True, engine="eager").eval(), series[:3]),
        (Recurrent(cells.LSTMCell(5, 6), reverse=True).eval(), series),
    ]
    settings = {**SETTINGS, "ensemble": 2, "num_layers": 2, "pooling": "mean+last"}
    models.append((SequenceRegressor(**settings).fit(ids(), np.arange(30.0)), [row for row in ids(6) if row]))
    for model, sequences in models:
        for sequence, told in zip(sequences, in_a_pool(model, ahead, sequences, random)):
            alone, place = LookAheadStream(model, ahead), 0
            for size, answer in told:
                expected = alone.finish() if size is None else alone.push(sequence[place : place + size])
                place += size or 0
                np.testing.assert_array_equal(answer, expected)


def test_sessions_of_a_pool_that_ended() -> None:
    module = Recurrent(cells.GRUCell(5, 6), bidirectional=True).eval()
    pool, x = LookAheadPool(module, 2, capacity=3), np.ones((4, 5), np.float32)
    pool.push({"a": x, "b": x})
    pool.fork("a", "c")
    assert len(pool.finish(["a", "a"])["a"]) == 2 and pool.unfinished() == ["b", "c"]
    for call in (
        lambda: pool.push({"b": x, "a": x}),
        lambda: pool.finish(["b", "a"]),
        lambda: pool.save("a"),
    ):
        with pytest.raises(DataError, match=r"'a'.*ended"):
            call()
    assert pool.steps("b") == 4 and len(pool.finish(["b"])["b"]) == 2
    pool.drop("a")
    again = pool.push({"a": x})["a"]  # begins anew, in the slot that was free
    np.testing.assert_array_equal(again, pool.push({"d": x})["d"])
    assert "b" not in pool and "c" in pool


def test_what_it_does_not_take() -> None:
    both = Recurrent(cells.LSTMCell(5, 6), bidirectional=True)
    for call in (lambda: Stream(both), lambda: StreamPool(both)):
        with pytest.raises(DataError, match=r"look_ahead=N.*LookAheadStream"):
            call()
    with pytest.raises(DataError, match="has none: leave look_ahead out"):
        LookAheadStream(Recurrent(cells.LSTMCell(5, 6)), 2)
    with pytest.raises(DataError, match="merged"):
        LookAheadStream(Recurrent(cells.LSTMCell(5, 6), bidirectional=True, merge=None), 2)
    for ahead in (-1, 2**63):
        with pytest.raises(InvalidParameterError, match="look_ahead"):
            LookAheadStream(both, ahead)
    with pytest.raises(DataError, match=r"step \(5,\)"):
        LookAheadStream(both, 1).push(torch.zeros(4))


def test_the_command(tmp_path: Any) -> None:
    random = np.random.default_rng(0)
    X = [[str(random.choice(["a", "b", "c"])) for _ in range(n)] for n in random.integers(1, 9, 30)]
    tagger = SequenceTagger(**SETTINGS, crf=False, characters=None).fit(
        X, [[random.choice(["A", "B"]) for _ in row] for row in X]
    )
    tagger.save(tmp_path / "tagger")
    lines = [{"id": k, "x": [token]} for token in "abcab" for k in (1, 2)] + [{"id": 1, "end": True}]
    given = "".join(json.dumps(line) + "\n" for line in lines)
    result = CliRunner().invoke(app, ["stream", str(tmp_path / "tagger"), "--look-ahead", "8"], input=given)
    assert result.exit_code == 0, result.stderr
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    expected = tagger.predict([[*"abcab"]])[0]
    assert [a["answers"] for a in answers] == [[]] * 10 + [expected] * 2
    assert [a.get("end") for a in answers[-2:]] == [True, True]
    refused = CliRunner().invoke(app, ["stream", str(tmp_path / "tagger")], input=given)
    assert refused.exit_code == 2 and "look_ahead" in refused.stderr
