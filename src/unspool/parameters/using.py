"""What follows from the table: checks, the docstrings' sections, docs/parameters.md, options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from unspool.parameters.parameter import Parameter
from unspool.parameters.rows import TABLE
from unspool.parameters.search import KINDS


def check_parameters(owner: str, values: Mapping[str, Any], of: Iterable[Parameter] = TABLE) -> None:
    """`InvalidParameterError` for the first of `values` outside its range."""
    for parameter in of:
        parameter.check(owner, parameter.name, values[parameter.name])


def described(width: int = 112, of: Iterable[Parameter] = TABLE) -> str:
    """The Parameters section of a docstring."""
    import textwrap

    lines = []
    for p in of:
        text = f"{p.name} : {p.text}"
        lines += textwrap.wrap(text, width, initial_indent="    ", subsequent_indent="        ")
    return "\n".join(["Parameters", "    ----------", *lines])


def table(of: Iterable[Parameter] = TABLE) -> str:
    """The rows of docs/parameters.md."""
    rows = ["| parameter | default | option of `fit` | what it is |", "|---|---|---|---|"]
    for p in of:
        option = f"`--{p.option_name.replace('_', '-')}`" if p.group else p.instead
        if p.option_default is not ...:
            option += f", default {p.option_default}"
        text = p.text[0].upper() + p.text[1:]
        rows.append(f"| `{p.name}` | `{p.default!r}` | {option} | {text.replace('|', '/')} |")
    return "\n".join(rows)


def search_table(of: Iterable[Parameter] = TABLE) -> str:
    """The table of docs/tuning.md: where each parameter's value is looked for."""
    rows = ["| parameter | where | of | when |", "|---|---|---|---|"]
    for p in of:
        if p.search is not None:
            when = "where it is named" if p.search.asked else "always"
            if p.search.given:
                when = f"where `{p.search.given}` is given"
            where = p.search.described() + (", the one given" if p.search.given == p.name else "")
            kinds = "all" if p.search.kinds == KINDS else ", ".join(p.search.kinds)
            rows.append(f"| `{p.name}` | {where} | {kinds} | {when} |")
    return "\n".join(rows)


HEAD = """# Parameters

Of `SequenceRegressor` and `SequenceClassifier`, and what `unspool fit` and `unspool compare` call them.
This page is written by `python -m unspool.parameters > docs/parameters.md`.
"""


def page(estimator: str, task: str, of: Iterable[Parameter]) -> str:
    """docs/parameters_TASK.md; tests/test_parameter_pages.py writes them."""
    return (
        f"# Parameters of `{estimator}`\n\nAnd what `unspool fit --task {task}` calls them.\n\n{table(of)}\n"
    )


def shared(names: Iterable[str], of: Iterable[Parameter] = TABLE) -> list[Parameter]:
    """The parameters that have an option, without those named."""
    left_out = set(names)
    return [p for p in of if p.group and p.name not in left_out]
