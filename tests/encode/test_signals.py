"""Series with missing values, and recordings: what they become, and back."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from tests.signals.waves import chirp

from unspool import Ragged
from unspool.encode import AudioInput, Raw, SeriesInput, input_from_fields
from unspool.errors import DataError, ModelFileError
from unspool.saved import Fields
from unspool.signals import Sound

NAN = float("nan")


def series(*rows: list) -> Raw:
    return Raw("series", Ragged.from_list([torch.tensor(row, dtype=torch.float64) for row in rows]))


def again(encoder):
    return input_from_fields(Fields(json.loads(json.dumps(encoder.to_dict())), "input"))


def test_missing_values_are_the_mean_and_told_apart() -> None:
    raw = series([[1.0, 4.0], [NAN, 6.0]], [[3.0, 8.0]])
    with pytest.warns(UserWarning, match=r"1 of 6 numbers of the training part are missing \(NaN\)"):
        encoder = SeriesInput().fit(raw)
    assert (encoder.n_given, encoder.n_features) == (2, 3)
    values = again(encoder).encode(raw).values
    deviation = np.sqrt(8 / 3)
    wanted = [[-1, -2 / deviation, 0], [0, 0, 1], [1, 2 / deviation, 0]]
    np.testing.assert_allclose(values, wanted, atol=1e-6)
    back = encoder.decode(encoder.encode(raw))
    np.testing.assert_allclose(back[0], [[1, 4], [NAN, 6]], atol=1e-6)
    assert encoder.describe() == "series of 2 features a step, missing values of 1 told apart"


def test_values_that_only_prediction_lacks_are_told() -> None:
    encoder = SeriesInput().fit(series([[1.0, 4.0], [3.0, 6.0]]))
    with pytest.warns(UserWarning, match="1 numbers are missing.*as of feature 1"):
        found = encoder.encode(series([[1.0, NAN]]), warn=True)
    np.testing.assert_allclose(found.values, [[-1.0, 0.0]])


def test_a_cell_that_reads_missing_values_gets_them() -> None:
    raw = series([[1.0], [NAN], [3.0]])
    with pytest.warns(UserWarning, match="the cell reads them itself"):
        encoder = SeriesInput.new({"cell": "gru_d"}).fit(raw)
    np.testing.assert_allclose(again(encoder).encode(raw).values, [[-1.0], [NAN], [1.0]])
    assert encoder.n_features == 1


def test_a_feature_without_a_number_and_infinity_are_refused() -> None:
    with pytest.raises(DataError, match="Feature 1 has no number"):
        SeriesInput().fit(series([[1.0, NAN], [2.0, NAN]]))
    with pytest.raises(DataError, match="Sequence 1 holds infinity"):
        SeriesInput().fit(series([[1.0]], [[float("inf")]]))


def test_damaged_places_of_missing_values_are_refused() -> None:
    for told in ([1], [-1], [0, 0]):
        with pytest.raises(ModelFileError, match="features with missing values"):
            SeriesInput.from_fields(
                Fields({"mean": [0.0], "scale": [1.0], "told": told, "kept": False}, "input")
            )


@pytest.mark.parametrize("features", ["log-mel", "mfcc"])
def test_recordings_become_standardised_spectra(features: str) -> None:
    raw = Raw("audio", [Sound(chirp(8000), 8000), Sound(chirp(8000, 0.2), 8000)])
    encoder = AudioInput(features, bands=24).fit(raw)
    found = again(encoder).encode(raw)
    assert found.lengths.tolist() == [11, 21] and found.values.shape[1] == encoder.n_features
    np.testing.assert_allclose(found.values.mean(0), 0, atol=1e-5)
    assert found.values.std(0, correction=0).max() < 1 + 1e-4
    np.testing.assert_allclose(encoder.decode(found)[1], encoder.spectrum(raw.data[1]), atol=1e-3)


def test_rate_gain_and_channels_make_no_difference() -> None:
    x = chirp(8000, 0.4)
    raw = Raw("audio", [Sound(x, 8000)])
    encoder = AudioInput().fit(raw)
    plain = encoder.encode(raw).values
    stereo = np.stack([0.02 * x, 0.03 * x], 1)
    np.testing.assert_allclose(encoder.encode(Raw("audio", [Sound(stereo, 8000)])).values, plain, atol=1e-4)
    quiet = AudioInput(gain_invariant=False).fit(raw)
    change = quiet.encode(Raw("audio", [Sound(0.1 * x, 8000)])).values - quiet.encode(raw).values
    assert change.abs().mean() > 0.5
    doubled = Sound(Sound(x, 8000).at(16000), 16000)
    found = encoder.encode(Raw("audio", [doubled])).values
    assert found.shape == plain.shape and (found - plain)[2:-2].abs().mean() < 0.1


def test_what_a_channel_adds_is_taken_off() -> None:
    raw = Raw("audio", [Sound(chirp(8000, 0.3), 8000)])
    encoder = again(AudioInput(channel_invariant=True).fit(raw))
    np.testing.assert_allclose(encoder.spectrum(raw.data[0]).mean(0), 0, atol=1e-9)
    louder_above = np.convolve(
        chirp(8000, 0.3), [1, -0.9]
    )  # a filter: 20 dB from the lowest to the highest band
    found = [
        encoder.encode(Raw("audio", [Sound(x, 8000)])).values
        for x in (raw.data[0].samples, louder_above[:2400])
    ]
    plain = AudioInput().fit(raw)
    other = [
        plain.encode(Raw("audio", [Sound(x, 8000)])).values
        for x in (raw.data[0].samples, louder_above[:2400])
    ]
    assert (found[1] - found[0]).abs().mean() < 0.5 * (other[1] - other[0]).abs().mean()


def test_the_rate_is_that_of_most_recordings() -> None:
    sounds = [Sound(chirp(rate), rate) for rate in (8000, 8000, 11025)]
    encoder = AudioInput().fit(Raw("audio", sounds))
    assert encoder.rate == 8000
    assert AudioInput().fit(Raw("audio", [Sound(chirp(44100), 44100)])).rate == 16000
    with pytest.warns(
        UserWarning, match="1 of 1 recordings have fewer than the model's 8,000 samples a second"
    ):
        encoder.encode(Raw("audio", [Sound(chirp(4000), 4000)]), warn=True)


def test_rates_too_low_for_the_spectrum_are_told_of() -> None:
    with pytest.raises(DataError, match=r"100 samples a second or more.* Most have 50"):
        AudioInput().fit(Raw("audio", [Sound(chirp(50), 50)]))
    with pytest.warns(UserWarning, match="10 of 40 mel bands are always empty at 500 samples a second"):
        AudioInput().fit(Raw("audio", [Sound(chirp(500), 500)]))


def test_damaged_settings_are_refused() -> None:
    encoder = AudioInput(bands=12).fit(Raw("audio", [Sound(chirp(8000), 8000)]))
    for name, value in (
        ("bands", 13),
        ("rate", 0),
        ("features", "code"),
        ("gain_invariant", 1),
        ("channel_invariant", 0),
    ):
        with pytest.raises(
            ModelFileError, match=re.escape(name) if name not in ("bands", "rate") else "do not fit"
        ):
            input_from_fields(Fields({**encoder.to_dict(), name: value}, "input"))


def test_numbers_that_float32_cannot_hold() -> None:
    fitted = SeriesInput().fit(series([[1.0], [2.0]]))
    with pytest.raises(DataError, match="Sequence 1 holds a number too large for float32"):
        fitted.encode(series([[1.0], [1.0]], [[1e39], [1.0]]))
    for factor in (1e300, 1e39, 1e-60):
        with pytest.raises(DataError, match=r"Feature 1 holds numbers up to .*another unit"):
            SeriesInput().fit(series([[1.0, factor], [2.0, 3 * factor]]))
