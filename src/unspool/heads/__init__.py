"""What turns the outputs of a recurrent stack into one prediction a sequence."""

from unspool.heads.dense import DenseHead
from unspool.heads.pooling import POOLINGS, Pooling

__all__ = ["POOLINGS", "DenseHead", "Pooling"]
