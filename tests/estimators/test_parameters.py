"""One table of parameters: constructors, command line, saved models and documentation say what it says."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import typer

from unspool import SequenceClassifier, SequenceRegressor, parameters
from unspool.cli.app import app
from unspool.errors import InvalidParameterError
from unspool.parameters import TABLE
from unspool.study.problem import VARIED

DOCS = Path(__file__).parents[2] / "docs" / "parameters.md"
ESTIMATORS = [SequenceRegressor, SequenceClassifier]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_constructor_is_the_table(estimator: Any) -> None:
    signature = inspect.signature(estimator.__init__).parameters
    found = [(p.name, p.default) for p in signature.values() if p.name != "self"]
    assert found == [(p.name, p.default) for p in TABLE]
    assert estimator().get_params() == {p.name: p.default for p in TABLE}


def test_the_docstring_and_the_page_are_of_the_table() -> None:
    doc = SequenceRegressor.__mro__[2].__doc__ or ""
    assert "{parameters}" not in doc
    for p in TABLE:
        assert f"    {p.name} : {p.text[:40]}" in doc
    assert DOCS.read_text() == f"{parameters.HEAD}\n{parameters.table()}\n", (
        "python -m unspool.parameters > docs/parameters.md"
    )


def options(command: str) -> dict[str, Any]:
    return {p.name: p for p in typer.main.get_command(app).commands[command].params}  # type: ignore[attr-defined]


def test_fit_has_an_option_for_every_parameter_with_its_default() -> None:
    found = options("fit")
    for p in TABLE:
        if p.group is not None:
            option = found[p.option_name]
            assert option.help == p.help
            default = p.shown_default if not p.repeat else None
            assert option.default == default or (option.default, default) in (((), None), (None, ()))
    assert found["seed"].default == 0 and found["bidirectional"].default is True


def test_compare_has_the_same_options_but_those_that_it_varies() -> None:
    fit, compare = options("fit"), options("compare")
    missing = set(fit) - set(compare)
    assert missing == {
        *("report", "weight"),
        *("checkpoint", "checkpoint_every", "resume"),
        *("stream", "epoch_batches", "cache"),
        "blend",
        *(name for name in VARIED if name not in ("random_state", "verbose")),
    }
    for name in set(fit) & set(compare) - {"quiet", "out"}:
        assert (fit[name].help, fit[name].default) == (compare[name].help, compare[name].default)


BAD: dict[str, Any] = {p.name: object() for p in TABLE}


@pytest.mark.parametrize("name", BAD)
def test_every_parameter_is_checked(name: str) -> None:
    owner = "SequenceRegressor"
    with pytest.raises(InvalidParameterError, match=r"'\w+' parameter of \w+ must be"):
        parameters.check_parameters(owner, {**SequenceRegressor().get_params(), name: BAD[name]})
