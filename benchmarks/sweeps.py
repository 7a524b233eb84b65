"""One question each, with a table and a file of its own: benchmarks/results/NAME.json.

python benchmarks/sweeps.py                    # all of them, about three minutes
python benchmarks/sweeps.py --quick            # fewer sizes, less than a minute; NAME_quick.json
python benchmarks/sweeps.py length batch       # time against length and batch, linear in tokens?
python benchmarks/sweeps.py memory             # peak of a training step against tokens
python benchmarks/sweeps.py threads            # one thread against two
python benchmarks/sweeps.py single             # batch 1: whole sequences, `.step`, its kernel
python benchmarks/sweeps.py first-use          # import, first call, a new cell
python benchmarks/sweeps.py precision          # products of bfloat16 in training: time, and what they move
python benchmarks/sweeps.py busy               # a core less than there are threads
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import fresh
import numpy as np
import torch
from layers import versions
from peers.record import save, setting
from remote import wake
from torch import Tensor

from unspool import Ragged
from unspool.bench import Case, Runner, competitors, interleave, runner
from unspool.cells import GRUCell, LSTMCell
from unspool.engine import native
from unspool.engine.programs import Memory
from unspool.nn import Recurrent

LENGTHS = (10, 30, 100, 300, 1000, 3000, 10_000)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
STEP = Case("lstm", 64, "dense", 1, "training")


def linear(tokens: list[int], values: list[float]) -> dict[str, float]:
    """value = fixed + a_token * tokens, fitted to the relative errors; the largest of them."""
    n, v = np.array(tokens, float), np.array(values)
    (fixed, a_token), *_ = np.linalg.lstsq(np.stack([1 / v, n / v], 1), np.ones(len(v)), rcond=None)
    error = np.abs((fixed + a_token * n) / v - 1).max()
    return {"fixed": float(fixed), "a_token": float(a_token), "largest_deviation": float(error)}


def against_tokens(axis: str, sizes: tuple[int, ...], quick: bool) -> dict[str, Any]:
    """A training step of an LSTM 64, dense, one direction, ours and torch's, for each size of `axis`."""
    rows = []
    for size in sizes:
        case = STEP.but(**{axis: size})
        runs = competitors(case, plain_loop=False)
        found = interleave(runs, 0.1 if quick else 0.6)
        ms = {name: 1e3 * t.median for name, t in found.items()}
        rows.append({axis: size, "tokens": case.batch * case.length, "ms": ms})
        print(f"{axis} {size:6d}  {ms['unspool']:9.2f} ms  torch {ms['torch padded']:9.2f} ms", flush=True)

    def fit(rows: list[dict[str, Any]]) -> dict[str, float]:
        return linear([row["tokens"] for row in rows], [row["ms"]["unspool"] for row in rows])

    result = {"rows": rows, "linear": fit(rows)}
    if axis == "batch":
        result["linear_from_32"] = fit([row for row in rows if row["batch"] >= 32])
    for name in [name for name in result if name != "rows"]:
        print(f"{name}: fixed + tokens within {result[name]['largest_deviation']:.0%}")
    return result


def length(quick: bool) -> dict[str, Any]:
    """Time against length, batch 32."""
    return against_tokens("length", LENGTHS[:5] if quick else LENGTHS, quick)


def batch(quick: bool) -> dict[str, Any]:
    """Time against batch, length 150."""
    return against_tokens("batch", BATCHES[:9:2] if quick else BATCHES, quick)


def memory(quick: bool) -> dict[str, Any]:
    """What a training step of an LSTM 64 adds to the peak resident memory, MiB, in new processes."""
    sizes = (
        [(32, 1000), (256, 150)] if quick else [(32, 1000), (32, 3000), (32, 10_000), (512, 150), (4096, 150)]
    )
    rows = []
    for b, t in sizes:
        mib = {tool: fresh.ask("memory", tool, str(b), str(t))["mib"] for tool in ("unspool", "torch")}
        rows.append({"batch": b, "length": t, "tokens": b * t, "mib": mib})
        kib = {tool: 1024 * value / (b * t) for tool, value in mib.items()}
        print(
            f"batch {b:5d} length {t:6d}  {mib['unspool']:8.1f} MiB ({kib['unspool']:.2f} KiB a token)"
            f"  torch {mib['torch']:8.1f} ({kib['torch']:.2f})",
            flush=True,
        )
    return {"rows": rows}


