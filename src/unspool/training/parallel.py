"""One training by several processes, the ranks of a `torch.distributed` group: what they tell each other.

Every rank has all of the data and cuts the same batches; of each it computes its own sequences. The loss of these is
weighted by what they are of the whole batch, and the gradients are summed, so that every rank takes the step that one
process would take on the whole batch. Decisions follow from numbers that all ranks have.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch import distributed as dist

from unspool.arrays import random_of
from unspool.errors import DataError
from unspool.nn.draws import Shared, sharing
from unspool.nn.state import joined, select
from unspool.ragged import Ragged
from unspool.ranks import ParallelError, under_torchrun
from unspool.training.settings import Loss
from unspool.training.summed import sum_gradients
from unspool.training.termination import Terminated

if TYPE_CHECKING:
    from unspool.training.batches import Batch
    from unspool.training.loop import Trainer

TIMEOUT = timedelta(minutes=10)  # that a rank waits for the others


class Alone:
    """A training by this process alone: `Group` with one rank, where there is nothing to tell."""

    rank, ranks, first = 0, 1, True

    @contextmanager
    def training(self, trainer: Trainer) -> Iterator[None]:
        """Around all of a training, once the trainer has everything."""
        yield

    def begin_epoch(self) -> None:
        """Before each."""

    def own(self, batch: Batch) -> Batch:
        """The sequences of a batch that this rank computes; what follows is about this batch."""
        return batch

    def part(self, memory: Any, batch: Batch) -> Any:
        """Of what a whole batch remembers, what this rank's sequences do."""
        return memory

    def whole(self, memory: Any) -> Any:
        """`part` undone."""
        return memory

    def drawing(self) -> AbstractContextManager:
        """Around a pass of the network that draws random numbers."""
        return nullcontext()

    def loss(self, loss: Loss, prediction: Any, batch: Batch) -> Tensor:
        """What the own sequences add to the loss of the whole batch."""
        return loss(prediction, batch.targets, batch.weights)

    def sum_gradients(self, trainer: Trainer, loss: Tensor) -> float:
        """The loss of the whole batch, whose gradient each weight has now."""
        return loss.item()

    def sum(self, value: float, trainer: Trainer) -> float:
        """Over the ranks."""
        return value

    def agreed(self, value: Any) -> Any:
        """Rank 0's."""
        return value

    def once(self, action: Callable[[], Any]) -> Any:
        """What `action` returns or raises on rank 0, where alone it is called."""
        return action()

    def told(self, trainer: Trainer) -> None:
        """Raises `Terminated` where any rank's process is to end, KeyboardInterrupt at Ctrl-C."""
        if trainer.terminate:
            raise Terminated

    def first_fault(self, fine: bool, text: str) -> str:
        """The text of the first rank that is not fine."""
        return text


