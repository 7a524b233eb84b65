"""Recurrent layers on a GPU: cuDNN, generated kernels, the plain loop and torch.compile, side by side.

    python benchmarks/gpu.py                  # within three minutes; benchmarks/results/gpu.json
    python benchmarks/gpu.py --seconds 60     # fewer rounds, and cases that are left out say so

Before a competitor is timed its values and gradients are compared with those of the plain loop on the same GPU; one
that differs is not timed. Needs a GPU that torch can use, and Triton for the generated kernels.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from layers import versions
from peers.record import save, setting
from torch import Tensor, nn

from unspool import Ragged, cells, explain_path
from unspool.nn import LSTM, Recurrent

FEATURES = 128
COMPILED = "layer_norm_lstm"  # the cell that torch.compile, which takes up to a minute, is tried on
TOLERANCES = {"ieee": 1e-4, "tf32": 2e-2}  # of the largest entry; gradients of 200 steps
Make = Callable[[], tuple[nn.Module, Any]]  # a layer, and the input it takes


def batch(sequences: int, steps: int, dense: bool, device: str) -> Ragged:
    """Sequences of `steps` steps, or of uniform lengths from 1 to it."""
    torch.manual_seed(0)
    lengths = [steps] * sequences if dense else torch.randint(1, steps + 1, (sequences,)).tolist()
    return Ragged.from_list([torch.randn(n, FEATURES, device=device) for n in lengths])


def of_lstm(x: Ragged, hidden: int, device: str) -> dict[str, Make]:
    """torch's layer, ours by cuDNN, the generated kernels and the plain loop, all with the weights of the first."""
    first = nn.LSTM(FEATURES, hidden, batch_first=True).to(device)

    def ours(engine: str) -> nn.Module:
        cell = cells.LSTMCell(FEATURES, hidden).to(device)
        cell.load_state_dict({name.removesuffix("_l0"): value for name, value in first.state_dict().items()})
        return Recurrent(cell, engine=engine)

    drop_in = LSTM(FEATURES, hidden, batch_first=True).to(device)
    drop_in.load_state_dict(first.state_dict())
    return {
        "plain loop": lambda: (ours("eager"), x),
        "torch, packed": lambda: (first, x.to_packed()),
        "torch, padded": lambda: (first, x.to_padded()),
        "unspool, cuDNN": lambda: (drop_in, x),
        "generated": lambda: (ours("triton"), x),
    }


def of_cell(name: str, x: Ragged, hidden: int, device: str) -> dict[str, Make]:
    cell = cells.get(name)(FEATURES, hidden).to(device)

    found: dict[str, Make] = {
        "plain loop": lambda: (Recurrent(cell, engine="eager"), x),
        "generated": lambda: (Recurrent(cell, engine="triton"), x),
    }
    if name == COMPILED:
        found["torch.compile of the step"] = lambda: (Recurrent(_Compiled(cell), engine="eager"), x)
    return found


class _Compiled(nn.Module):
    """A cell whose step goes through torch.compile: of the whole loop it would unroll every length."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell, self.compiled = cell, torch.compile(cell, dynamic=True)

    def initial_state(self, batch_size: int) -> Any:
        return self.cell.initial_state(batch_size)

    def forward(self, x: Tensor, state: Any) -> Any:
        return self.compiled(x, state)


def values(x: Any) -> Tensor:
    """The numbers of an output, of whichever kind."""
    if isinstance(x, Ragged):
        return x.values
    return x.data if hasattr(x, "batch_sizes") else x


def train(layer: nn.Module, x: Any) -> list[Tensor]:
    layer.zero_grad(set_to_none=True)
    output = layer(x)[0]
    values(output).square().sum().backward()
    return [p.grad for p in layer.parameters() if p.grad is not None]


def forward(layer: nn.Module, x: Any) -> Tensor:
    with torch.no_grad():
        return values(layer(x)[0])


def error(layer: nn.Module, x: Any, expected: tuple[Tensor, list[Tensor]], lengths: Tensor) -> float:
    """The largest difference from the plain loop, of the largest entry: of the output's squares, and of gradients."""
    output, wanted = expected
    got = layer(x)[0]
    got = got if isinstance(got, Ragged) else Ragged.from_packed(got) if hasattr(got, "batch_sizes") else got
    ours = got.values if isinstance(got, Ragged) else Ragged.from_padded(got, lengths).values
    found = [float((ours - output).abs().max() / output.abs().max())]
    if not isinstance(x, Tensor):  # a padded batch has gradients of its pads
        pairs = zip(train(layer, x), wanted, strict=True)
        found += [float((a - b).abs().max() / b.abs().max().clamp(min=1e-6)) for a, b in pairs]
    return max(found)


