"""Products of bfloat16 in AMX's tiles: sizes around a tile's, bits, and tiles that belong to somebody else."""

from __future__ import annotations

import ctypes
import mmap
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from unspool import Ragged, _native, cells
from unspool.nn import Recurrent

from .compare import everything, ragged
from .narrow import RoundedGRU, RoundedLSTM

pytestmark = pytest.mark.skipif(
    _native.isa() != "amx_bf16", reason="needs a processor with AMX, and a system that grants its tiles"
)
LENGTHS = [20, 1, 17, 3, 9, 0, 12, 5, 20, 2, 8, 19, 4, 11, 16, 6, 14, 7, 13, 10] * 2  # 394 tokens: two blocks


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def layer_of(cell: Any, sizes: tuple[int, int], **how: Any) -> Recurrent:
    torch.manual_seed(4)
    return Recurrent(cell(*sizes), **how)


def no_state(layer: Recurrent, x: Ragged) -> Any:
    return layer.initial_state(len(x))


@pytest.mark.parametrize("sizes", [(70, 90), (1, 64), (33, 49)])
@pytest.mark.parametrize(("cell", "plain"), [(cells.LSTMCell, RoundedLSTM), (cells.GRUCell, RoundedGRU)])
def test_sizes_around_a_tile(cell: Any, plain: Any, sizes: tuple[int, int]) -> None:
    """Up to 40 rows a step, 2 to 6 tiles across, two blocks of tokens, against float64 sums of rounded numbers."""
    x = ragged(sizes[0], LENGTHS)
    fast = layer_of(cell, sizes, precision="bfloat16")
    slow, full = layer_of(plain, sizes, engine="eager"), layer_of(cell, sizes)
    got, unrounded = (everything(layer, x, no_state(layer, x)) for layer in (fast, full))
    expected = everything(slow, x, no_state(slow, x), torch.float64)
    for name, value in expected.items():
        off, moved = (got[name] - value).norm(), (unrounded[name] - value).norm()
        assert off <= 0.2 * moved, f"{name}: off by {off:.2e}; rounding moves it by {moved:.2e}"


def trained(layer: Recurrent, x: Ragged) -> dict[str, Tensor]:
    return everything(layer, x, no_state(layer, x))


def test_bits(threads: None) -> None:
    """Of a training step with 1, 2 and 3 threads; of outputs, whatever else is in the batch."""
    layer, x = layer_of(cells.LSTMCell, (21, 90), precision="bfloat16"), ragged(21, LENGTHS)
    found = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        found.append(trained(layer, x))
    for other in found[1:]:
        assert all(torch.equal(found[0][name], other[name]) for name in other)
    whole = layer(x)[0].to_list()
    for first in (0, 1, 18):
        some = layer(Ragged.from_list(x.to_list()[first : first + 17]))[0].to_list()
        assert all(torch.equal(a, b) for a, b in zip(some, whole[first : first + 17], strict=True))


def instruction(code: str) -> Any:
    """A function of one address that runs an instruction on it."""
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(bytes.fromhex(code) + b"\xc3")
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
    call.memory = memory
    return call


def test_tiles_are_left_as_they_were(threads: None) -> None:
    """Those that somebody has set on the thread, and none where nobody has; results are the same."""
    torch.set_num_threads(1)
    load, store, release = map(
        instruction, ("c4e2784907", "c4e2794907", "c4e27849c0")
    )  # Intel's manual, LDTILECFG
    layer, x = layer_of(cells.GRUCell, (5, 40), precision="bfloat16"), ragged(5)
    clean, found = trained(layer, x), (ctypes.c_uint8 * 64)()
    store(found)
    assert not any(found)
    theirs = (ctypes.c_uint8 * 64)(1, *[0] * 15, 12, 0, 20, *[0] * 29, 3, 5)  # 3 rows of 12 bytes, 5 of 20
    load(theirs)
    try:
        again = trained(layer, x)
        store(found)
    finally:
        release(None)
    assert bytes(found) == bytes(theirs)
    assert all(torch.equal(clean[name], again[name]) for name in clean)


def test_beside_torchs_own_products() -> None:
    """oneDNN has tiles of other shapes."""
    layer, x = layer_of(cells.LSTMCell, (24, 33), precision="bfloat16"), ragged(24)
    a, b = torch.randn(2, 70, 70).bfloat16()
    clean, product = trained(layer, x), a @ b
    for _ in range(3):
        assert torch.equal(a @ b, product)
        again = trained(layer, x)
        assert all(torch.equal(clean[name], again[name]) for name in clean)


def gradients(layer: Recurrent, x: Ragged) -> list[Tensor]:
    return list(torch.autograd.grad(layer(x)[0].values.sum(), list(layer.parameters())))


def in_child(queue: Any, layer: Recurrent, x: Ragged) -> None:
    queue.put([gradient.tolist() for gradient in gradients(layer, x)])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork() -> None:
    layer, x = layer_of(cells.GRUCell, (5, 20), precision="bfloat16"), ragged(5)
    expected = gradients(layer, x)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=in_child, args=(queue, layer, x))
    child.start()
    found = queue.get(timeout=60)
    child.join(timeout=60)
    assert child.exitcode == 0
    assert all(torch.equal(torch.tensor(a), b) for a, b in zip(found, expected, strict=True))


REFUSED = """
import ctypes
class Stack(ctypes.Structure):
    _fields_ = [("at", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]
memory = ctypes.create_string_buffer(4096)  # too small for the registers with tiles among them
assert ctypes.CDLL(None).sigaltstack(ctypes.byref(Stack(ctypes.addressof(memory), 0, 4096)), None) == 0
from unspool import _native
print(_native.isa(), _native.isas()[-1])
"""


@pytest.mark.parametrize("wanted", ["", "amx_bf16"])
def test_the_system_may_refuse(wanted: str) -> None:
    """Then products are AVX-512's, and an error where AMX's were asked for by name."""
    environment = {k: v for k, v in os.environ.items() if k not in ("UNSPOOL_ISA", "PYTHONFAULTHANDLER")}
    if wanted:
        environment["UNSPOOL_ISA"] = wanted
    done = subprocess.run(
        [sys.executable, "-c", REFUSED], env=environment, capture_output=True, text=True, check=False
    )
    if wanted:
        assert done.returncode != 0 and "Got 'amx_bf16'" in done.stderr
    else:
        assert done.stdout.split() == ["avx512_bf16", "avx512_bf16"], done.stderr
