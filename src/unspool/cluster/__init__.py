"""Work on a Ray cluster: the connection, and calls of one function side by side (extra `cluster`)."""

from unspool.cluster.connection import Cluster, check_ready, connected
from unspool.cluster.pool import Pool
from unspool.cluster.workers import ClusterWorkers

__all__ = ["Cluster", "ClusterWorkers", "Pool", "check_ready", "connected"]