def timed(call: Callable[[], Any], seconds: float, device: str) -> float:
    """Median milliseconds of a call, once the device is done."""
    taken, start = [], time.perf_counter()
    while len(taken) < 3 or (time.perf_counter() - start < seconds and len(taken) < 100):
        if device == "cuda":
            torch.cuda.synchronize()
        begun = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - begun)
    return 1e3 * statistics.median(taken)


def measure(name: str, makes: Mapping[str, Make], x: Ragged, end: float, seconds: float, device: str) -> Any:
    """Errors, then milliseconds of a forward and of a training step, of each competitor until `end`."""
    row: dict[str, Any] = {
        "name": name,
        "forward": {},
        "training": {},
        "error": {},
        "left_out": {},
        "path": {},
    }
    plain, given = makes["plain loop"]()
    expected = forward(plain, given), [g.clone() for g in train(plain, given)]
    precision = "ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32"
    for tool, make in makes.items():
        if time.monotonic() > end:
            row["left_out"][tool] = "no time was left"
            continue
        try:
            layer, given = make()
            off = row["error"][tool] = error(layer, given, expected, x.lengths)
            if off > TOLERANCES["tf32" if "torch" in tool or "cuDNN" in tool else precision]:
                row["left_out"][tool] = f"differs from the plain loop by {off:.1e} of the largest entry"
                continue
            if isinstance(layer, (Recurrent, LSTM)):
                row["path"][tool] = explain_path(layer, given)
            row["forward"][tool] = timed(partial(forward, layer, given), seconds, device)
            row["training"][tool] = timed(partial(train, layer, given), seconds, device)
        except Exception as problem:  # one competitor's failure is a result of its own
            row["left_out"][tool] = f"{type(problem).__name__}: {str(problem)[:300]}"
    for work in ("forward", "training"):
        times = "  ".join(f"{tool} {ms:.2f}" for tool, ms in row[work].items())
        print(f"{name:34} {work:9} ms  {times}", flush=True)
    for tool, why in row["left_out"].items():
        print(f"{name:34} left out: {tool}: {why}", flush=True)
    return row


def cases(device: str) -> dict[str, Callable[[], tuple[dict[str, Make], Ragged]]]:
    found: dict[str, Callable[[], tuple[dict[str, Make], Ragged]]] = {}
    for hidden in (128, 256):
        for dense in (True, False):

            def lstm(hidden: int = hidden, dense: bool = dense) -> tuple[dict[str, Make], Ragged]:
                x = batch(64, 200, dense, device)
                return of_lstm(x, hidden, device), x

            found[f"lstm {hidden}, {'dense' if dense else 'ragged'}"] = lstm
    for name in ("layer_norm_lstm", "mgu", "min_gru"):

        def custom(name: str = name) -> tuple[dict[str, Make], Ragged]:
            x = batch(64, 200, False, device)
            return of_cell(name, x, 128, device), x

        found[f"{name} 128, ragged"] = custom
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=150.0, help="of all cases together")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit(
            "error: benchmarks/gpu.py measures on a GPU, and torch finds none here (torch.cuda.is_available() is "
            f"False, torch {torch.__version__}). Run it on a machine with one, with a build of torch for it."
        )
    before, end = setting(), time.monotonic() + arguments.seconds
    gpu = torch.cuda.get_device_name()
    print(f"{gpu}, torch {torch.__version__}, float32 products: {torch.get_float32_matmul_precision()}")
    rows = []
    for name, make in cases("cuda").items():
        if time.monotonic() > end:
            rows.append({"name": name, "left_out": {"all": "no time was left"}})
            print(f"{name:34} left out: no time was left", flush=True)
            continue
        makes, x = make()
        rows.append(measure(name, makes, x, end, 0.4, "cuda"))
    save("gpu", {"versions": versions(), "gpu": gpu, "seconds": arguments.seconds, "rows": rows}, before)


if __name__ == "__main__":
    main()
