"""Layers a chunk at a time: the bits of the whole sequence, however it is cut and whatever is beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from unspool import Ragged, _native, cells
from unspool.errors import DataError, EngineError, InvalidParameterError, SlowPathWarning
from unspool.nn import GRU, LSTM, RNN, Recurrent, Stack
from unspool.streaming import Stream, StreamPool

LENGTHS = (1, 7, 30, 2, 0, 13, 30)


def sequences(width: int, lengths: tuple[int, ...] = LENGTHS) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(length, width, generator=generator) for length in lengths]


def whole(module: nn.Module, xs: list[torch.Tensor]) -> list[torch.Tensor]:
    with torch.no_grad():
        return module(Ragged.from_list(xs))[0].to_list()


def pooled(module: nn.Module, xs: list[torch.Tensor], seed: int = 0) -> list[torch.Tensor]:
    """The outputs of sessions side by side, each cut at random places, some pausing."""
    random = np.random.default_rng(seed)
    pool = StreamPool(module, capacity=len(xs), threads=2)
    got: list[list[torch.Tensor]] = [[torch.empty(0, pool.model.chain.output_size)] for _ in xs]
    places = [0] * len(xs)
    while any(place < len(x) for place, x in zip(places, xs)):
        chunks = {}
        for key in random.permutation(len(xs)).tolist():
            if random.random() < 0.8:
                end = min(len(xs[key]), places[key] + int(random.integers(0, 6)))
                chunks[key] = xs[key][places[key] : end]
                places[key] = end
        for key, output in pool.push(chunks).items():
            got[key].append(torch.from_numpy(output))
    return [torch.cat(parts) for parts in got]


def layer_of(name: str) -> Recurrent:
    torch.manual_seed(0)
    cell = cells.get(name)(5, 33)
    return Recurrent(cell).eval()


@pytest.mark.parametrize("name", cells.names())
def test_every_cell_has_the_bits_of_the_whole(name: str) -> None:
    layer = layer_of(name)
    xs = sequences(layer.cell.input_size)
    for got, expected in zip(pooled(layer, xs), whole(layer, xs)):
        assert torch.equal(got, expected)


def options() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    lstm = cells.get("lstm")
    made: dict[str, nn.Module] = {
        "noise, learned start": Recurrent(
            lstm(5, 8),
            initial_state="learned",
            zoneout=(0.1, 0.3),
            input_dropout=0.2,
            recurrent_dropout=0.2,
            weight_dropout=0.1,
        ),
        "computed start": Recurrent(
            cells.get("gru")(5, 8), initial_state=lambda batch: torch.full((batch, 8), 0.5)
        ),
        "bfloat16 in training": Recurrent(lstm(5, 8), precision="bfloat16"),
        "stack": Stack("gru", 5, (12, 7, 9)),
        "residual": Stack("lstm", 5, 12, 3, connection="residual", dropout=0.3),
        "highway": Stack("gru", 5, 12, 3, connection="highway"),
        "LSTM": LSTM(5, 64, 2, batch_first=True),
        "projection": LSTM(5, 9, 2, proj_size=4),
        "no bias": GRU(5, 33, bias=False),
        "relu": RNN(5, 17, 3, "relu"),
    }
    learned = made["noise, learned start"]
    with torch.no_grad():
        for part in learned.learned_state:  # type: ignore[union-attr]
            part.normal_()
    return {name: module.eval() for name, module in made.items()}


@pytest.mark.parametrize("name", options())
def test_every_option_has_the_bits_of_the_whole(name: str) -> None:
    module, xs = options()[name], sequences(5)
    for got, expected in zip(pooled(module, xs), whole(module, xs)):
        assert torch.equal(got, expected)


@pytest.mark.skipif("avx2" not in _native.isas(), reason="This machine has no AVX2.")
def test_the_same_on_another_instruction_set() -> None:
    code = (
        "import test_layers as t, torch\n"
        "for module in [*map(t.layer_of, t.cells.names()), *t.options().values()]:\n"
        "    size = getattr(getattr(module, 'cell', None), 'input_size', 5)\n"
        "    xs = t.sequences(size)\n"
        "    assert all(map(torch.equal, t.pooled(module, xs), t.whole(module, xs))), module\n"
    )
    environment = {**os.environ, "UNSPOOL_ISA": "avx2", "PYTHONPATH": str(Path(__file__).parent)}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_narrow_weights_have_the_bits_of_frozen_ones() -> None:
    layer, xs = layer_of("lstm"), sequences(5)
    for weights in ("bfloat16", "int8"):
        frozen = layer.freeze(weights)
        pool = StreamPool(layer, weights=weights)
        got = pool.push(dict(enumerate(xs)))
        for key, expected in enumerate(whole(frozen, xs)):
            assert torch.equal(torch.from_numpy(got[key]), expected)


def test_one_stream_by_steps_and_chunks() -> None:
    layer = layer_of("lstm")
    (x,) = sequences(5, (20,))
    output, state = layer(x)
    stream = Stream(layer)
    assert isinstance(stream.push(x[:0]), torch.Tensor) and stream.push(x[:0]).shape == (0, 33)
    step = stream.push(x[0])
    assert isinstance(step, torch.Tensor) and torch.equal(step, output[0])
    array = stream.push(x[1].numpy())
    assert isinstance(array, np.ndarray) and (array == output[1].detach().numpy()).all()
    assert (stream.push(x[2].tolist()) == output[2].detach().numpy()).all()
    assert torch.equal(stream.push(x[3:20]), output[3:])
    assert stream.steps == 20
    assert all(torch.equal(a[0], b) for a, b in zip(stream.state[0], state))
    assert torch.equal(stream.reset().push(x), output) and stream.steps == 20


def test_a_fork_goes_its_own_way() -> None:
    layer = layer_of("gru")
    (x,) = sequences(5, (20,))
    stream = Stream(layer)
    stream.push(x[:9])
    twin = stream.fork()
    noise = torch.ones(4, 5)
    stream.push(noise)
    assert torch.equal(twin.push(x[9:]), layer(x)[0][9:]) and twin.steps == 20 and stream.steps == 13


def test_later_changes_of_the_weights_are_not_seen() -> None:
    layer = layer_of("gru")
    (x,) = sequences(5, (6,))
    expected = layer(x)[0].detach()
    stream = Stream(layer)
    with torch.no_grad():
        layer.cell.weight_hh.zero_()
    assert torch.equal(stream.push(x), expected)


class Odd(nn.Module):
    """A cell that the native engine has no form for."""

    input_size = 3

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(7, 4)

    def initial_state(self, batch: int) -> torch.Tensor:
        return torch.zeros(batch, 4)

    def forward(self, x: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.linear(torch.cat([x, state.cummax(1).values], 1)))


def test_the_plain_loop_has_the_bits_of_each_sequence_alone() -> None:
    torch.manual_seed(0)
    layer, xs = Recurrent(Odd()).eval(), sequences(3)
    with pytest.warns(SlowPathWarning):
        got = pooled(layer, xs)
        expected = [whole(layer, [x])[0] for x in xs]
    assert all(map(torch.equal, got, expected))
    asked = Recurrent(cells.get("gru")(3, 4), engine="eager").eval()
    assert torch.equal(Stream(asked).push(xs[2]), whole(asked, [xs[2]])[0])
    with pytest.raises(EngineError):
        Stream(Recurrent(Odd(), engine="native"))
    with pytest.raises(EngineError):
        Stream(Recurrent(Odd()), weights="int8")


def test_what_reads_from_the_end_is_refused() -> None:
    both = "bidirectional: its backward direction starts at the end"
    for module in (
        Recurrent(cells.get("gru")(3, 4), bidirectional=True),
        Stack("gru", 3, 4, bidirectional=True),
        LSTM(3, 4, bidirectional=True),
    ):
        with pytest.raises(DataError, match=both):
            Stream(module)
    with pytest.raises(DataError, match="reverse=True"):
        Stream(Recurrent(cells.get("gru")(3, 4), reverse=True))


def test_chunks_that_cannot_be_read_change_nothing() -> None:
    layer = layer_of("gru")
    (x,) = sequences(5, (6,))
    stream = Stream(layer)
    stream.push(x[:3])
    odd = (x[:3].to_sparse(), np.ma.masked_array(x[:3].numpy(), mask=True))
    for wrong in (x[:3, :4], torch.zeros(4), "text", [[1.0, 2.0], [3.0]], None, np.zeros((1, 2, 5)), *odd):
        with pytest.raises(DataError):
            stream.push(wrong)
    twin = stream.fork()
    assert torch.equal(twin.push(x[3:].bfloat16()), stream.fork().push(x[3:].bfloat16().float()))
    assert torch.equal(stream.push(x[3:]), layer(x)[0][3:])
    with pytest.raises(EngineError, match=r"float32. The weight 'cell.weight_ih' is torch.float64"):
        Stream(layer_of("gru").double())
    with pytest.raises(InvalidParameterError, match="weights"):
        Stream(layer, weights="int4")
    with pytest.raises(InvalidParameterError, match="model"):
        Stream(nn.Linear(2, 3))
    with pytest.raises(DataError, match="columns"):
        stream.columns()
