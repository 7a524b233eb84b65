"""Spectra against librosa's numbers, and against sines whose place is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.signals.waves import chirp

from unspool.signals import spectrum

FOUND_BY_LIBROSA = json.loads(Path(__file__).with_name("librosa.json").read_text())


@pytest.mark.parametrize("rate", [8000, 16000, 22050])
def test_log_mel_and_mfcc_are_those_of_librosa(rate: int) -> None:
    wanted = FOUND_BY_LIBROSA[str(rate)]
    x = chirp(rate)
    np.testing.assert_allclose(spectrum.log_mel(x, rate, 24), wanted["log_mel"], atol=1e-4)
    np.testing.assert_allclose(spectrum.mfcc(x, rate, 13, 24), wanted["mfcc"], atol=1e-4)


def test_a_sine_is_in_the_band_around_it() -> None:
    rate, bands = 8000, 40
    corners = spectrum.to_hertz(np.linspace(0, spectrum.to_mel(np.array(4000.0)), bands + 2))
    for pitch in (300.0, 1000.0, 2500.0):
        found = spectrum.log_mel(np.sin(2 * np.pi * pitch * np.arange(rate) / rate), rate, bands)
        band = int(found.mean(0).argmax())
        assert corners[band] < pitch < corners[band + 2]


def test_the_scale_by_hand() -> None:
    assert spectrum.to_mel(np.array([0.0, 500.0, 1000.0, 6400.0])).tolist() == [0.0, 7.5, 15.0, 42.0]
    hertz = np.array([10.0, 999.0, 1001.0, 7000.0])
    np.testing.assert_allclose(spectrum.to_hertz(spectrum.to_mel(hertz)), hertz)


def test_short_and_silent_sounds_have_finite_spectra() -> None:
    assert spectrum.log_mel(np.array([0.5]), 8000).shape == (1, 40)
    silent = spectrum.log_mel(spectrum.at_full_scale(np.zeros(800)), 8000)
    assert np.isfinite(silent).all() and silent.max() == -100
