"""Generated kernels: values and gradients are the plain loop's, in Triton's interpreter; and they compile for a GPU."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from unspool import cells
from unspool.engine import dispatch
from unspool.engine.programs import program_of
from unspool.errors import EngineError, SlowPathWarning
from unspool.nn import Recurrent

from .compare import ragged

pytest.importorskip("triton", reason="Triton (the extra 'gpu') is not installed")

ROOT = Path(__file__).parents[2]
CELLS = [name for name in cells.registry if name != "mlstm"]
CASES = [*CELLS, "GRU2014", "LayerNormLSTM", "ThreeStates", "Leaky"]
CASES += ["without_gradients", "long_scan", "no_tokens", "refusals"]
if not os.environ.get("UNSPOOL_TRITON_TESTS"):  # =all: every cell, a minute of the interpreter
    CASES = ["lstm", "gru", "min_gru", "layer_norm_lstm", "ThreeStates", *CASES[-4:]]


pytestmark = pytest.mark.xdist_group("triton")  # one run of the interpreter for all


@pytest.fixture(scope="module")
def found() -> Mapping[str, str | None]:
    """What is wrong with each case, from one process in which Triton interprets."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.engine.triton_cells", *CASES]
    env = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env, timeout=600)
    assert ran.returncode == 0, ran.stderr
    return dict(json.loads(line) for line in ran.stdout.splitlines())


@pytest.mark.parametrize("case", CASES)
def test_kernels_are_the_plain_loop(case: str, found: Mapping[str, str | None]) -> None:
    assert found[case] is None, found[case]


def test_kernels_compile_for_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """To machine code of an H100, which needs none."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from unspool.engine.triton.plan import make_plan
    from unspool.engine.triton.run import compiled
    from unspool.engine.triton.scan import COLUMNS, STEPS, _scan

    cell = cells.LSTMCell(3, 20)
    training = make_plan(program_of(cell, 3, cell.initial_state(1))).training
    loops: dict[str, Any] = {"REVERSE": True, "PRECISION": "ieee", "ROWS": 16}
    cases: list[tuple[Any, dict[str, Any]]] = [
        (compiled(kernel.text), {**loops, "WIDTH": kernel.width})
        for kernel in (training.forward, training.backward)
    ]
    cases.append((_scan, {"LATER": 1, "REVERSE": True, "WIDTH": 20, "STEPS": STEPS, "COLUMNS": COLUMNS}))
    for kernel, constants in cases:
        types = dict.fromkeys(kernel.arg_names, "*fp32") | {"batch": "*i64", "count": "i32"}
        source = ASTSource(kernel, types | dict.fromkeys(constants, "constexpr"), constants)
        assert triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["cubin"]


@dataclass
class OnGpu:
    """What a path is chosen by of an input (10, 3) that is on a GPU."""

    dtype: torch.dtype = torch.float32
    device: Any = field(default_factory=lambda: torch.device("cuda"))
    shape: tuple[int, int] = (10, 3)


def choose(cell: nn.Module, x: Any) -> dispatch.Path:
    return dispatch.choose([dispatch.Direction(cell)], x, [cell.initial_state(2)])


def test_a_cell_of_cudnn_on_a_gpu() -> None:
    assert choose(cells.LSTMCell(3, 4), OnGpu()).engine == "cudnn"


def test_another_cell_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain loop, with a warning that says how kernels are switched on; then why there is none for this call."""

    class Cell(cells.MGUCell):
        pass

    path = choose(Cell(3, 4), OnGpu())
    assert path.engine == "eager" and "cuDNN has no Cell" in path.reason
    with pytest.warns(SlowPathWarning, match="Cell runs in the plain loop.*UNSPOOL_TRITON=1"):
        dispatch.warn_slow(path)
    monkeypatch.setenv("UNSPOOL_TRITON", "1")
    assert "is torch.float64 on cuda" in choose(Cell(3, 4), OnGpu(torch.float64)).reason


def test_the_benchmark_needs_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    with pytest.raises(SystemExit, match=r"measures on a GPU, and torch finds none here"):
        runpy.run_path(str(ROOT / "benchmarks" / "gpu.py"), run_name="__main__")


def test_without_a_gpu_the_engine_says_so() -> None:
    layer = Recurrent(cells.MGUCell(3, 4), engine="triton")
    with pytest.raises(EngineError, match=r"run on CUDA, and the input is on cpu. Use engine='auto'"):
        layer(ragged(3, (2, 1)))
