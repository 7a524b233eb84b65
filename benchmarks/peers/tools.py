"""Every tool that can do the seed job: which module, which environment, which variables."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Tool:
    """`module` has `quality` and, unless it takes no epochs, `speed`; `variant` is its choice of way.

    `environment` is "unspool" or "peers"; `packages` are the distributions whose versions are recorded.
    """

    module: str
    packages: tuple[str, ...]
    variant: str = ""
    environment: str = "unspool"
    variables: dict[str, str] = field(default_factory=dict)
    has_epochs: bool = True


def _keras(backend: str, *packages: str) -> Tool:
    return Tool(
        "peers.keras_job",
        ("keras", "numpy", *packages),
        environment="peers",
        variables={"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )


TOOLS = {
    "unspool": Tool("peers.unspool_job", ("unspool", "torch", "numpy"), "ids"),
    "unspool-text": Tool("peers.unspool_job", ("unspool", "torch", "numpy"), "text"),
    "unspool-nn": Tool("peers.torch_job", ("unspool", "torch", "numpy"), "unspool"),
    "torch-packed": Tool("peers.torch_job", ("torch", "numpy"), "packed"),
    "torch-padded": Tool("peers.torch_job", ("torch", "numpy"), "padded"),
    "torch-tuned": Tool("peers.torch_job", ("torch", "numpy"), "tuned"),
    "keras-jax": _keras("jax", "jax", "jaxlib"),
    "keras-tensorflow": _keras("tensorflow", "tensorflow_cpu"),
    "keras-torch": _keras("torch", "torch"),
    "tfidf-ridge": Tool("peers.linear_job", ("scikit-learn", "numpy"), "ridge", has_epochs=False),
    "mean": Tool("peers.linear_job", ("numpy",), "mean", has_epochs=False),
}
