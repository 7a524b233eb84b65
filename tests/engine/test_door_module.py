"""The door: the compiled module refuses malformed programs and arguments of its own surface."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import unspool
from unspool import _native
from unspool.errors import EngineError

from .door import in_a_process


def _program(**changes: Any) -> Any:
    """state = state + x W, written by hand, with `changes`."""
    ops, at = _native.OPS, _native.BUFFERS
    none = [-1, 0, 0]
    prologue = [ops["matmul"], 4, 3, 0, at["pro"], 0, 0, at["x"], 0, 0, *none, *none]
    loop = [ops["add"], 4, 0, -1, at["state_out"], 0, 0, at["state_in"], 0, 0, at["pro"], 0, 0, *none]
    args: dict[str, Any] = {
        "state_widths": [4],
        "widths": {
            "input": 3,
            "pro": 16,
            "pstash": 0,
            "lstash": 0,
            "bstash": 0,
            "pgrad": 0,
            "pbstash": 0,
            "vectors": 0,
        },
        "sources": [("weight", [3, 4])],
        "tapes": {
            "prologue": ([prologue], 0),
            "loop": ([loop], 0),
            "loop_back": ([], 0),
            "prologue_back": ([], 0),
        },
        "matrices": [[0, 0, 0, 3, 4, 0]],
        "vectors": [],
        "constants": [],
        "outers": [],
        "sums": [],
    }
    for path, value in changes.items():
        *way, last = path.split("__")
        target = args
        for step in way:
            target = target[step]
        target[last] = value
    return _native.Program(**args)


def _loop(*changes: tuple[int, int]) -> dict[str, Any]:
    ops, at = _native.OPS, _native.BUFFERS
    row = [ops["add"], 4, 0, -1, at["state_out"], 0, 0, at["state_in"], 0, 0, at["pro"], 0, 0, -1, 0, 0]
    for place, value in changes:
        row[place] = value
    return {"tapes__loop": ([row], 0)}


def _axes(op: str, *pattern: int) -> dict[str, Any]:
    """As the loop: an operation on the state before and the prologue's row, four numbers each."""
    made = _loop((0, _native.OPS[op]))["tapes__loop"][0][0]
    return {"tapes__loop": ([[*made, *pattern]], 0)}


def test_places_that_are_not_there() -> None:
    """Values choose: NaN is read beyond a row, and nothing is written there."""
    x, eye = torch.tensor([[0.0, 3.0, 4.0, -1.0], [torch.nan, 1.5, 2e9, torch.inf]]), torch.eye(4)
    for op, expected in (
        ("pick", [[1.0, 4.0, torch.nan, torch.nan], [torch.nan, 2.0, torch.nan, torch.nan]]),
        ("drop", [[1.0, 0.0, 0.0, 2.0], [0.0, 2.0, 0.0, 0.0]]),
    ):
        program = _program(
            **_axes(op, 4),
            widths__input=4,
            sources=[("weight", [4, 4])],
            matrices=[[0, 0, 0, 4, 4, 0]],
            tapes__prologue=(
                [
                    [
                        _native.OPS["copy"],
                        4,
                        0,
                        -1,
                        _native.BUFFERS["pro"],
                        0,
                        0,
                        _native.BUFFERS["x"],
                        0,
                        0,
                        -1,
                        0,
                        0,
                        -1,
                        0,
                        0,
                    ]
                ],
                0,
            ),
        )
        start = torch.tensor([[1.0, 2.0, 3.0, 4.0]]).repeat(2, 1)
        call = _native.Call([(program, False, [0])], False)
        found = call.forward(x, torch.tensor([0, 1, 2]), None, [start, eye], True, 1)[1]
        torch.testing.assert_close(found, torch.tensor(expected), equal_nan=True)


def test_a_program_written_by_hand_runs() -> None:
    call = _native.Call([(_program(), False, [0])], False)
    x, weight, start = torch.randn(5, 3), torch.randn(3, 4), torch.randn(2, 4)
    results = call.forward(x, torch.tensor([0, 3, 5]), None, [start, weight], True, 1)
    steps = x @ weight
    torch.testing.assert_close(
        results[1], torch.stack([start[0] + steps[:3].sum(0), start[1] + steps[3:].sum(0)])
    )


