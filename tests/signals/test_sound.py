"""Recordings: files, rates, channels; folders and where their labels are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.signals.waves import chirp

from unspool.errors import DataError, InvalidParameterError
from unspool.signals import Sound, read_folder, read_sound
from unspool.signals.sound import resample

soundfile = pytest.importorskip("soundfile")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """high/1_x.wav, low/2_y.flac and low/deep/3_z.wav."""
    for name in ("high/1_x.wav", "low/2_y.flac", "low/deep/3_z.wav"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.stack([chirp(8000), 0.5 * chirp(8000)], 1), 8000)
    (tmp_path / "notes.txt").write_text("not a sound")
    return tmp_path


def test_files_are_read_and_mixed(folder: Path) -> None:
    for name in ("high/1_x.wav", "low/2_y.flac"):
        sound = read_sound(folder / name)
        assert sound.rate == 8000 and sound.samples.shape == (800, 2)
        np.testing.assert_allclose(sound.mono, 0.75 * chirp(8000), atol=1e-4)


def test_whole_numbers_are_brought_to_full_scale() -> None:
    assert Sound(np.array([-32768, 0, 16384], dtype=np.int16), 8000).mono.tolist() == [-1.0, 0.0, 0.5]


@pytest.mark.parametrize(("rate", "wanted"), [(8000, 16000), (44100, 8000), (8000, 11025)])
def test_a_sine_stays_itself_at_another_rate(rate: int, wanted: int) -> None:
    t, u = np.arange(rate) / rate, np.arange(wanted) / wanted
    found = resample(np.sin(2 * np.pi * 440 * t), rate, wanted)
    assert len(found) == wanted
    edge = wanted // 20  # what is before and after counts as silence
    np.testing.assert_allclose(found[edge:-edge], np.sin(2 * np.pi * 440 * u)[edge:-edge], atol=2e-3)


def test_what_is_above_half_the_rate_is_gone() -> None:
    high = np.sin(2 * np.pi * 6000 * np.arange(44100) / 44100)
    assert np.abs(resample(high, 44100, 8000)[400:-400]).max() < 0.01


def test_labels_of_a_folder(folder: Path) -> None:
    found = read_folder(folder)
    assert found.names == ["high/1_x.wav", "low/2_y.flac", "low/deep/3_z.wav"]
    assert [folder / name for name in found.names] == found.X
    assert found.y is not None and found.y.tolist() == ["high", "low", "low"]
    numbers = read_folder(folder, r"^(\d)_").y
    assert numbers is not None and numbers.dtype == np.int64 and numbers.tolist() == [1, 2, 3]
    table = read_folder(folder, {"low/2_y.flac": "q", "high/1_x.wav": "p"})
    assert table.names == ["low/2_y.flac", "high/1_x.wav"]
    assert table.y is not None and table.y.tolist() == ["q", "p"]
    assert read_folder(folder, None).y is None


def test_what_is_wrong_with_a_folder_is_told(folder: Path) -> None:
    with pytest.raises(DataError, match=r"'high/1_x\.wav' does not match"):
        read_folder(folder, r"^([2-9])_")
    with pytest.raises(InvalidParameterError, match="one group"):
        read_folder(folder, r"^\d")
    with pytest.raises(InvalidParameterError, match="regular expression"):
        read_folder(folder, "(")
    with pytest.raises(DataError, match=r"names 'high/1.wav', .* Did you mean 'high/1_x.wav'"):
        read_folder(folder, {"high/1.wav": "p"})
    with pytest.raises(DataError, match="is in no subfolder"):
        read_folder(folder / "high")
    assert read_folder(folder / "high" / "1_x.wav", "^([0-9])_").names == ["1_x.wav"]
    with pytest.raises(DataError, match="There is no folder or recording"):
        read_folder(folder / "nowhere")
    with pytest.raises(DataError, match="not a sound file"):
        (folder / "low" / "4.wav").write_text("RIFF")
        read_sound(folder / "low" / "4.wav")
    with pytest.raises(DataError, match="There is no file"):
        read_sound(folder / "none.wav")


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (np.zeros((2, 800)), "more channels than samples: pass samples.T"),
        (np.zeros(0), "There are no samples in a sound"),
        (np.array(["a"]), "floats or ints"),
        (np.array([0.0, np.nan]), "NaN or infinity"),
    ],
)
def test_samples_that_are_none(samples: np.ndarray, said: str) -> None:
    with pytest.raises(DataError, match=said):
        Sound(samples, 8000)


def test_a_file_that_is_cut_off(tmp_path: Path) -> None:
    """libsndfile reads what is there; sizes of recordings that were written to a pipe are no sizes."""
    soundfile = pytest.importorskip("soundfile")
    whole = tmp_path / "a.wav"
    soundfile.write(whole, chirp(8000), 8000)
    data = whole.read_bytes()
    whole.write_bytes(data[:-10])
    with pytest.raises(
        DataError, match=r"is cut off: it has 1,590 bytes of samples, and its header says 1,600"
    ):
        read_sound(whole)
    at = data.index(b"data") + 4
    whole.write_bytes(data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :])
    assert len(read_sound(whole).samples) == 800


@pytest.mark.parametrize("form", ["AIFF", "RF64"])
def test_other_files_that_are_cut_off(tmp_path: Path, form: str) -> None:
    path = tmp_path / "a.aiff"
    soundfile.write(path, chirp(8000), 8000, format=form, subtype="PCM_16")
    assert len(read_sound(path).samples) == 800
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"is cut off: it has [\d,]+ bytes, and its header says"):
        read_sound(path)


def test_an_mp3_file_that_seems_cut_off_is_told_of(tmp_path: Path) -> None:
    if "MP3" not in soundfile.available_formats():
        pytest.skip("this libsndfile knows no MP3")
    path = tmp_path / "a.mp3"
    soundfile.write(path, np.tile(chirp(8000), 20), 8000)
    assert len(read_sound(path).samples) == 16000
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.warns(UserWarning, match="may be cut off: it has .* samples, and its header says 16,000"):
        read_sound(path)


def test_few_samples_of_many_channels_and_rates_that_none_has(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full((1, 2), 0.5), 8000)
    assert read_sound(tmp_path / "a.wav").mono == pytest.approx([0.5], abs=1e-4)
    soundfile.write(tmp_path / "b.wav", chirp(8000), 10)
    with pytest.raises(DataError, match=r"says that it has 10 samples a second. Expected 100 to 1,000,000"):
        read_sound(tmp_path / "b.wav")


def test_hidden_files_are_no_recordings(folder: Path) -> None:
    (folder / "low" / "._2_y.flac").write_bytes(b"what a Mac puts beside a file")
    (folder / ".trash").mkdir()
    (folder / ".trash" / "5_v.wav").write_bytes(b"")
    assert read_folder(folder).names == ["high/1_x.wav", "low/2_y.flac", "low/deep/3_z.wav"]
