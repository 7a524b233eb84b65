"""Log-mel spectrograms and MFCC, plainly.

Frames of 25 ms, 10 ms apart, centred on their times and padded with zeros at both ends; a Hann window; the power of the
discrete Fourier transform, zero-padded to twice the frame and the next power of two. Mel bands: triangles of area 1 on
Slaney's scale (Auditory Toolbox, 1998): linear to 1,000 Hz, then 27 bands a factor of 6.4. Decibels are limited to 80
below the loudest value of the recording. MFCC: the orthonormal type II cosine transform over the bands (Davis,
Mermelstein 1980). The numbers are those of librosa's `melspectrogram`, `power_to_db` and `mfcc` of the same settings.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy

FRAME, HOP = 0.025, 0.010  # seconds
RANGE = 80.0  # decibels below the loudest
QUIETEST = 1e-10  # power that counts as silence


def frame_sizes(rate: int) -> tuple[int, int, int]:
    """(samples a frame, samples from one to the next, points of the transform) at `rate` samples a second."""
    frame, hop = max(2, round(FRAME * rate)), max(1, round(HOP * rate))
    return frame, hop, 2 ** int(np.ceil(np.log2(2 * frame)))


def power_spectrum(x: np.ndarray, rate: int) -> np.ndarray:
    """x (n,) -> power (1 + n // hop, points / 2 + 1)."""
    frame, hop, points = frame_sizes(rate)
    padded = np.pad(np.asarray(x, dtype=np.float64), points // 2)
    left = (points - frame) // 2
    window = np.zeros(points)
    window[left : left + frame] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frame) / frame)
    frames = np.lib.stride_tricks.sliding_window_view(padded, points)[::hop]
    return np.abs(scipy.fft.rfft(frames * window, axis=1)) ** 2


def to_mel(hertz: np.ndarray) -> np.ndarray:
    """Slaney's scale: 15 mel at 1,000 Hz."""
    return np.where(
        hertz < 1000, hertz * 3 / 200, 15 + 27 * np.log(np.maximum(hertz, 1000) / 1000) / np.log(6.4)
    )


def to_hertz(mel: np.ndarray) -> np.ndarray:
    """The inverse of `to_mel`."""
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((np.maximum(mel, 15) - 15) * np.log(6.4) / 27))


@lru_cache(maxsize=8)
def mel_bands(rate: int, bands: int) -> np.ndarray:
    """(bands, points / 2 + 1): triangles from 0 to half the rate, each of area 1 over Hertz."""
    points = frame_sizes(rate)[2]
    bins = np.arange(points // 2 + 1) * rate / points
    corners = to_hertz(np.linspace(0, to_mel(np.array(rate / 2)), bands + 2))
    low, middle, high = (corners[i : i + bands, None] for i in range(3))
    triangles = np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)).clip(min=0)
    return triangles * 2 / (high - low)


def decibels(power: np.ndarray) -> np.ndarray:
    """10 log10 of the power, at least `QUIETEST`, and at most `RANGE` below the largest of all."""
    found = 10 * np.log10(np.maximum(power, QUIETEST))
    return np.maximum(found, found.max() - RANGE)


def log_mel(x: np.ndarray, rate: int, bands: int = 40) -> np.ndarray:
    """x (n,), n ≥ 1 -> decibels (1 + n // hop, bands)."""
    return decibels(power_spectrum(x, rate) @ mel_bands(rate, bands).T)


def mfcc(x: np.ndarray, rate: int, coefficients: int = 20, bands: int = 40) -> np.ndarray:
    """x (n,), n ≥ 1 -> (1 + n // hop, coefficients), the first of them the loudness."""
    return scipy.fft.dct(log_mel(x, rate, bands), type=2, norm="ortho", axis=1)[:, :coefficients]


def at_full_scale(x: np.ndarray) -> np.ndarray:
    """x (n,) with its largest sample at 1 or -1; silence as it is."""
    peak = np.abs(x).max()
    return x / peak if peak > 0 else x