def threads(quick: bool) -> dict[str, Any]:
    """Ragged batches of 32: one thread against two, ours and torch's."""
    rows = []
    both = torch.get_num_threads()
    widths = (64,) if quick else (64, 256)
    for cell in ("lstm", "gru", "rnn")[: 1 if quick else 3]:
        for width in widths:
            for directions in (1, 2):
                for work in ("forward", "training"):
                    case = Case(cell, width, "ragged", directions, work)
                    rows.append(_threads_of(case, 0.4 if quick else 1.0))
    torch.set_num_threads(both)
    return {"rows": rows}


def _threads_of(case: Case, seconds: float) -> dict[str, Any]:
    def on(count: int, run: Runner) -> Runner:
        def with_threads(times: int) -> float:
            torch.set_num_threads(count)
            wake()
            return run(times)

        return with_threads

    runs = competitors(case, plain_loop=False)
    found = interleave({f"{name}, {n}": on(n, run) for name, run in runs.items() for n in (1, 2)}, seconds)
    ms = {name: 1e3 * t.median for name, t in found.items()}
    gain = {name: ms[f"{name}, 1"] / ms[f"{name}, 2"] for name in runs}
    print(f"{case!s:64}", "  ".join(f"{name} {ratio:.2f}" for name, ratio in gain.items()), flush=True)
    return {"cell": case.cell, "hidden": case.hidden, "case": str(case), "ms": ms, "gain": gain}


def single(quick: bool) -> dict[str, Any]:
    """Batch 1: a whole sequence of 150, one `.step` from Python, and the native call inside it, microseconds."""
    seconds = 0.2 if quick else 1.0
    sequences = []
    for width in (64, 256):
        for work in ("forward", "training"):
            case = Case("lstm", width, "dense", 1, work, batch=1)
            found = interleave(competitors(case, plain_loop=False), seconds)
            us = {name: 1e6 * t.median for name, t in found.items()}
            ratio = us["torch padded"] / us["unspool"]
            sequences.append({"hidden": width, "work": work, "us": us, "ratio": ratio})
            print(f"{case!s:64} {us['unspool']:9.1f} us  torch / ours {ratio:.2f}", flush=True)
    found = interleave(steps(), seconds, rounds=30)
    step_us = {name: 1e6 * t.median for name, t in found.items()}
    print("one step:", "  ".join(f"{name} {us:.2f} us" for name, us in step_us.items()))
    return {"sequences": sequences, "step_us": step_us}


def without_gradients(call: Callable[[], object]) -> Runner:
    run = runner(call)

    def timed(times: int) -> float:
        with torch.no_grad():
            return run(times)

    return timed


def steps() -> dict[str, Runner]:
    """One step of batch 1, 128 features, 64 units, without gradients: `.step`, torch's cells, our kernel alone."""
    x = torch.randn(1, 128)
    layer = Recurrent(LSTMCell(128, 64))
    lstm, gru = torch.nn.LSTMCell(128, 64), torch.nn.GRUCell(128, 64)

    with torch.no_grad():
        state = layer.step(x)
    runs = {
        "unspool": without_gradients(lambda: layer.step(x, state)),
        "torch.nn.LSTMCell": without_gradients(lambda: lstm(x, state)),
        "torch.nn.GRUCell": without_gradients(lambda: gru(x, state[0])),
    }
    return {**runs, "kernel": runner(_kernel(layer, x, state))} if runs_natively(layer) else runs


def runs_natively(layer: Recurrent) -> bool:
    """Whether `layer.step` has run as native code."""
    return Memory.of(layer.step_cell()).step is not None


def _kernel(layer: Recurrent, x: Tensor, state: Any) -> Callable[[], object]:
    """The native call that `layer.step(x, state)` makes, to be made again with the same tensors."""
    prepared = Memory.of(layer.step_cell()).step
    native, calls = prepared.native, []
    prepared.native = SimpleNamespace(run=lambda *arguments: calls.append(arguments) or True)
    try:
        with torch.no_grad():
            layer.step(x, state)
    finally:
        prepared.native = native
    (arguments,) = calls

    def kernel() -> None:
        native.run(*arguments)

    return kernel


RAGGED_STEPS = """
import statistics, sys, time
import torch
from unspool import Ragged, nn

torch.manual_seed(0)
x = Ragged.from_list([torch.randn(int(n), 128) for n in torch.randint(5, 151, (32,))])
layer, times, end = nn.LSTM(128, 64, bidirectional=True, batch_first=True), [], None
while end is None or time.perf_counter() < end:
    start = time.perf_counter()
    layer(x)[0].values.square().sum().backward()
    times.append(time.perf_counter() - start)
    if len(times) == 20:
        end = time.perf_counter() + float(sys.argv[1])
print(1e3 * statistics.median(times[20:]))
"""


