"""Models within a Keras model, as the layers that they are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from unspool.errors import ModelFileError
from unspool.importing.keras_config import MAX_LAYERS, TENSOR, Architecture, KerasLayer, Read, history
from unspool.saved import Fields

MAX_VALUES = 2_000_000  # of the calls that are written anew


def flattened(architecture: Architecture) -> Architecture:
    """The same network without models in it: the layer "b" of a model "a" is "a/b", called as often as both together.

    The inputs of an inner model become input layers that read something: they pass it on.
    """
    try:
        return _Flat(architecture, [MAX_VALUES]).architecture
    except RecursionError as error:
        raise ModelFileError("its configuration is nested too deeply.") from error


class _Flat:
    """One level: what its models hold has been flattened before. budget: values that may still be written."""

    def __init__(self, architecture: Architecture, budget: list[int]) -> None:
        self.layers, self.budget = architecture.layers, budget
        self.models: dict[str, Architecture] = {
            name: _Flat(layer.inside, budget).architecture
            for name, layer in architecture.layers.items()
            if layer.inside is not None
        }
        self.architecture: Architecture = architecture
        if not self.models:
            return
        self.first = self._first_calls(architecture)
        found: dict[str, KerasLayer] = {}
        for name, layer in architecture.layers.items():
            own = self._inner(name) if name in self.models else [self._outer(layer)]
            for one in own:
                if one.name in found:
                    raise ModelFileError(f"it has two layers of the name {one.name!r}.")
                found[one.name] = one
        if sum(len(layer.calls) for layer in found.values()) > MAX_LAYERS:
            raise ModelFileError(f"its layers are called more than {MAX_LAYERS:,} times.")
        ends = {name: self._place(read) for name, read in architecture.outputs.items()}
        self.architecture = replace(architecture, layers=found, outputs=ends)

    def _first_calls(self, architecture: Architecture) -> dict[str, int]:
        """The number of each model's first call: some versions of Keras count the one that made the model, too."""
        least: dict[str, int] = {}
        reads = list(architecture.outputs.values())

        def noted(read: Read) -> Read:
            reads.append(read)
            return read

        self._rewritten([layer.calls for layer in self.layers.values()], noted)
        for name, number, _ in reads:
            if name in self.models:
                least[name] = min(number, least.get(name, number))
        return least

    def _place(self, read: Read) -> Read:
        """What a layer of this level reads, with the models opened."""
        name, number, output = read
        if name not in self.models:
            return read
        inside, call = self.models[name], number - self.first[name]
        ends = list(inside.outputs.values())
        if call >= len(self.layers[name].calls) or output >= len(ends):
            raise ModelFileError(
                f"it reads output {output} of call {number} of {name!r}, which it does not have."
            )
        return self._renamed(name, call, ends[output])

    def _renamed(self, model: str, call: int, read: Read) -> Read:
        """What a layer of `model` reads in this call of it."""
        layer = self.models[model].layers.get(read[0])
        if layer is None:
            raise ModelFileError(f"the model {model!r} reads a layer {read[0]!r}, which it does not have.")
        return f"{model}/{read[0]}", call * len(layer.calls) + read[1], read[2]

    def _outer(self, layer: KerasLayer) -> KerasLayer:
        return replace(layer, calls=tuple(self._rewritten(call, self._place) for call in layer.calls))

    def _inner(self, name: str) -> Iterator[KerasLayer]:
        model, inside = self.layers[name], self.models[name]
        given = [self._arguments(model, self._rewritten(call, self._place)) for call in model.calls]
        numbers = {end: number for number, end in enumerate(inside.input_calls)}
        if len(given) * sum(len(layer.calls) for layer in inside.layers.values()) > MAX_LAYERS:
            raise ModelFileError(f"its layers are called more than {MAX_LAYERS:,} times.")
        for layer in inside.layers.values():
            calls: list[Any] = []
            for call, arguments in enumerate(given):
                for number, entry in enumerate(layer.calls):
                    at = numbers.get((layer.name, number))
                    rename = partial(self._renamed, name, call)
                    calls.append(self._rewritten(entry, rename) if at is None else arguments[at])
            full = f"{name}/{layer.name}"
            config = Fields(layer.config.data, f"the layer {full!r} ({layer.kind})")
            yield KerasLayer(layer.kind, full, config, tuple(calls), layer.operation)

    def _arguments(self, model: KerasLayer, entry: Any) -> list[Any]:
        """A call of a model -> a call of each of its inputs."""
        names = list(self.models[model.name].inputs)
        where = f"{model.where} is called with"
        if isinstance(entry, list):  # Keras 1 and 2
            if len(entry) != len(names):
                raise ModelFileError(f"{where} {len(entry)} tensors, and has {len(names)} inputs.")
            return [[read] for read in entry]
        args = Fields(entry, model.where).get("args", list)
        given = args[0] if len(args) == 1 else args
        kwargs = Fields(entry.get("kwargs") or {}, model.where).data
        values = _by_input(given, names)
        given_masks = kwargs.get("mask")
        masks = [None] * len(names) if given_masks is None else _by_input(given_masks, names)
        if values is None or masks is None:
            wrong = given if values is None else f"mask={given_masks}"
            raise ModelFileError(f"{where} {str(wrong)[:80]}, and has the inputs {str(names)[:80]}.")
        others = {key: value for key, value in kwargs.items() if key != "mask"}
        return [
            {"args": [value], "kwargs": {**others, **({"mask": mask} if mask is not None else {})}}
            for value, mask in zip(values, masks)
        ]

    def _rewritten(self, value: Any, place: Callable[[Read], Read], old: bool = True) -> Any:
        """A call with other reads: [name, call, number, ...] in lists, and the objects of Keras 3."""
        self.budget[0] -= 1
        if self.budget[0] < 0:
            raise ModelFileError("the calls of its layers hold more than is read.")
        if isinstance(value, dict):
            if value.get("class_name") == TENSOR:
                config = Fields(value.get("config"), "a tensor").data
                read = history(config.get("keras_history"), "the configuration")
                return {"class_name": TENSOR, "config": {**config, "keras_history": list(place(read))}}
            old = False if "args" in value else old
            return {key: self._rewritten(one, place, old) for key, one in value.items()}
        if not isinstance(value, (list, tuple)):
            return value
        if old and len(value) >= 3 and isinstance(value[0], str):
            return [
                *place(history(value, "the configuration")),
                *(self._rewritten(one, place) for one in value[3:]),
            ]
        return [self._rewritten(one, place, old) for one in value]


def _by_input(given: Any, names: list[str]) -> list[Any] | None:
    """One value for each input, of one value, a list or a dict by their names; None where it is nothing of the kind."""
    if isinstance(given, dict) and given.get("class_name") != TENSOR:
        return [given[name] for name in names] if set(given) == set(names) else None
    values = given if isinstance(given, list) else [given]
    return values if len(values) == len(names) else None
