"""Where results go: what would refuse them refuses them before the training, and no trained model is lost."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import numpy as np
import pytest

import unspool
from unspool import saved
from unspool.cli.app import describe
from unspool.errors import ModelFileError
from unspool.files import check_place, write_text

from .conftest import SMALL, reviews, run
from .test_errors import fit, one_error


@pytest.fixture
def never_trained(monkeypatch):
    from unspool import estimators

    def trained(*_, **__):
        raise AssertionError("trained before --out was checked")

    monkeypatch.setattr(estimators.SequenceRegressor, "fit", trained)


def start(table, out, *more, code=2):
    return run("fit", table, "--input", "text", "--target", "score", "--out", out, *SMALL, *more, code=code)


def test_out_is_checked_by_its_own_operations(trained, table, tmp_path, never_trained, monkeypatch):
    import shutil

    shutil.copytree(trained / "model", tmp_path / "noted")
    (tmp_path / "noted" / "note.txt").write_text("mine")
    assert "holds other files beside a model ('note.txt')" in one_error(start(table, tmp_path / "noted"))
    (tmp_path / "here" / "in").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here" / "in")
    for out in (".", "..", "/", tmp_path / "here" / "in", "../in"):
        assert "is the folder that this runs in" in one_error(start(table, out))
    assert os.getcwd() == str(tmp_path / "here" / "in")
    (tmp_path / "file").write_text("x")
    assert "A model cannot be saved to" in one_error(start(table, tmp_path / "file" / "model"))
    assert str(tmp_path / "file") in one_error(start(table, tmp_path / "m", "--report", tmp_path / "file"))
    for report in ("m", "m/report", "m/../m"):
        refused = start(table, tmp_path / "m", "--report", f"{tmp_path}/{report}")
        assert "cannot lie in the model's own place" in one_error(refused)
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["here", "noted"]


def test_a_rename_that_is_refused(trained, table, tmp_path, never_trained, monkeypatch):
    """A mounted folder can be written to, and not be renamed."""
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    rename = os.rename

    def busy(source, target, **options):
        if str(source) == str(mounted):
            raise OSError(16, "Device or resource busy", str(source))
        return rename(source, target, **options)

    monkeypatch.setattr(os, "rename", busy)
    assert "Device or resource busy" in one_error(start(table, mounted))


@pytest.mark.parametrize("name", ["model", "model.zip"])
def test_a_trained_model_is_not_lost(table, tmp_path, monkeypatch, name):
    from unspool.estimators import SequenceRegressor

    save, out = SequenceRegressor.save, tmp_path / name

    def refused(self, path):
        if os.fspath(path) == str(out):
            raise ModelFileError("refused.")
        save(self, path)

    monkeypatch.setattr(SequenceRegressor, "save", refused)
    line = one_error(start(table, out, "--epochs", "1"))
    rescued = tmp_path / name.replace("model", "model-rescued")
    assert f"refused. The trained model is saved in {str(rescued)!r} instead" in line
    assert np.isfinite(unspool.load(rescued).predict(["good"])).all() and not out.exists()


def test_the_home_folder_and_new_folders(table, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    fit(table, "--epochs", "1", "--out", "~/new/er/model", code=0)
    assert sorted(p.name for p in (tmp_path / "new" / "er").iterdir()) == ["model", "model-report"]
    run("predict", "~/new/er/model", "~/reviews.csv", "--input", "text", "--out", "~/p/q.csv")
    assert (tmp_path / "p" / "q.csv").is_file()
    assert unspool.load("~/new/er/model").cell == "lstm"


def test_boolean_labels_of_a_table_for_a_model_of_booleans(tmp_path):
    frame = reviews(60)
    up = (frame["mood"] == "up").to_numpy()
    small = {"hidden_size": 4, "epochs": 1, "verbose": 0, "random_state": 0}
    for y in (up, up.astype(int), up.astype(float), np.where(up, "true", "false")):
        model = unspool.SequenceClassifier(**small).fit(frame["text"].to_list(), y)
        model.save(tmp_path / "model")
        expected = model.score(frame["text"].to_list(), y)
        for suffix, labels in (
            (".csv", up),
            (".jsonl", up),
            (".csv", up.astype(int)),
            (".csv", up.astype(float)),
        ):
            if np.asarray(y).dtype.kind in "if" and labels.dtype.kind == "b":
                continue
            if np.asarray(y).dtype.kind in "U" and labels.dtype.kind != "b":
                continue
            table = frame.with_columns(mood=labels)
            path = tmp_path / f"t{suffix}"
            table.write_csv(path) if suffix == ".csv" else table.write_ndjson(path)
            report = ["--report", tmp_path / "report"]
            result = run("evaluate", tmp_path / "model", path, "--input", "text", "--target", "mood", *report)
            assert f"{expected:.4g}" in result.stdout and not result.stderr
    table = frame.with_columns(mood=np.where(up, "up", "down"))
    table.write_csv(tmp_path / "t.csv")
    result = run("evaluate", tmp_path / "model", tmp_path / "t.csv", "--input", "text", "--target", "mood")
    assert "60 rows have a class that the model does not know" in result.stderr


def test_system_errors_name_the_file_that_was_to_be(tmp_path):
    """Not the one beside it that is renamed at the end; errors of polars are told as those of Python."""
    from unspool.files import replacing

    out = tmp_path / ("long" * 62 + ".csv")  # the one beside it has a longer name
    with pytest.raises(OSError, match="too long") as refused, replacing(out):
        pass
    assert describe(refused.value) == f"File name too long: {out}."
    assert describe(OSError("No space left on device (os error 28)")).startswith("No space left on device.")


def test_links_and_devices(tmp_path):
    """Of a link the file that it names is replaced; a device stays what it is."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "file")
    write_text(tmp_path / "link", "first")
    (tmp_path / "real" / "file").chmod(0o600)
    write_text(tmp_path / "link", "there")
    assert stat.S_IMODE((tmp_path / "link").stat().st_mode) == 0o600
    assert (tmp_path / "real" / "file").read_text() == "there" and (tmp_path / "link").is_symlink()
    os.mkfifo(tmp_path / "pipe")
    for write in (check_place, lambda path: write_text(path, "x")):
        with pytest.raises(OSError, match="A device or a pipe is there, and no file"):
            write(tmp_path / "pipe")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_names_of_blanks(tmp_path):
    for write in (check_place, lambda path: write_text(path, "x"), saved.check_place):
        for place in (tmp_path / "  ", tmp_path / " " / "file"):
            with pytest.raises((OSError, ModelFileError), match="A name in it is blank"):
                write(place)
    assert list(tmp_path.iterdir()) == []


def test_a_model_never_leaves_its_place_for_the_trial(tmp_path, monkeypatch):
    """However a process ends: what is there is looked at, not moved."""
    moved = []
    rename = os.rename

    def seen(source, target, **options):
        rename(source, target, **options)
        moved.append(os.path.basename(source))

    for name in ("m", "m.zip"):
        model = unspool.SequenceRegressor(hidden_size=2, epochs=1, verbose=0)
        model.fit(np.ones((4, 2, 1)), [1.0, 2.0, 3.0, 4.0]).save(tmp_path / name)
        monkeypatch.setattr(os, "rename", seen)
        saved.check_place(tmp_path / name)
        monkeypatch.undo()
    assert moved == [] and sorted(p.name for p in tmp_path.iterdir()) == ["m", "m.zip"]


def test_closed_stdout():
    """Nothing is opened in its place, and nobody believes that answers were written."""
    command = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-m", "unspool", "stream", "model"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: stdout is closed.") and done.stderr.count("\n") == 1
