"""Models for MLflow, by models-from-code: what is logged is a saved model and three lines of code, no pickle.

    import unspool.mlflow
    info = unspool.mlflow.log_model(model, name="reviews")
    mlflow.pyfunc.load_model(info.model_uri).predict(table)

Needs the extra `mlflow`.
"""

from __future__ import annotations

from unspool.mlflow.flavour import Answering, load_model, log_model, save_model

__all__ = ["Answering", "load_model", "log_model", "save_model"]
