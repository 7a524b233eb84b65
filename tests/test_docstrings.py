"""Every public class, function, method and property of these packages says what it is; an override may inherit that."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import ModuleType

import pytest

import unspool

PACKAGES = ["encode", "estimators", "evaluation", "explain", "files", "heads", "parameters", "saved", "study"]
PACKAGES += [
    "exporting",
    "forecasting",
    "generation",
    "importing",
    "serve",
    "tables",
    "tagging",
    "tasks",
    "text",
    "training",
    "tuning",
]


def modules(name: str) -> list[ModuleType]:
    found = importlib.import_module(f"unspool.{name}")
    inside = pkgutil.iter_modules(getattr(found, "__path__", []))
    return [found, *(importlib.import_module(f"unspool.{name}.{m.name}") for m in inside)]


def undocumented(module: ModuleType) -> list[str]:
    found = []
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if not inspect.isclass(value) and not inspect.isfunction(value):
            continue
        if not inspect.getdoc(value):
            found.append(name)
        for member in vars(value) if inspect.isclass(value) else ():
            thing = inspect.getattr_static(value, member)
            documented = isinstance(thing, (property, classmethod, staticmethod)) or inspect.isfunction(thing)
            if documented and not member.startswith("_") and not inspect.getdoc(getattr(value, member)):
                found.append(f"{name}.{member}")
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_all_that_is_public_is_documented(package: str) -> None:
    assert {m.__name__: names for m in modules(package) if (names := undocumented(m))} == {}


def test_the_root_lists_its_packages() -> None:
    for name in PACKAGES:
        if hasattr(importlib.import_module(f"unspool.{name}"), "__path__") and name != "tables":
            assert name in unspool.__all__
