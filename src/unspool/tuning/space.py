"""What is varied, and where each value is looked for: the rows of the parameter table that say so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from unspool.errors import InvalidParameterError, bad_parameter, check_choice, check_float
from unspool.estimators import SequenceEstimator
from unspool.estimators.by_kind import DROPOUT, INPUT_DROPOUT, training_of
from unspool.parameters import TABLE, Parameter, Search

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

SEARCHED: dict[str, Parameter] = {p.name: p for p in TABLE if p.search is not None}
PLAIN = (bool, int, float, str)
# What a parameter may be looked for in: None (its row's own), choices, or (low, high).
Given = Iterable[str] | Mapping[str, Any]


@dataclass(frozen=True)
class Axis:
    """One parameter that is varied: one of `choices`, by the labels that the study keeps, or a number of `search`."""

    name: str
    search: Search
    choices: Mapping[Any, Any]

    @property
    def distribution(self) -> BaseDistribution:
        """As optuna has it."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choices:
            return CategoricalDistribution(tuple(self.choices))
        search = self.search
        if search.whole:
            return IntDistribution(int(search.low), int(search.high), log=search.log)
        return FloatDistribution(search.low, search.high, log=search.log)

    def value(self, drawn: Any) -> Any:
        """The parameter's value for what was drawn."""
        return self.choices[drawn] if self.choices else drawn

    def drawn(self, value: Any) -> dict[str, Any]:
        """What would have to be drawn for this value, by the name; empty where it lies outside."""
        if self.choices:
            return dict([(self.name, label) for label, own in self.choices.items() if same(own, value)][:1])
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return {self.name: value} if number and self.search.low <= value <= self.search.high else {}

    def to_json(self) -> list[Any]:
        """What tells one axis from another."""
        search = self.search
        return list(self.choices) if self.choices else [search.low, search.high, search.whole, search.log]


def same(one: Any, other: Any) -> bool:
    """Whether two values of a parameter are one: 1 is not True."""
    return one is other or (type(one) is type(other) and isinstance(one, (str, int, float)) and one == other)


def choose(
    estimator: SequenceEstimator, kind: str, space: Given | None, keep: Sequence[str] = ()
) -> list[Axis]:
    """The axes of a search. space: names, or name -> None, a list of choices or a pair (low, high); None: all that the
    table says for X of this kind, but for `keep` and what the estimator has not at its default."""
    for name in keep:
        check_choice("tune", "keep", name, estimator.get_params(deep=False))
    if space is None:
        named: dict[str, Any] = {
            name: None for name, p in SEARCHED.items() if name not in keep and _unasked(p, estimator, kind)
        }
    else:
        named = dict(space) if isinstance(space, Mapping) else dict.fromkeys(_names(space))
    axes = [_axis(name, given, estimator, kind) for name, given in named.items()]
    if not axes:
        raise InvalidParameterError(
            "There is nothing to search: every parameter is given or kept. Name some by `space`, or by --search: "
            f"{', '.join(SEARCHED)}."
        )
    return axes


def _names(space: Iterable[str]) -> list[str]:
    if isinstance(space, str):
        bad_parameter("tune", "space", "a list of names, or a dict from names to ranges", space)
    return list(space)


def _unasked(p: Parameter, estimator: SequenceEstimator, kind: str) -> bool:
    """Whether it is looked at without being named."""
    search = p.search
    assert search is not None
    if search.asked or kind not in search.kinds:
        return False
    changed = {
        q.name for q in TABLE if not same(getattr(estimator, q.name), q.default) and q.name != "verbose"
    }
    if p.name == "num_layers" and not isinstance(estimator.hidden_size, int):
        return False
    if search.given is not None:
        return _given(estimator, search.given) and (p.name == search.given or p.name not in changed)
    return p.name not in changed


def _given(estimator: SequenceEstimator, name: str) -> bool:
    default = next(p.default for p in TABLE if p.name == name)
    value = getattr(estimator, name)
    return value is not None and not same(value, default)


def _axis(name: str, given: Any, estimator: SequenceEstimator, kind: str) -> Axis:
    p = SEARCHED.get(name)
    if p is None:
        check_choice("tune", "space", name, SEARCHED)
        raise AssertionError
    assert p.search is not None
    if kind not in p.search.kinds:
        bad_parameter(
            "tune", "space", f"parameters of {kind}", name, f"{name!r} is of {', '.join(p.search.kinds)}."
        )
    search = p.search if given is None else _search(p, given)
    own = getattr(estimator, name)
    choices = list(search.choices)
    if given is None and choices and search.given is not None and not any(same(own, c) for c in choices):
        choices.insert(0, own)
    for value in choices or (search.low, search.high):
        p.check("tune", name, value)
    return Axis(
        name,
        replace(search, choices=tuple(choices)),
        {_label(value, i): value for i, value in enumerate(choices, 1)},
    )


def _label(value: Any, number: int) -> Any:
    """What stands for a choice in the study's file."""
    if value is None or isinstance(value, PLAIN):
        return value
    names = isinstance(value, (list, tuple)) and all(isinstance(part, str) for part in value)
    return " + ".join(value) if names else f"choice {number}"


def _search(p: Parameter, given: Any) -> Search:
    """The range or the choices that were given in place of the table's."""
    assert p.search is not None
    if isinstance(given, (list, set, frozenset)):
        if len({repr(choice) for choice in given}) < max(2, len(given)):
            bad_parameter("tune", f"space[{p.name!r}]", "two choices or more, each of them once", given)
        return replace(p.search, choices=tuple(given), given=None)
    expected = "None, a list of choices" + ("" if p.search.choices else ", or a pair (low, high)")
    if p.search.choices or not isinstance(given, tuple) or len(given) != 2:
        bad_parameter("tune", f"space[{p.name!r}]", expected, given)
    low, high = (check_float("tune", f"space[{p.name!r}]", end, -1e300, 1e300) for end in given)
    if not low < high or (p.search.whole and not (low.is_integer() and high.is_integer())):
        what = "whole numbers, the lower first" if p.search.whole else "numbers, the lower first"
        bad_parameter("tune", f"space[{p.name!r}]", what, given)
    low, high = (int(low), int(high)) if p.search.whole else (low, high)
    return replace(p.search, low=low, high=high, log=p.search.log and low > 0)


def standing(estimator: SequenceEstimator, kind: str, rows: int, has_classes: bool) -> dict[str, Any]:
    """The estimator's parameters, with the numbers that those left at None stand for."""
    chosen = training_of(estimator, kind, rows, has_classes)
    stands: dict[str, Any] = {
        "dropout": DROPOUT[kind],
        "input_dropout": INPUT_DROPOUT[kind],
        "vectors_rate": 0.3,
        "learning_rate": chosen.learning_rate,
        "schedule": chosen.schedule,
        "epochs": chosen.epochs,
        "patience": chosen.patience,
    }
    own = estimator.get_params(deep=False)
    return {name: stands.get(name) if value is None else value for name, value in own.items()}
