"""One recurrent layer by other tools: who they are, and the case they get as a dict."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Tool:
    """`build` is "module:function" of (case, threads) -> a call; `peers`: it needs the peers' environment."""

    build: str
    packages: tuple[str, ...]
    peers: bool = True
    variables: dict[str, str] = field(default_factory=dict)


def _keras(backend: str, *packages: str) -> Tool:
    variables = {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return Tool("peers.keras_layers:build", ("keras", *packages), variables=variables)


def _compiled(part: str) -> Tool:
    # One thread compiles: a pool of processes would outlive a worker that is stopped at its time limit.
    variables = {"TORCHINDUCTOR_COMPILE_THREADS": "1"}
    return Tool(f"peers.compiled_loop:{part}", ("torch",), peers=False, variables=variables)


TOOLS = {
    "torch-compile": _compiled("whole"),
    "torch-compile-step": _compiled("step"),
    "keras-jax": _keras("jax", "jax", "jaxlib"),
    "keras-tensorflow": _keras("tensorflow", "tensorflow_cpu"),
    "onnxruntime": Tool("peers.onnx_layers:build", ("onnxruntime", "onnx")),
}


class Unable(Exception):
    """The tool has no such cell, or no such work."""


def mask(case: dict[str, Any]) -> np.ndarray | None:
    """True where a sequence has a step (B, T); None for a dense batch."""
    if case["shape"] == "dense":
        return None
    return np.arange(case["length"]) < np.array(case["lengths"])[:, None]


def padded(case: dict[str, Any]) -> np.ndarray:
    """Normal random input (B, T, F), float32."""
    shape = (case["batch"], case["length"], case["features"])
    return np.random.default_rng(1).standard_normal(shape, dtype=np.float32)
