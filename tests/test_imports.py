"""Imports between the top-level packages of unspool form no circle; those inside functions count too."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "unspool"
ALLOWED: set[tuple[str, str]] = set()  # (from, to): none


def top(path: Path, root: Path) -> str:
    return path.relative_to(root).parts[0].removesuffix(".py")


def edges(root: Path) -> dict[tuple[str, str], str]:
    """(package, package that it imports) -> one place where it does."""
    names = {top(path, root) for path in root.rglob("*.py")}
    found: dict[tuple[str, str], str] = {}
    for path in root.rglob("*.py"):
        package = ["unspool", *path.relative_to(root).parent.parts]
        for node in ast.walk(ast.parse(path.read_text())):
            modules: list[str] = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = package[: len(package) + 1 - node.level] if node.level else []
                module = ".".join([*base, *([node.module] if node.module else [])])
                modules = [f"{module}.{alias.name}" for alias in node.names]
            for module in modules:
                parts = module.split(".")
                if parts[0] != "unspool":
                    continue
                to = parts[1] if len(parts) > 1 and parts[1] in names else "__init__"
                if to != top(path, root):
                    found[top(path, root), to] = f"{path.relative_to(root)}:{node.lineno}"
    return found


def circles(found: dict[tuple[str, str], str]) -> list[list[str]]:
    """Groups of packages that reach each other."""
    to: dict[str, set[str]] = {}
    for a, b in found:
        to.setdefault(a, set()).add(b)

    def reach(a: str) -> set[str]:
        seen, waiting = set(), [a]
        while waiting:
            for b in to.get(waiting.pop(), ()):
                if b not in seen:
                    seen.add(b)
                    waiting.append(b)
        return seen

    reached = {a: reach(a) for a in to}
    groups = {tuple(sorted(b for b in reached[a] if a in reached.get(b, ()))) for a in to if a in reached[a]}
    return [list(group) for group in sorted(groups)]


def test_no_circle_between_packages() -> None:
    found = {pair: place for pair, place in edges(ROOT).items() if pair not in ALLOWED}
    assert len(found) > 40
    for group in circles(found):
        places = {pair: place for pair, place in found.items() if set(pair) <= set(group)}
        pytest.fail(f"{group} import each other: {places}")


def edges_within(package: str) -> dict[tuple[str, str], str]:
    """(file, file of the same package that it imports) -> a place; also where only types are checked."""
    folder, found = ROOT / package, {}
    names = {path.stem for path in folder.glob("*.py")}
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.ImportFrom)
                and node.module
                and node.module.startswith(f"unspool.{package}")
            ):
                parts = node.module.split(".")
                files = [parts[2]] if len(parts) > 2 else [a.name for a in node.names if a.name in names]
                found |= {(path.stem, name): f"{path.name}:{node.lineno}" for name in files}
    return found


def test_no_circle_between_the_files_of_a_study() -> None:
    """Results are data; what draws and tells them stands above."""
    found: dict[tuple[str, str], str] = {}
    for path in (ROOT / "study").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("unspool.study"):
                parts = (node.module or "").split(".")
                names = [parts[2]] if len(parts) > 2 else [alias.name for alias in node.names]
                found |= {(path.stem, name): f"{path.name}:{node.lineno}" for name in names}
    assert len(found) > 20 and circles(found) == []


def test_circles_are_found() -> None:
    assert circles({("a", "b"): "", ("b", "c"): "", ("c", "a"): "", ("c", "d"): ""}) == [["a", "b", "c"]]
    assert circles({("a", "b"): "", ("b", "c"): "", ("a", "c"): ""}) == []


def test_what_a_saved_model_needs_leaves_the_models_of_scikit_learn_alone():
    """Imported where they are fitted: loading them is a third of a second of every prediction that is started."""
    slow = {
        "dummy",
        "feature_extraction",
        "linear_model",
        "metrics",
        "model_selection",
        "preprocessing",
        "svm",
    }
    for folder in ("cli", "encode", "estimators", "evaluation", "saved", "tables", "tasks", "training"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sklearn."):
                    assert node.module.split(".")[1] not in slow, f"{path}:{node.lineno}"
