"""Texts to a language model, to texts, on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import unspool

from .conftest import run

SMALL = [
    *("--hidden-size", "24", "--embedding-dim", "12", "--batch-size", "4", "--chunk-length", "20"),
    *("--learning-rate", "0.01", "--quiet"),
]
TEXT = "the cat sat on the mat. a dog ran to the cat; the mat sat. " * 20


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks take longer on two threads of a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with text.txt, its `model`, the report, and what `fit` printed."""
    folder = tmp_path_factory.mktemp("generation")
    (folder / "text.txt").write_text(TEXT)
    command = ["fit", folder / "text.txt", "--task", "generation", "--out", folder / "model", "--epochs", "6"]
    (folder / "fit.txt").write_text(run(*command, *SMALL).output)
    return folder


def test_fit_measures_beside_n_grams(folder: Path) -> None:
    printed = (folder / "fit.txt").read_text()
    assert "Task: generation. training: 1 text, 1,062 characters, test: 1 text, 118 characters." in printed
    assert "this model" in printed and "-grams, Kneser-Ney" in printed
    facts = json.loads((folder / "model-report" / "metrics.json").read_text())
    (grams,) = facts["baselines"].values()
    # A text that repeats itself: counting knows it by heart, and the command says so.
    assert grams["nats_per_token"] < facts["metrics"]["nats_per_token"]
    assert (
        facts["verdicts"][0].startswith("warning: n-grams are better than the model")
        and facts["verdicts"][0] in printed
    )
    assert facts["metrics"] == pytest.approx(unspool.load(folder / "model").evaluate(TEXT[1062:]), rel=1e-5)
    assert len((folder / "model-report" / "sample.txt").read_text()) == 301


def test_a_column_weighs_the_texts(tmp_path: Path) -> None:
    texts, weights = (
        ["abab" * 3, None, "cdcd" * 3, "abcd" * 3, *["badc", "ddab", "cbba", "acac", "dbca"]],
        [1.0, 9.0, 0.0, 2.5, 3.0, 0.5, 4.0, 2.0, 1.5],
    )
    pl.DataFrame({"text": texts, "trust": weights}).write_csv(tmp_path / "texts.csv")
    command = ["fit", tmp_path / "texts.csv", "--task", "generation", *SMALL, "--epochs", "1"]
    run(
        *command,
        "--input",
        "text",
        "--weight",
        "trust",
        "--out",
        tmp_path / "model",
        "--test-fraction",
        "0.2",
    )
    drawn = np.random.RandomState(0).permutation(8)[:2]
    rest = np.delete(np.array([text for text in texts if text]), drawn).tolist()
    kept = np.delete(np.array([1, 0, 2.5, 3, 0.5, 4, 2, 1.5]), drawn)
    settings = {"hidden_size": 24, "embedding_dim": 12, "batch_size": 4, "chunk_length": 20}
    direct = unspool.SequenceGenerator(**settings, learning_rate=0.01, epochs=1, verbose=0, random_state=0)
    direct.fit(rest, sample_weight=kept)
    assert unspool.load(tmp_path / "model").perplexity(rest) == pytest.approx(direct.perplexity(rest))
    assert direct.fit(rest).perplexity(rest) != pytest.approx(
        unspool.load(tmp_path / "model").perplexity(rest)
    )
    refused = run(*command, "--weight", "trust", "--out", tmp_path / "other", code=2).stderr
    assert "say by --input which column holds the texts" in refused


