"""What must be measured in a process of its own: first use, and peak memory. Prints one line of JSON.

    python benchmarks/fresh.py first-use
    python benchmarks/fresh.py memory unspool|torch BATCH LENGTH

Memory needs Linux: the peak resident set (VmHWM) is set back before the step that is measured.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def first_use() -> dict[str, float]:
    """Seconds: import of torch, of unspool after it, first call of a built-in layer, of a user's cell."""
    times = [time.perf_counter()]
    import torch

    times.append(time.perf_counter())
    from unspool import Ragged, nn

    times.append(time.perf_counter())
    layer, x = nn.LSTM(128, 64), Ragged.from_list([torch.randn(n, 128) for n in (40, 10, 25, 33)])
    layer(x)[0].values.sum().backward()
    times.append(time.perf_counter())
    user = nn.Recurrent(user_cell(), engine="native")
    start = time.perf_counter()
    user(x)[0].values.sum().backward()
    names = ("import_torch", "import_unspool", "first_call")
    found = {name: b - a for name, a, b in zip(names, times, times[1:])}
    return {**found, "user_cell": time.perf_counter() - start}


def user_cell() -> Any:
    """A cell that the library does not have: an LSTM with other gates and a part of its old output."""
    import torch
    from torch.nn.functional import linear

    from unspool.cells import Cell

    class Mixed(Cell):
        def __init__(self) -> None:
            super().__init__(128, 64)
            self.state_sizes = (64, 64)
            self.weight_ih = torch.nn.Parameter(torch.empty(256, 128))
            self.weight_hh = torch.nn.Parameter(torch.empty(256, 64))
            self.bias = torch.nn.Parameter(torch.empty(256))
            self.reset_parameters()

        def forward(self, x: Any, state: Any) -> Any:
            h, c = state
            z = linear(x, self.weight_ih, self.bias) + linear(h, self.weight_hh)
            i, f, g, o = z.chunk(4, -1)
            c = torch.sigmoid(f + c) * c + (1 - torch.sigmoid(i)) * torch.relu(g)
            return torch.sigmoid(o) * torch.tanh(c) + 0.5 * h, c

    return Mixed()


def memory(tool: str, batch: int, length: int) -> dict[str, float]:
    """MiB that one training step of an LSTM 64 adds to the peak, after a step on two short sequences."""
    import torch

    from unspool.bench import Case, work
    from unspool.nn import Recurrent
    from unspool.ragged import Ragged

    case = Case("lstm", 64, "dense", 1, "training", batch, length=length)
    if tool == "unspool":
        from unspool.cells import LSTMCell

        layer: Any = Recurrent(LSTMCell(128, 64), engine="native")
    else:
        layer = torch.nn.LSTM(128, 64, batch_first=True)

    def step(x: torch.Tensor) -> None:
        ours = Ragged.from_padded(x, torch.full((len(x),), x.shape[1])) if tool == "unspool" else x
        work("training", layer, ours)()

    step(torch.randn(2, 5, 128))
    x = case.padded()
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    step(x)
    return {"mib": (_status("VmHWM") - before) / 1024}


def _status(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise RuntimeError(f"/proc/self/status has no {name}")
    return int(found.group(1))


def ask(*arguments: str) -> dict[str, float]:
    """The answer of this file, run in a new process with `arguments`."""
    command = [sys.executable, __file__, *arguments]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


if __name__ == "__main__":
    action, *rest = sys.argv[1:]
    print(json.dumps(first_use() if action == "first-use" else memory(rest[0], int(rest[1]), int(rest[2]))))