class Group(Alone):
    """The ranks of torch.distributed's default group. seconds: that gradients took to be summed."""

    def __init__(self) -> None:
        self.rank, self.ranks = dist.get_rank(), dist.get_world_size()
        self.first = self.rank == 0
        self.seconds = 0.0
        self.interrupted = False
        self.all_told = [False, False]

    @contextmanager
    def training(self, trainer: Trainer) -> Iterator[None]:
        self._same(trainer)
        for tensor in trainer.network.state_dict().values():
            sent = tensor.to(self._wire(tensor))
            self._call(dist.broadcast, sent, 0)
            tensor.copy_(sent)
        with self._interrupts():
            yield

    def begin_epoch(self) -> None:
        torch.set_rng_state(self.agreed(torch.get_rng_state()))

    def own(self, batch: Batch) -> Batch:
        rows, self.spare = self._rows(batch)
        own = batch.take(rows)
        whole = [batch.inputs.offsets]
        if isinstance(batch.targets, Ragged):
            whole.append(batch.targets.offsets)
        self.shared = Shared(rows, len(batch.rows), whole, self.rank)
        self.targets, self.weight = batch.targets, own.count / batch.count
        return own

    def _rows(self, batch: Batch) -> tuple[Tensor, bool]:
        """(this rank's rows of a batch, whether another rank has them and they count for nothing here).

        By size, one to each rank in turn and back again, so that all ranks have about as many steps.
        """
        order = batch.by_size()
        turn = torch.arange(len(order), device="cpu") % (2 * self.ranks)
        mine = order[turn.minimum(2 * self.ranks - 1 - turn) == self.rank]
        return (mine.sort().values, False) if len(mine) else (order[:1], True)

    def part(self, memory: Any, batch: Batch) -> Any:
        if memory is None:
            return None
        rows, _ = self._rows(batch)
        return select(memory, rows)

    def whole(self, memory: Any) -> Any:
        if memory is None:
            return None
        parts = self._gathered((self.shared.rows, memory))
        return joined([part for _, part in parts], [rows for rows, _ in parts], self.shared.total)

    def drawing(self) -> AbstractContextManager:
        return sharing(self.shared)

    def loss(self, loss: Loss, prediction: Any, batch: Batch) -> Tensor:
        if not batch.count:  # a piece of texts of which these have ended
            return prediction.values.sum() * 0
        of_share = getattr(loss, "of_share", None)
        if of_share is None:
            value = loss(prediction, batch.targets, batch.weights) * self.weight
        else:
            value = of_share(prediction, batch.targets, batch.weights, self.targets)
        return value * 0 if self.spare else value

    def sum_gradients(self, trainer: Trainer, loss: Tensor) -> float:
        value = loss.item()
        started = time.perf_counter()
        self._call(sum_gradients, trainer.optimizers, trainer.trained, self._wire(loss))
        self.seconds += time.perf_counter() - started
        return self.sum(value, trainer)

    def sum(self, value: float, trainer: Trainer) -> float:
        sent = torch.tensor([value, trainer.terminate, self.interrupted], dtype=torch.float64)
        self._call(dist.all_reduce, sent := sent.to(self._wire(sent)))
        total, *told = sent.tolist()
        self.all_told = [count > 0 for count in told]
        return total

    def told(self, trainer: Trainer) -> None:
        terminate, interrupt = self.all_told
        if terminate:
            raise Terminated
        if interrupt:
            raise KeyboardInterrupt

    def agreed(self, value: Any) -> Any:
        sent = [value if self.first else None]
        self._call(dist.broadcast_object_list, sent, 0)
        return value if self.first else sent[0]

    def once(self, action: Callable[[], Any]) -> Any:
        value, error = None, None
        if self.first:
            try:
                value = action()
            except Exception as raised:
                error = raised
        value, error = self.agreed((value, error))
        if error is not None:
            raise error
        return value

    def first_fault(self, fine: bool, text: str) -> str:
        found = self._gathered((fine, text))
        return next((told for good, told in found if not good), found[0][1])

    def _gathered(self, value: Any) -> list[Any]:
        found: list[Any] = [None] * self.ranks
        self._call(dist.all_gather_object, found, value)
        return found

    def _same(self, trainer: Trainer) -> None:
        """`DataError` unless all ranks train the same network on the same data."""
        from unspool.training.depends import dependencies

        found = {name: value for name, value in dependencies(trainer, {}).items() if name != "machine"}
        others = self._gathered(found)
        differ = [name for name in found if any(other[name] != others[0][name] for other in others)]
        if differ:
            raise DataError(
                f"The {self.ranks} ranks must train the same network on the same data. What differs: "
                f"{', '.join(differ)}. Give every rank all of the data, in the same order, and the same settings."
            )

    @staticmethod
    def _wire(tensor: Tensor) -> torch.device:
        """Where a tensor must be for the group to send it."""
        able = dist.get_backend_config()
        if f"{tensor.device.type}:" in able:
            return tensor.device
        return torch.device("cpu" if "cpu:" in able else "cuda")

    def _call(self, act: Callable[..., Any], *args: Any) -> Any:
        try:
            return act(*args)
        except RuntimeError as error:
            global lost
            lost = True
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ParallelError(
                f"Rank {self.rank} of {self.ranks} cannot reach another rank, which has ended or does not answer; "
                f"what it said itself tells why ({reason[:200]})."
            ) from error

    @contextmanager
    def _interrupts(self) -> Iterator[None]:
        """Within, the first Ctrl-C is told to all ranks at the next step, the second one raised at once."""
        here = threading.current_thread() is threading.main_thread()
        if not here or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            yield
            return

        def handler(number: int, frame: Any) -> None:
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = True

        signal.signal(signal.SIGINT, handler)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)


lost = False  # whether a rank could not be reached: the end of its group is not to be relied on
_left = False


def find() -> Alone:
    """The group of this process: torch.distributed's, which is started first where the environment is torchrun's."""
    if not dist.is_available():
        return Alone()
    if not dist.is_initialized():
        if _left or under_torchrun()[1] == 1:
            return Alone()
        _start()
    return Group() if dist.get_world_size() > 1 else Alone()


def _start() -> None:
    gpus = torch.cuda.is_available()
    if gpus:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
    rank, ranks = under_torchrun()
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", timeout=TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise ParallelError(
            f"Rank {rank} of {ranks} cannot join the others at {os.environ['MASTER_ADDR']}: {error}"
        ) from error


def leave() -> bool:
    """End the group, where there is one; trainings after it are this process's alone. Whether this is rank 0, which
    goes on."""
    global _left
    first = find().first
    _left = True
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
    return first


def same_random(random_state: Any) -> Any:
    """`random_of`, the same generator on all ranks."""
    return find().agreed(random_of(random_state))
