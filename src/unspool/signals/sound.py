"""Recordings: WAV, FLAC and what else libsndfile reads, mixed to one channel and brought to a rate."""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import gcd
from pathlib import Path

import numpy as np

from unspool.errors import DataError, check_int, warn_caller

SLOWEST, FASTEST = 100, 1_000_000  # samples a second; resampling takes memory in proportion to their ratio
#: The files of a folder that are taken for recordings, by their extension.
EXTENSIONS = (".wav", ".flac", ".ogg", ".aiff", ".aif", ".mp3")
STREAMED = 2**31 - 1  # bytes from here on: written to a pipe, where none knew how many would come


@dataclass(frozen=True, eq=False)
class Sound:
    """A recording. samples: (n,) or (n, channels), floats, or ints whose full range is -1 to 1; rate: of them a second.

    Raises `DataError` for samples of another shape, none at all, NaN or infinity.
    """

    samples: np.ndarray
    rate: int
    name: str = "a sound"

    def __post_init__(self) -> None:
        check_int("Sound", "rate", self.rate)
        x = np.asarray(self.samples)
        if x.dtype.kind == "i":
            x = x / -float(np.iinfo(x.dtype).min)
        if x.dtype.kind != "f" or x.ndim not in (1, 2):
            raise DataError(
                f"The samples of {self.name} must be floats or ints, (n,) or (n, channels). Got {x.dtype} of shape "
                f"{x.shape}."
            )
        if x.size == 0:
            raise DataError(f"There are no samples in {self.name}.")
        if x.ndim == 2 and x.shape[1] > x.shape[0]:
            raise DataError(
                f"The samples of {self.name} must be (n, channels). Got {x.shape}, more channels than samples: "
                "pass samples.T."
            )
        if not np.isfinite(x).all():
            raise DataError(f"The samples of {self.name} hold NaN or infinity.")
        object.__setattr__(self, "samples", x)

    @property
    def mono(self) -> np.ndarray:
        """(n,) float64: the mean of the channels."""
        x = self.samples.astype(np.float64)
        return x if x.ndim == 1 else x.mean(1)

    def at(self, rate: int) -> np.ndarray:
        """(m,) float64: mixed to one channel and resampled to `rate`, m = ⌈n rate / self.rate⌉."""
        return resample(self.mono, self.rate, rate)


def resample(x: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """x (n,) of `rate` samples a second at `wanted`: a low-pass below half the lower rate, polyphase."""
    if rate == wanted:
        return x
    from scipy.signal import resample_poly

    common = gcd(rate, wanted)
    return resample_poly(x, wanted // common, rate // common)


def read_sound(path: str | os.PathLike[str]) -> Sound:
    """The recording in a file. Raises `DataError` where it cannot be read or is cut off, or the package soundfile is
    missing; warns of an MP3 file that seems cut off."""
    path = Path(path).expanduser()
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise DataError(
            f"Reading {str(path)!r} needs the package soundfile: pip install 'unspool[audio]'. {error}"
        ) from error
    if not path.is_file():
        raise DataError(f"There is no file {str(path)!r}.")
    _check_whole(path)
    try:
        with soundfile.SoundFile(path) as file:
            rate, told = file.samplerate, file.frames
            samples = file.read(dtype="float32")
    except (soundfile.SoundFileError, OSError) as error:
        raise DataError(f"{str(path)!r} is not a sound file that can be read: {error}") from error
    if not SLOWEST <= rate <= FASTEST:
        raise DataError(
            f"{str(path)!r} says that it has {rate:,} samples a second. Expected {SLOWEST} to {FASTEST:,}."
        )
    if len(samples) < 0.99 * told:
        warn_caller(
            f"{str(path)!r} may be cut off: it has {len(samples):,} samples, and its header says {told:,}."
        )
    if (
        samples.ndim == 2 and 0 < len(samples) < samples.shape[1]
    ):  # an array like this is taken for a wrong layout
        samples = samples.mean(1)
    return Sound(samples, rate, repr(str(path)))


def _check_whole(path: Path) -> None:
    """`DataError` for a WAV or AIFF file that ends before its samples do, which libsndfile reads as a shorter one."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(28)
        whole = 0
        if head[:4] == b"FORM":
            whole = 8 + int.from_bytes(head[4:8], "big")
        elif head[:4] == b"RF64" and head[12:16] == b"ds64":
            whole = 8 + int.from_bytes(head[20:28], "little")
        if size < whole < STREAMED:
            raise DataError(
                f"{str(path)!r} is cut off: it has {size:,} bytes, and its header says {whole:,}."
            )
        file.seek(12)
        if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
            return
        while len(chunk := file.read(8)) == 8:
            count = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"data":
                there = size - file.tell()
                if there < count < STREAMED:
                    raise DataError(
                        f"{str(path)!r} is cut off: it has {there:,} bytes of samples, and its header says {count:,}."
                    )
                return
            file.seek(count + count % 2, os.SEEK_CUR)
