"""`unspool doctor`: what runs here, and whether the native engine agrees with the plain loop."""

from __future__ import annotations

import copy
import importlib.metadata
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

import typer

from unspool.cli.options import Debug

PACKAGES = ("unspool", "torch", "numpy", "scikit-learn", "tokenizers", "safetensors", "polars")
VALUE_TOLERANCE = 1e-5  # absolute
GRADIENT_TOLERANCE = 1e-4  # relative to the largest entry of that gradient


@dataclass(frozen=True)
class Check:
    """Largest differences between native and plain loop for one cell and direction."""

    name: str
    value_error: float
    gradient_error: float

    @property
    def passed(self) -> bool:
        return self.value_error <= VALUE_TOLERANCE and self.gradient_error <= GRADIENT_TOLERANCE


def doctor(seed: int = typer.Option(0, help="Of the random cases."), debug: Debug = False) -> None:
    """Versions, instruction set, threads, and a self-check of the native engine (exit code 1 if it fails)."""
    from unspool.cli.console import print_table
    from unspool.engine import native

    print_table(("package", "version"), [(name, _version(name)) for name in PACKAGES])
    typer.echo(f"Python {sys.version.split()[0]} on {platform.system()} {platform.machine()}: {cpu_name()}")
    for name, value in native.info().items():
        shown = ", ".join(value) if isinstance(value, list) else value
        typer.echo(f"native {name.replace('_', ' ')}: {shown}")
    typer.echo(
        f"native bfloat16 products: {native.bfloat16_gain():.2f} times as fast as float32's (precision=)"
    )
    for name, value in other_devices().items():
        typer.echo(f"{name}: {value}")

    checks = self_check(seed)
    print_table(
        ("native against plain loop", "largest value error", "largest gradient error", ""),
        [
            (
                check.name,
                f"{check.value_error:.1e}",
                f"{check.gradient_error:.1e}",
                "ok" if check.passed else "FAILED",
            )
            for check in checks
        ],
    )
    failed = [check.name for check in checks if not check.passed]
    if failed:
        typer.echo(
            f"error: the native engine is wrong on this machine for {', '.join(failed)} (allowed: "
            f"{VALUE_TOLERANCE:g} and {GRADIENT_TOLERANCE:g}). "
            "Set UNSPOOL_ISA=portable and run doctor again.",
            err=True,
        )
        raise typer.Exit(1)
    typer.echo("The native engine agrees with the plain loop for every registered cell.")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def other_devices() -> dict[str, str]:
    """What torch can use beside the CPU (`--device`), and whether there are generated kernels for it."""
    import torch

    from unspool.engine import triton

    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else "none that torch can use"
    mps = "usable" if torch.backends.mps.is_available() else "none that torch can use"
    missing = triton.missing(torch.device("cuda"))
    state = "on" if triton.switched_on() else "off (UNSPOOL_TRITON=1 switches them on)"
    return {
        "device cuda": cuda,
        "device mps": mps,
        "generated kernels": missing or f"{state}, Triton {_version('triton')}, for CUDA",
    }


def cpu_name() -> str:
    """The processor's name, or what the platform calls it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown processor"


def self_check(seed: int) -> list[Check]:
    """One check a registered cell and direction, on random ragged batches that hold lengths 0 and 1."""
    import torch

    from unspool import cells

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return [_check_cell(name, bidirectional) for name in cells.names() for bidirectional in (False, True)]


def _check_cell(name: str, bidirectional: bool) -> Check:
    import torch

    from unspool import Ragged, cells
    from unspool.nn import Recurrent

    features, hidden, lengths = 5, 7, (1, 9, 0, 4, 13)
    plain = Recurrent(cells.get(name)(features, hidden), bidirectional=bidirectional, engine="eager")
    fast = copy.deepcopy(plain)
    fast.engine = "native"
    weights = torch.randn(sum(lengths), hidden * (2 if bidirectional else 1))
    values = torch.randn(sum(lengths), features)

    results = []
    for module in (plain, fast):
        inputs = values.clone().requires_grad_()
        sequences = Ragged.from_list(list(inputs.split(list(lengths))))
        output = module(sequences)[0].values
        gradients = torch.autograd.grad((output * weights).sum(), [inputs, *module.parameters()])
        results.append((output.detach(), gradients))
    (expected, expected_gradients), (got, got_gradients) = results
    return Check(
        f"{name}, {'both directions' if bidirectional else 'one direction'}",
        float((expected - got).abs().max()),
        max(
            float((a - b).abs().max() / a.abs().max().clamp(min=1e-6))
            for a, b in zip(expected_gradients, got_gradients, strict=True)
        ),
    )
