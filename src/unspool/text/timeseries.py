"""The classic `TimeseriesGenerator`: windows of a series with the value that follows, batch by batch."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from unspool.errors import DataError, ModelFileError, check_int


class TimeseriesGenerator:
    """Batches (windows (B, length / sampling_rate, ...), targets (B, ...)) of a series; a sequence of them.

    Parameters
    ----------
    data : (T, ...), one row a step. targets : (T, ...), equally many; a window up to step t has targets[t].
    length : steps of a window. sampling_rate : every so-manieth step of it is taken.
    stride : steps from one window to the next.
    start_index, end_index : the first and the last step (by default the last of all) that is used.
    shuffle : windows are drawn at random, by NumPy's global generator.
    reverse : the steps of a window from the last to the first.
    batch_size : windows a batch.

    Raises `DataError` where data and targets differ in length or no window fits.
    """

    def __init__(
        self,
        data: Any,
        targets: Any,
        length: int,
        sampling_rate: int = 1,
        stride: int = 1,
        start_index: int = 0,
        end_index: int | None = None,
        shuffle: bool = False,
        reverse: bool = False,
        batch_size: int = 128,
    ) -> None:
        if len(data) != len(targets):
            raise DataError(f"data and targets must be equally long. Got {len(data)} and {len(targets)}.")
        for name, value in (("length", length), ("sampling_rate", sampling_rate), ("stride", stride)):
            check_int("TimeseriesGenerator", name, value)
        self.data, self.targets = data, targets
        self.length, self.sampling_rate, self.stride = length, sampling_rate, stride
        self.start_index = check_int("TimeseriesGenerator", "start_index", start_index, 0) + length
        self.end_index = len(data) - 1 if end_index is None else end_index
        self.shuffle, self.reverse = shuffle, reverse
        self.batch_size = check_int("TimeseriesGenerator", "batch_size", batch_size)
        if self.start_index > self.end_index or self.end_index >= len(data):
            raise DataError(
                f"No window of {length} steps and its target fit between steps {start_index} and {self.end_index} of "
                f"{len(data)}. Use a shorter length or other indices."
            )

    def __len__(self) -> int:
        """Batches; the last may be smaller."""
        step = self.batch_size * self.stride
        return (self.end_index - self.start_index + step) // step

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Batch `index`; negative ones count from the end."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"There are {len(self)} batches. Got {index}.")
        if self.shuffle:
            ends = np.random.randint(self.start_index, self.end_index + 1, size=self.batch_size)
        else:
            first = self.start_index + self.batch_size * self.stride * (index % len(self))
            last = min(first + self.batch_size * self.stride, self.end_index + 1)
            ends = np.arange(first, last, self.stride)
        windows = np.array([self.data[end - self.length : end : self.sampling_rate] for end in ends])
        return windows[:, ::-1] if self.reverse else windows, np.array([self.targets[end] for end in ends])

    def get_config(self) -> dict[str, Any]:
        """The arguments, as JSON values; data and targets as JSON strings."""
        config = {name: getattr(self, name) for name in ("length", "sampling_rate", "stride", "end_index")}
        config |= {name: getattr(self, name) for name in ("shuffle", "reverse", "batch_size")}
        texts = {name: json.dumps(np.asarray(getattr(self, name)).tolist()) for name in ("data", "targets")}
        return {**texts, **config, "start_index": self.start_index - self.length}

    def to_json(self, **kwargs: Any) -> str:
        """JSON that `timeseries_generator_from_json` reads; `kwargs` go to `json.dumps`."""
        return json.dumps({"class_name": "TimeseriesGenerator", "config": self.get_config()}, **kwargs)


def timeseries_generator_from_json(text: str) -> TimeseriesGenerator:
    """The generator that `to_json` wrote; `ModelFileError` if it is damaged."""
    try:
        config = dict(json.loads(text)["config"])
        data, targets = (json.loads(config.pop(name)) for name in ("data", "targets"))
        return TimeseriesGenerator(data, targets, **config)
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFileError(f"This is not the JSON of a TimeseriesGenerator ({error!r}).") from error
