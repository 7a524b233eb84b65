"""Work on a Ray cluster: the connection, and calls of one function side by side (extra `cluster`)."""

from unspool.cluster.connection import Cluster, connected
from unspool.cluster.pool import Pool

__all__ = ["Cluster", "Pool", "connected"]
