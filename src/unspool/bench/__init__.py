"""Timing one recurrent layer against torch's and the plain loop, side by side."""

from unspool.bench.case import SHAPES, WORKS, Case
from unspool.bench.competitors import competitors, flops, work
from unspool.bench.timing import Measured, Runner, Timing, interleave, measure, runner, told

__all__ = [
    "SHAPES",
    "WORKS",
    "Case",
    "Measured",
    "Runner",
    "Timing",
    "competitors",
    "flops",
    "interleave",
    "measure",
    "runner",
    "told",
    "work",
]