def ragged_steps(processes: int, seconds: float) -> float:
    """Milliseconds of a training step of an LSTM 64, ragged, both directions, in as many processes at once."""
    command = [sys.executable, "-c", RAGGED_STEPS, str(seconds)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    return statistics.mean(float(process.communicate()[0]) for process in running)


def busy(quick: bool) -> dict[str, Any]:
    """A training step of an LSTM 64, alone, beside another training and beside a process that holds a core, ms.

    The first three in processes of their own on ragged batches, ours; the rest in this one, dense, with the peers.
    """
    seconds = 2.0 if quick else 6.0
    own = {"ragged, alone": ragged_steps(1, seconds), "ragged, two at once": ragged_steps(2, seconds)}
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        own["ragged, busy"] = ragged_steps(1, seconds)
    finally:
        other.kill()
        other.wait()
    runs = competitors(STEP.but(batch=32), plain_loop=False)
    ms = own | {f"{name}, alone": 1e3 * t.median for name, t in interleave(runs, 0.5).items()}
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        for name, run in runs.items():
            ms[f"{name}, busy"] = 1e3 * statistics.median(run(1) for _ in range(3 if quick else 5))
    finally:
        other.kill()
        other.wait()
    print("  ".join(f"{name} {t:.1f} ms" for name, t in ms.items()))
    return {"ms": ms}


def precision(quick: bool) -> dict[str, Any]:
    """A training step in both directions, ragged, with products of float32 and of bfloat16: times, largest changes."""
    lengths = torch.randint(10, 151, (32,))
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    x = Ragged(torch.randn(int(offsets[-1]), 128), offsets)
    rows = []
    for cell in (LSTMCell, GRUCell):
        for hidden in (64,) if quick else (64, 128, 256, 512):
            layers = {"float32": Recurrent(cell(128, hidden), bidirectional=True)}
            layers["bfloat16"] = Recurrent(cell(128, hidden), bidirectional=True, precision="bfloat16")
            layers["bfloat16"].load_state_dict(layers["float32"].state_dict())
            found = {}

            def step(name: str, layers: dict[str, Any] = layers, found: dict[str, Any] = found) -> None:
                layers[name].zero_grad()
                output = layers[name](x)[0].values
                output.square().sum().backward()
                found[name] = [output.detach(), *(p.grad for p in layers[name].parameters())]

            times = interleave({name: runner(partial(step, name)) for name in layers}, 0.5 if quick else 3.0)
            pairs = zip(found["float32"], found["bfloat16"])
            moved = max(float((a - b).abs().max() / a.abs().max()) for a, b in pairs)
            ms = {name: 1e3 * t.median for name, t in times.items()}
            row = {"cell": cell.__name__, "units": hidden, "ms": ms, "moved": moved}
            rows.append({**row, "gain": ms["float32"] / ms["bfloat16"]})
            print(
                f"{cell.__name__} {hidden:4d}  {ms}  gain {rows[-1]['gain']:.2f}  moved {moved:.1e}",
                flush=True,
            )
    return {"rows": rows, "gain_of_one_instruction": native.bfloat16_gain()}


def first_use(quick: bool) -> dict[str, Any]:
    """Medians over new processes, seconds."""
    answers = [fresh.ask("first-use") for _ in range(2 if quick else 5)]
    found = {name: statistics.median(a[name] for a in answers) for name in answers[0]}
    print("first use:", "  ".join(f"{name} {1e3 * s:.0f} ms" for name, s in found.items()))
    return {"seconds": found}


SWEEPS = {
    "length": length,
    "batch": batch,
    "memory": memory,
    "threads": threads,
    "single": single,
    "first-use": first_use,
    "busy": busy,
    "precision": precision,
}


def run(names: Sequence[str], quick: bool) -> None:
    """Each sweep with its table and results/NAME.json."""
    for name in names:
        torch.manual_seed(0)
        before = setting()
        print(f"-- {name}: {SWEEPS[name].__doc__}")
        found = SWEEPS[name](quick)
        content = {"versions": versions(), "threads": torch.get_num_threads(), "quick": quick, **found}
        save(f"{name}_quick" if quick else name, content, before)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "sweeps", nargs="*", choices=[*SWEEPS, []], default=[], metavar="NAME", help=", ".join(SWEEPS)
    )
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    run(args.sweeps or list(SWEEPS), args.quick)


if __name__ == "__main__":
    main()
