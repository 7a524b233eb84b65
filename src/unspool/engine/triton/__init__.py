"""Kernels generated from a cell's program, in Triton: for GPUs, and for Triton's interpreter on the CPU."""

from __future__ import annotations

import importlib.util
import os

import torch

from unspool.engine.triton import plan
from unspool.engine.triton.affine import affine
from unspool.engine.triton.run import run
from unspool.program.ir import Program

__all__ = ["how", "missing", "run", "switched_on", "why_not"]


def why_not(program: Program) -> str | None:
    """Why a program has no kernel; None: it has one."""
    return None if affine(program) is not None else plan.why_not(program)


def how(program: Program) -> str:
    """What runs a program that has a kernel."""
    scanned = affine(program) is not None
    return (
        "a scan over time, as the step is affine in the state"
        if scanned
        else "a kernel generated from the step"
    )


def missing(device: torch.device) -> str | None:
    """Why nothing of this can run on `device`; None: it can."""
    if importlib.util.find_spec("triton") is None:
        return "generated kernels need Triton (pip install 'unspool[gpu]')"
    from triton import knobs

    if device.type == "cuda" or (device.type == "cpu" and knobs.runtime.interpret):
        return None
    return f"generated kernels run on CUDA, and the input is on {device.type}"


def switched_on() -> bool:
    """Whether engine="auto" takes generated kernels on a GPU: the variable UNSPOOL_TRITON is 1. Off by default."""
    return os.environ.get("UNSPOOL_TRITON") == "1"
