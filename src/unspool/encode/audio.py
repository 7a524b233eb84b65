"""Recordings to spectra over time, standardised."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch

from unspool.encode.base import Input
from unspool.encode.reading import Raw
from unspool.encode.series import SeriesInput
from unspool.errors import DataError, ModelFileError, warn_caller
from unspool.ragged import Ragged
from unspool.saved.fields import Fields
from unspool.signals import spectrum
from unspool.signals.sound import SLOWEST, Sound, read_sound

KINDS = ("log-mel", "mfcc")
HIGHEST = 16000  # samples a second, where the rate is not given


class AudioInput(Input):
    """Recordings of any rate and number of channels to a step each 10 ms: decibels of mel bands, or MFCC.

    They are mixed to one channel and resampled. rate: None: that of most training recordings, 16,000 at most.
    features: "log-mel" (`bands` numbers a step) or "mfcc" (its first 20 coefficients, or `bands` if that is fewer).
    gain_invariant: each recording is first brought to full scale, so that how loud it is says nothing.
    channel_invariant: the mean of each feature over a recording is taken off (cepstral mean normalisation, Atal 1974).
    scaling: of each feature to mean 0 and variance 1 over the training steps.
    """

    kind: ClassVar[str] = "audio"

    def __init__(
        self,
        features: str = "log-mel",
        bands: int = 40,
        rate: int | None = None,
        gain_invariant: bool = True,
        channel_invariant: bool = False,
        scaling: SeriesInput | None = None,
    ) -> None:
        self.features, self.bands, self.rate = features, bands, rate
        self.gain_invariant, self.channel_invariant = gain_invariant, channel_invariant
        self.scaling = SeriesInput() if scaling is None else scaling

    @classmethod
    def new(cls, settings: Mapping[str, Any]) -> AudioInput:
        names = ("audio_features", "mel_bands", "sample_rate", "gain_invariant", "channel_invariant")
        return cls(*(settings[name] for name in names))

    @property
    def n_features(self) -> int:  # type: ignore[override]
        """Numbers a step: mel bands or coefficients."""
        return self.scaling.n_features

    def fit(self, raw: Raw) -> AudioInput:
        sounds = [_sound(item) for item in raw.data]
        if self.rate is None:
            ranked = Counter(sound.rate for sound in sounds).most_common()
            self.rate = min(HIGHEST, max(rate for rate, count in ranked if count == ranked[0][1]))
        if self.rate < SLOWEST:
            raise DataError(
                f"Recordings must have {SLOWEST} samples a second or more: spectra have a step each 10 ms. Most have "
                f"{self.rate}. As series, arrays (time, 1), they are read as they are."
            )
        empty = int((spectrum.mel_bands(self.rate, self.bands).sum(1) == 0).sum())
        if empty:
            warn_caller(
                f"{empty} of {self.bands} mel bands are always empty at {self.rate:,} samples a second. Take fewer "
                "(mel_bands), or a higher sample_rate."
            )
        self.scaling.fit(Raw("series", self._spectra(sounds)))
        return self

    def encode(self, raw: Raw, warn: bool = False) -> Ragged:
        sounds = [_sound(item) for item in raw.data]
        slow = [sound for sound in sounds if self.rate is not None and sound.rate < self.rate]
        if warn and slow:
            warn_caller(
                f"{len(slow)} of {len(sounds)} recordings have fewer than the model's {self.rate:,} samples a second, "
                f"such as {slow[0].name} with {slow[0].rate:,}: nothing is in their upper bands."
            )
        return self.scaling.encode(Raw("series", self._spectra(sounds)))

    def _spectra(self, sounds: list[Sound]) -> Ragged:
        return Ragged.from_list([torch.from_numpy(self.spectrum(sound)) for sound in sounds])

    def spectrum(self, sound: Sound) -> np.ndarray:
        """(T, F) float64: log-mel or MFCC of a recording, not standardised."""
        assert self.rate is not None
        x = sound.at(self.rate)
        if self.gain_invariant:
            x = spectrum.at_full_scale(x)
        if self.features == "log-mel":
            found = spectrum.log_mel(x, self.rate, self.bands)
        else:
            found = spectrum.mfcc(x, self.rate, min(20, self.bands), self.bands)
        return found - found.mean(0) if self.channel_invariant else found

    def decode(self, batch: Ragged) -> list[np.ndarray]:
        """The spectra (T, F): decibels or coefficients, float64."""
        return self.scaling.decode(batch)

    def describe(self) -> str:
        what = f"{self.n_features} {'mel bands' if self.features == 'log-mel' else 'MFCC'} each 10 ms"
        gain = ", each at full scale" if self.gain_invariant else ""
        gain += ", their means taken off" if self.channel_invariant else ""
        return f"recordings at {self.rate:,} samples a second, {what}{gain}"

    def to_dict(self) -> dict[str, Any]:
        names = ("features", "bands", "rate", "gain_invariant", "channel_invariant")
        own = {name: getattr(self, name) for name in names}
        return {"kind": self.kind, **own, "scaling": self.scaling.to_dict()}

    @classmethod
    def from_fields(cls, fields: Fields) -> AudioInput:
        features, bands, rate = (
            fields.choice("features", KINDS),
            fields.get("bands", int),
            fields.get("rate", int),
        )
        scaling = SeriesInput.from_fields(fields.child("scaling"))
        wanted = bands if features == "log-mel" else min(20, bands)
        if (
            not 1 <= rate <= 10**6
            or scaling.n_features != wanted
            or scaling.n_given != wanted
            or scaling.kept
        ):
            raise ModelFileError(
                f"its {features} of {bands} bands at a rate of {rate} do not fit its {scaling.n_given} scales."
            )
        gain, channel = (fields.get(name, bool) for name in ("gain_invariant", "channel_invariant"))
        return cls(features, bands, rate, gain, channel, scaling)


def _sound(item: Any) -> Sound:
    return item if isinstance(item, Sound) else read_sound(item)
