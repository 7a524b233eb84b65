"""A fit inside Ray Train: python examples/ray_train.py reviews.csv text score reviews-model

Ray Train starts the workers, on whichever nodes have a processor free, joins them in a torch.distributed group, and
starts them anew when one is lost. Inside, `fit` is called as anywhere else: it finds the group, and every worker
computes its part of each batch. RAY_ADDRESS names the cluster; without it one is started on this machine.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import ray
import torch
from ray.train import Checkpoint, FailureConfig, RunConfig, ScalingConfig, get_context, report
from ray.train.torch import TorchTrainer

import unspool


def fit(config: dict[str, Any]) -> None:
    """On a worker: every one is given all of the data, and the first reports the model."""
    texts, scores = ray.get(config["data"])
    model = unspool.SequenceRegressor(**config["settings"]).fit(texts, scores)
    metrics = {"workers": torch.distributed.get_world_size(), "history": model.history_}
    with tempfile.TemporaryDirectory() as folder:
        if get_context().get_world_rank() == 0:
            model.save(Path(folder, "model"))
            report(metrics, checkpoint=Checkpoint.from_directory(folder))
        else:
            report(metrics)


def fit_on_cluster(
    texts: list[str], scores: Any, workers: int, storage: Path, **settings: Any
) -> tuple[Any, dict[str, Any]]:
    """(the fitted model, what was reported with it).

    storage: a folder that all nodes see, or an address such as s3://..., for what is reported.
    """
    trainer = TorchTrainer(
        fit,
        train_loop_config={"data": ray.put((texts, scores)), "settings": settings},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=False),
        run_config=RunConfig(storage_path=str(storage), failure_config=FailureConfig(max_failures=3)),
    )
    result = trainer.fit()
    with result.checkpoint.as_directory() as folder:
        return unspool.load(Path(folder, "model")), result.metrics


if __name__ == "__main__":
    path, text, target, out = sys.argv[1:]
    table = pl.read_csv(path)
    model, _ = fit_on_cluster(
        table[text].to_list(), table[target].to_numpy(), 2, Path(out).resolve().parent, random_state=0
    )
    model.save(out)
