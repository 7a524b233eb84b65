"""The settings of one Keras layer: each is read, known to be harmless, or refused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn, TypeVar

from unspool.errors import ModelFileError
from unspool.importing.keras_config import KerasLayer

T = TypeVar("T")

#: Settings of any layer that change no prediction.
HARMLESS = set(
    "name trainable dtype batch_input_shape batch_shape input_dtype input_shape activity_regularizer "
    "init inner_init forget_bias_init input_dim input_length weights build_config".split()
)
ENDINGS = ("_initializer", "_regularizer", "_constraint")
NAMES = {"swish": "silu", "hard_swish": "hard_silu", "leaky_relu": "leaky_relu_0.2"}


class Settings:
    """Reads a layer's configuration by name and type; `finish` refuses what was not read."""

    def __init__(self, layer: KerasLayer, version: str | None) -> None:
        self.layer, self.version = layer, version
        self._fields = layer.config
        self._read: set[str] = set()

    def value(self, name: str, default: Any) -> Any:
        """The setting as it is."""
        self._read.add(name)
        return self._fields.data.get(name, default)

    def get(self, name: str, kind: type[T]) -> T:
        """A setting that must be there."""
        self._read.add(name)
        return self._fields.get(name, kind)

    def optional(self, name: str, kind: type[T], default: T) -> T:
        """A setting that older files do not have; null is the default, too."""
        self._read.add(name)
        return default if self._fields.data.get(name) is None else self._fields.get(name, kind)

    def first(self, names: Iterable[str], kind: type[T]) -> T:
        """A setting that has had several names."""
        names = list(names)
        self._read.update(names)
        name = next((name for name in names if name in self._fields.data), names[0])
        return self._fields.get(name, kind)

    def ignore(self, *names: str) -> Settings:
        """These change no prediction."""
        self._read.update(names)
        return self

    def require_off(self, *names: str) -> None:
        """These are not supported unless they are off."""
        for name in names:
            if self.value(name, None):
                self.refuse(name, "off")

    def refuse(self, name: str, expected: str) -> NoReturn:
        """`ModelFileError` for a value that is not supported."""
        got = str(self._fields.data.get(name))[:80]
        raise ModelFileError(
            f"{self.layer.where} is supported with {name} {expected} only. Got {name}={got}."
        )

    def activation(self, *names_and_choices: Any) -> str:
        """Our name of a function; the last argument are the choices, those before it the names of the setting."""
        *names, choices = names_and_choices
        self._read.update(names)
        name = next((name for name in names if name in self._fields.data), names[0])
        if self._fields.data.get(name) is None and name in self._fields.data:
            return "linear"
        if isinstance(self._fields.data.get(name), dict):
            self.refuse(name, f"one of {sorted(choices)}")
        found = self._fields.get(name, str)
        found = NAMES.get(found, found)
        if found == "hard_sigmoid" and self._old():
            found = "hard_sigmoid_keras2"
        if found not in choices or (found == "hard_sigmoid_keras2" and not self._old()):
            self.refuse(name, f"one of {sorted(set(choices) - {'hard_sigmoid_keras2'})}")
        return found

    def _old(self) -> bool:
        """Whether a Keras before 3 wrote the file: its hard sigmoid has another slope."""
        if self.version is None:
            raise ModelFileError(
                f"{self.layer.where} has a hard sigmoid, whose slope depends on the version of Keras, which the file "
                "does not say. Give keras_version, such as '2.4.0'."
            )
        return int(self.version.split(".")[0]) < 3

    def finish(self) -> None:
        """`ModelFileError` for a setting that was not read and may change predictions."""
        if self._fields.data.get("quantization_config") is not None:
            self.refuse("quantization_config", "off")
        if self.value("sparse", False) is True and self.layer.kind == "InputLayer":
            self.refuse("sparse", "off")
        for name, value in self._fields.data.items():
            if name in self._read or name in HARMLESS or name.endswith(ENDINGS):
                continue
            if value is not None and value is not False:
                raise ModelFileError(
                    f"{self.layer.where} has a setting that is not known: {name}={str(value)[:80]}."
                )
