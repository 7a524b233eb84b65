"""The code that MLflow keeps beside a model, and runs when it is loaded: nothing is pickled."""

from mlflow.models import set_model

from unspool.mlflow.flavour import Answering

set_model(Answering())