def test_generate(folder: Path) -> None:
    model = unspool.load(folder / "model")
    asked = ["generate", folder / "model", "--prompt", "the ", "--max-new-tokens", "30"]
    assert run(*asked, "--seed", "3").stdout == "the " + model.generate("the ", 30, random_state=3) + "\n"
    greedy = model.generate("the ", 30, do_sample=False)
    assert run(*asked, "--no-sample").stdout == run(*asked, "--temperature", "0").stdout == f"the {greedy}\n"
    settings = {
        "temperature": 0.7,
        "top_k": 4,
        "top_p": 0.9,
        "repetition_penalty": 1.3,
        "stop": ["at", "ran"],
    }
    options = [
        part
        for k, v in settings.items()
        for one in (v if isinstance(v, list) else [v])
        for part in (f"--{k.replace('_', '-')}", one)
    ]
    expected = model.generate("the ", 30, random_state=1, **settings)
    assert run(*asked, *options, "--seed", "1").stdout == f"the {expected}\n"
    beams = model.generate("the ", 30, num_beams=3, num_return_sequences=2)
    several = run(*asked, "--num-beams", "3", "--num-return-sequences", "2").stdout
    assert several == "\n---\n".join("the " + text for text in beams) + "\n"
    assert run(*asked, "--weights", "int8", "--seed", "3").stdout.startswith("the ")


def test_evaluate_and_inspect(folder: Path) -> None:
    printed = run("evaluate", folder / "model", folder / "text.txt").output
    expected = unspool.load(folder / "model").evaluate(TEXT)["perplexity"]
    assert f"{expected:.4g}" in printed and "1,180 test characters" in printed and "not known" not in printed
    (folder / "other.txt").write_text("the zebra")
    assert (
        "22.22% of the tokens are not known" in run("evaluate", folder / "model", folder / "other.txt").output
    )
    assert "lstm 1" in run("inspect", folder / "model").output


@pytest.mark.parametrize("form", ["table", "lines"])
def test_many_texts(form: str, tmp_path: Path) -> None:
    texts = ["anna", "hannah", "otto", "bob"] * 10
    pl.DataFrame({"name": [*texts, None, ""]}).write_csv(tmp_path / "names.csv")
    (tmp_path / "names.txt").write_text("\n".join(texts) + "\n\n")
    source = (
        [tmp_path / "names.csv", "--input", "name"]
        if form == "table"
        else [tmp_path / "names.txt", "--lines"]
    )
    done = run("fit", *source, "--task", "generation", "--out", tmp_path / "model", "--epochs", "2", *SMALL)
    assert "training: 36 texts, " in done.output and "test: 4 texts, " in done.output
    model = unspool.load(tmp_path / "model")
    assert model.ends_ and max(map(len, model.generate("", 100, num_return_sequences=5))) < 100
    assert "test characters" in run("evaluate", tmp_path / "model", *source).output
    test = ["--test", source[0]]
    again = run(
        "fit", *source, *test, "--task", "generation", "--out", tmp_path / "model", "--epochs", "1", *SMALL
    )
    assert "training: 40 texts, " in again.output and "test: 40 texts, " in again.output


def test_wrong_commands(folder: Path, tmp_path: Path) -> None:
    def error(*arguments: object) -> str:
        return run(*arguments, code=2).stderr

    fit = ["fit", folder / "text.txt", "--task", "generation", "--out", tmp_path / "m", *SMALL]
    assert "Give --test or --test-fraction, not both" in error(
        *fit, "--test", folder / "text.txt", "--test-fraction", "0.2"
    )
    assert "--test-fraction must be" in error(*fit, "--test-fraction", "1.5")
    assert "--level must be" in error(*fit, "--level", "letter")
    (tmp_path / "empty.txt").write_text("")
    assert "holds no text" in error("fit", tmp_path / "empty.txt", *fit[2:])
    (tmp_path / "short.txt").write_text("a")
    assert "too few or too short to set 10% of them aside" in error("fit", tmp_path / "short.txt", *fit[2:])
    assert "No such file" in error("fit", tmp_path / "nowhere.txt", *fit[2:])
    assert "unspool predict does not work with the task 'generation'" in error(
        "predict", folder / "model", "x"
    )
    assert "--num-beams must be" in error("generate", folder / "model", "--num-beams", "2", "--sample")


def test_generate_needs_a_model_that_writes(trained: Path) -> None:
    message = run("generate", trained / "model", code=2).stderr
    assert (
        "unspool generate needs a model of `unspool fit --task generation`. Got a SequenceRegressor"
        in message
    )