MALFORMED = {
    "op": _loop((0, 999)),
    "negative op": _loop((0, -1)),
    "width": _loop((1, 5)),
    "negative width": _loop((1, -4)),
    "huge width": _loop((1, 2**31 - 1)),
    "out buffer": _loop((4, 10_000)),
    "no out": _loop((4, -1)),
    "another's state": _loop((4, _native.BUFFERS["state_out"] + 1)),
    "writes its input": _loop((4, _native.BUFFERS["x"])),
    "writes vectors": _loop((4, _native.BUFFERS["vec"])),
    "writes the state before": _loop((4, _native.BUFFERS["state_in"])),
    "offset": _loop((5, 1)),
    "negative offset": _loop((5, -1)),
    "a buffer": _loop((7, 10_000)),
    "no a": _loop((7, -1)),
    "a offset": _loop((8, 2**31 - 1)),
    "b beyond": _loop((11, 13)),
    "reads the output's gradient": _loop((10, _native.BUFFERS["dy"])),
    "reads scratch that is not there": _loop((10, _native.BUFFERS["scratch"])),
    "a product without a matrix": _loop((0, _native.OPS["matmul"]), (3, -1)),
    "a matrix that is not there": _loop((0, _native.OPS["matmul"]), (3, 1)),
    "a product of another size": _loop((0, _native.OPS["matmul"]), (2, 9), (3, 0)),
    "an order of nothing": _axes("order", 4, 0, 1, 0),
    "an order of more than there are": _axes("order", 2, 4, 1, 0),
    "an order beyond the row": _axes("order", 5, 4, 1, 0),
    "an order of another kind": _axes("order", 4, 4, 1, 3),
    "an order without a size": _axes("order"),
    "places in nothing": _axes("pick", 0),
    "places in a longer row": _axes("pick", 5),
    "places without a row": _axes("pick"),
    "more places than there are": _axes("drop", 5),
    "short row": {"tapes__loop": ([[2, 4, 0]], 0)},
    "long row": {"tapes__loop": ([[0] * 17], 0)},
    "negative scratch": {"tapes__loop": ([], -1)},
    "huge scratch": {"tapes__loop": ([], 2**62)},
    "no states": {"state_widths": []},
    "too many states": {"state_widths": [4] * 9},
    "negative state": {"state_widths": [-4]},
    "wider state": {"state_widths": [2]},
    "negative input": {"widths__input": -3},
    "narrow input": {"widths__input": 2},
    "narrow prologue": {"widths__pro": 3},
    "no width": {"widths": {}},
    "no tape": {"tapes": {}},
    "matrix beyond its source": {"matrices": [[0, 1, 0, 3, 4, 0]]},
    "matrix of no source": {"matrices": [[1, 0, 0, 3, 4, 0]]},
    "matrix of a negative place": {"matrices": [[0, 0, -1, 3, 4, 0]]},
    "matrix of a vector": {"sources": [("weight", [12])]},
    "transposed": {"matrices": [[0, 0, 0, 3, 4, 1]]},
    "short matrix": {"matrices": [[0, 0]]},
    "vector outside": {"vectors": [[0, 0, 0, 4]]},
    "constant outside": {"constants": [(0, 1.0)]},
    "negative constant": {"constants": [(-1, 1.0)]},
    "outer of no matrix": {"outers": [[1, 2, 0, 0, 7, 0, 5]]},
    "outer of nothing": {"outers": [[1, 2, 0, 1, 7, 0, 0]]},
    "sum of nothing": {"sums": [[0, 7, 0, 4, 0, 0, 0, -1, 0]]},
    "kept without a backward": {"widths__lstash": 16},
    "source of a negative size": {"sources": [("weight", [-3, 4])]},
    "not a list": {"state_widths": 4},
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_program_is_refused(name: str) -> None:
    def check() -> None:
        with pytest.raises((ValueError, TypeError, KeyError)):
            _program(**MALFORMED[name])

    in_a_process(check)


def _calls() -> dict[str, Callable[[], Any]]:
    program = _program()
    x, weight, start, ends = torch.randn(5, 3), torch.randn(3, 4), torch.randn(2, 4), torch.tensor([0, 3, 5])

    def forward(**changes: Any) -> Callable[[], Any]:
        args: dict[str, Any] = {
            "values": x,
            "offsets": ends,
            "index": None,
            "tensors": [start, weight],
            "lend": True,
            "threads": 1,
        }
        return lambda: _native.Call([(program, False, [0])], False).forward(**{**args, **changes})

    table = torch.randn(6, 4)

    def adam(**changes: Any) -> Callable[[], Any]:
        args: dict[str, Any] = {
            "table": table,
            "mean": torch.zeros(6, 4),
            "square": torch.zeros(6, 4),
            "rows": torch.tensor([0, 5]),
            "gradient": torch.zeros(2, 4),
            "decays": torch.zeros(2, 2, dtype=torch.float64),
            **dict.fromkeys(["beta1", "beta2", "eps", "rate", "kept"], 0.5),
        }
        return lambda: _native.adam_step(**{**args, **changes})

    def catch_up(**changes: Any) -> Callable[[], Any]:
        args: dict[str, Any] = {
            "table": table,
            "mean": torch.zeros(6, 4),
            "square": torch.zeros(6, 4),
            "rows": torch.tensor([0, 5]),
            "coefficients": torch.zeros(4, 2, dtype=torch.float64),
            "last": torch.zeros(6, dtype=torch.int64),
            "step": 1,
            "rate": 0.5,
        }
        return lambda: _native.adam_catch_up(**{**args, **changes})

    forward()(), adam()(), catch_up()()
    plain = _native.Call([(program, False, [0])], False)
    frozen = _native.Frozen(plain, [weight], 0, 1)
    step = _native.Step(plain)
    return {
        "no direction": lambda: _native.Call([], False),
        "not a program": lambda: _native.Call([(object(), False, [0])], False),
        "no sources": lambda: _native.Call([(program, False, [])], False),
        "a source beyond": lambda: _native.Call([(program, False, [0, 1])], False),
        "a negative source": lambda: _native.Call([(program, False, [-1])], False),
        "training without a backward": lambda: _native.Call([(program, False, [0])], True),
        "a backward without training": lambda: plain.backward(
            x, ends, None, x, x, [start, weight], None, [None], [False] * 3, True, 1
        ),
        "no threads": forward(threads=0),
        "negative threads": forward(threads=-3),
        "few tensors": forward(tensors=[start]),
        "many tensors": forward(tensors=[start, weight, weight]),
        "an address": forward(values=x.data_ptr()),
        "tensors that are not a list": forward(tensors=start),
        "no offsets for rows": forward(offsets=None),
        "no offsets, but an index": forward(
            values=x[None], offsets=None, index=torch.zeros(5, dtype=torch.int64)
        ),
        "a state of other rows": forward(tensors=[start[:1], weight]),
        "a state of three axes": forward(tensors=[start[None], weight]),
        "no weight": forward(tensors=[start, None]),
        "another weight": forward(tensors=[start, torch.randn(4, 3)]),
        "frozen: a form that is not there": lambda: _native.Frozen(plain, [weight], 3, 1),
        "frozen: a negative form": lambda: _native.Frozen(plain, [weight], -1, 1),
        "frozen: no threads": lambda: _native.Frozen(plain, [weight], 0, 0),
        "frozen: no weights": lambda: _native.Frozen(plain, [], 0, 1),
        "frozen: half": lambda: _native.Frozen(plain, [weight.half()], 0, 1),
        "frozen: projected, but nothing is": lambda: frozen.forward(
            x,
            ends,
            torch.zeros(5, dtype=torch.int64),
            [start],
            True,
            1,
        ),
        "frozen: step without threads": lambda: frozen.step((x[:2], start, start.clone()), 0),
        "step: no threads": lambda: step.run((x[:2], start, start.clone()), [weight], 0),
        **_chain_calls(frozen),
        "peak of no threads": lambda: _native.peak_flops(0.001, 0),
        "too many threads": forward(threads=2**31 - 1),
        "peak of no time": lambda: _native.peak_flops(float("nan"), 1),
        "peak of negative threads": lambda: _native.peak_flops(0.001, -1),
        "adam: rows beyond": adam(rows=torch.tensor([0, 6])),
        "adam: negative rows": adam(rows=torch.tensor([-1, 0])),
        "adam: int32 rows": adam(rows=torch.tensor([0, 5]).int()),
        "adam: a half table": adam(table=table.half()),
        "adam: a strided table": adam(table=torch.randn(4, 6).t()),
        "adam: moments of another type": adam(mean=torch.zeros(6, 4).double()),
        "adam: moments of another size": adam(square=torch.zeros(5, 4)),
        "adam: a short gradient": adam(gradient=torch.zeros(1, 4)),
        "adam: decays of another type": adam(decays=torch.zeros(2, 2)),
        "adam: an address": adam(table=table.data_ptr()),
        "catch up: rows beyond": catch_up(rows=torch.tensor([0, 6])),
        "catch up: few coefficients": catch_up(coefficients=torch.zeros(3, 2, dtype=torch.float64)),
        "catch up: a short last": catch_up(last=torch.zeros(5, dtype=torch.int64)),
    }


def _chain_calls(frozen: Any) -> dict[str, Callable[[], Any]]:
    """Of a chain with one link, x (3) -> its state (4), which is the output."""

    def chain(**changes: Any) -> Any:
        link: dict[str, Any] = {
            "of": frozen,
            "x": (0, 0),
            "before": [(1, 0)],
            "after": [(2, 0)],
            "ends": False,
        }
        sizes: dict[str, Any] = {
            "input": 3,
            "width": 4,
            "beside": 1,
            "output": (2, 0),
            "output_width": 4,
            "every": True,
        }
        link.update({name: value for name, value in changes.items() if name in link})
        sizes.update({name: value for name, value in changes.items() if name in sizes})
        return _native.Chain([tuple(link.values())], **sizes)

    made = chain()

    def run(**changes: Any) -> Callable[[], Any]:
        args: dict[str, Any] = {
            "rows": torch.zeros(6, 4),
            "steps": torch.zeros(6, dtype=torch.int64),
            "slots": torch.tensor([5, 0]),
            "offsets": torch.tensor([0, 1, 3]),
            "x": torch.randn(3, 3),
            "index": None,
            "out": torch.zeros(3, 4),
            "threads": 1,
        }
        return lambda: made.run(**{**args, **changes})

    run()()
    run(index=torch.tensor([2, 0, 2]))()
    return {
        "chain: no frozen": lambda: chain(of=object()),
        "chain: an input beyond": lambda: chain(x=(0, 1)),
        "chain: a negative spot": lambda: chain(before=[(1, -1)]),
        "chain: a part that is not there": lambda: chain(x=(4, 0)),
        "chain: a state beyond": lambda: chain(after=[(2, 1)]),
        "chain: over the input": lambda: chain(after=[(0, 0)]),
        "chain: over the state before": lambda: chain(after=[(1, 0)]),
        "chain: over the count": lambda: chain(beside=5, after=[(3, 0)]),
        "chain: the input as a state": lambda: chain(before=[(0, 0)]),
        "chain: the input at an end": lambda: chain(ends=True),
        "chain: parts missing": lambda: chain(before=[], after=[]),
        "chain: an output beyond": lambda: chain(output=(2, 1)),
        "chain: no width": lambda: chain(width=-1),
        "chain: too wide": lambda: chain(beside=2**31 - 1),
        "chain: rows of another width": run(rows=torch.zeros(6, 5)),
        "chain: rows of another number": run(rows=torch.zeros(5, 4)),
        "chain: strided rows": run(rows=torch.zeros(4, 6).t()),
        "chain: half rows": run(rows=torch.zeros(6, 4).half()),
        "chain: int32 steps": run(steps=torch.zeros(6, dtype=torch.int32)),
        "chain: a slot beyond": run(slots=torch.tensor([6, 0])),
        "chain: a negative slot": run(slots=torch.tensor([-1, 0])),
        "chain: a slot twice": run(slots=torch.tensor([1, 1])),
        "chain: few offsets": run(offsets=torch.tensor([0, 3])),
        "chain: offsets beyond": run(offsets=torch.tensor([0, 1, 4])),
        "chain: offsets that go down": run(offsets=torch.tensor([0, 4, 3])),
        "chain: another input": run(x=torch.randn(3, 4)),
        "chain: an index beyond": run(index=torch.tensor([0, 1, 3])),
        "chain: few outputs": run(out=torch.zeros(2, 4)),
        "chain: no threads": run(threads=0),
        "chain: an address": run(rows=torch.zeros(6, 4).data_ptr()),
    }


@pytest.mark.parametrize("name", _calls())
def test_malformed_arguments_are_refused(name: str) -> None:
    call = _calls()[name]

    def check() -> None:
        with pytest.raises((ValueError, TypeError, EngineError, IndexError)):
            call()

    in_a_process(check)


def test_a_step_of_other_tensors_does_not_run() -> None:
    plain = _native.Call([(_program(), False, [0])], False)
    x, weight, start = torch.randn(2, 3), torch.randn(3, 4), torch.randn(2, 4)
    new = torch.full((2, 4), 7.0)
    for step in (lambda *given: _native.Step(plain).run(given, [weight], 1), _frozen_step(plain, weight)):
        assert step(x, start, new) is True
        torch.testing.assert_close(new, start + x @ weight)
        for given in [
            (x, start),
            (x, start[:1], new),
            (x[:, :2], start, new),
            (x.double(), start, new),
            (x, start, new[:1]),
        ]:
            before = new.clone()
            assert step(*given) is False
            assert torch.equal(new, before)


def _frozen_step(plain: Any, weight: torch.Tensor) -> Callable[..., Any]:
    frozen = _native.Frozen(plain, [weight], 0, 1)
    return lambda *given: frozen.step(given, 1)


def test_addresses_are_made_at_the_door_alone() -> None:
    """No Python code of ours asks a tensor for its address."""
    found = [
        f"{path.name}: {line.strip()}"
        for path in Path(unspool.__file__).parent.rglob("*.py")
        for line in path.read_text().splitlines()
        if re.search(r"data_ptr\(|ctypes\.data|__array_interface__", line)
    ]
    assert found == []
