"""What turns the outputs of a recurrent stack into predictions: one a sequence, or one a step."""

from unspool.heads.crf import CRF
from unspool.heads.dense import DenseHead
from unspool.heads.ordered import Ordered
from unspool.heads.per_step import PerStep
from unspool.heads.pooling import POOLINGS, Pooling

__all__ = ["CRF", "POOLINGS", "DenseHead", "Ordered", "PerStep", "Pooling"]
