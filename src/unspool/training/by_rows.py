"""An embedding that is trained on the rows of each batch, with the numbers of dense AdamW."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from unspool.training.batches import SequenceData
from unspool.training.optimizers import RowAdam
from unspool.training.settings import Settings
from unspool.training.tails import longest_ratio

# Dense gradient, norm and step of a million numbers take about as long as catching up and the same of 250
# rows of 256. Beyond that, a row of a batch takes as long as 8 of the table.
LARGE_TABLE = 2**20  # numbers
ROWS_A_TOKEN = 8  # rows of the table for each distinct token of a batch


def embedding_by_rows(network: nn.Module, training: SequenceData, settings: Settings) -> nn.Embedding | None:
    """The embedding, where its gradient is dense, and the rows of a batch are so few that they are faster."""
    embedding = getattr(network, "embedding", None)
    if not isinstance(embedding, nn.Embedding) or embedding.sparse or embedding.weight.numel() <= LARGE_TABLE:
        return None
    if embedding.weight.device.type != "cpu":
        return None  # the optimiser of rows is native code
    if getattr(network, "tied", False):
        return None  # every row has a gradient, as output weights
    distinct = len(training.inputs[: settings.batch_size].values.unique())
    if settings.schedule != "constant" or settings.warmup or settings.average:
        return None  # rows that were left behind would have to catch up at every step
    few = embedding.num_embeddings >= ROWS_A_TOKEN * distinct
    kept = 1 - settings.learning_rate * settings.weight_decay
    return embedding if few and longest_ratio((0.9, 0.999), kept) <= 0.999 else None


@contextmanager
def rows_of_batches(embedding: nn.Embedding, optimizer: RowAdam) -> Iterator[None]:
    """Within, the gradient of `embedding` is sparse, and `optimizer` catches rows up when they are looked up.

    Afterwards all rows are up to date, and nothing of it is left in the embedding.
    """

    def catch_up(embedding: nn.Embedding, inputs: tuple[Tensor, ...]) -> None:
        if embedding.training:
            optimizer.catch_up(embedding.weight, inputs[0].reshape(-1))

    hook = embedding.register_forward_pre_hook(catch_up)
    embedding.sparse = True
    try:
        yield
    finally:
        hook.remove()
        embedding.sparse = False
        embedding.weight.grad = None
        optimizer.catch_up_all()
