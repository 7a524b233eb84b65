"""Imports between the top-level packages of unspool form no circle; those inside functions count too."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone

import unspool
from unspool import SequenceClassifier, SequenceRegressor, saved

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


def test_scikit_learn_is_imported_where_it_is_used() -> None:
    """Within functions, but by the classes that have its contract."""
    contract = {"estimators/base.py", "estimators/classifier.py", "estimators/regressor.py"}
    folders = ("cli", "encode", "estimators", "evaluation", "explain", "nn", "parameters", "saved", "serve")
    for folder in (*folders, "signals", "streaming", "tables", "tasks", "text", "training"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.parse(path.read_text()).body:
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                for name in names:
                    slow = name.split(".")[0] in ("sklearn", "pandas") or name == "scipy.stats"
                    assert not slow or str(path.relative_to(ROOT)) in contract, f"{path}:{node.lineno}"


HEAVY = (
    "sklearn",
    "scipy.stats",
    "scipy.optimize",
    "scipy.sparse",
    "pandas",
    "pyarrow",
    "matplotlib",
    "torch._dynamo",
)


def test_what_a_saved_model_answers_needs_no_scikit_learn(tmp_path: Path) -> None:
    """Its import takes a second and 120 MB: as much as the rest of a prediction of ten texts, without torch's."""
    texts = ["a good day", "an awful day", "good, good", "what an awful film"] * 60
    model = SequenceClassifier(
        hidden_size=4, embedding_dim=4, bidirectional=False, epochs=1, random_state=0, verbose=0
    )
    model.fit(texts, ["yes", "no", "yes", "no"] * 60).save(tmp_path / "model")
    assert model.linear_ is not None
    model.network_alone().save(tmp_path / "network")
    (tmp_path / "lines").write_text('{"text": "a good film"}\n')
    code = (
        "import sys\nfrom unspool.cli.app import app\n"
        "app(['predict', 'model', 'a good film'], standalone_mode=False)\n"
        "assert not [name for name in ('tokenizers', 'rich.progress') if name in sys.modules]\n"
        "sys.stdin = open('lines')\n"
        "app(['stream', 'network'], standalone_mode=False)\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    label, share = model.predict(["a good film"])[0], model.predict_proba(["a good film"]).max()
    predicted, *streamed, loaded = done.stdout.splitlines()
    assert predicted == f"{label}\t{share:.4f}\ta good film"
    assert len(streamed) == 2 and '"prediction": ' in streamed[0]
    assert loaded == "[]"


def test_what_other_models_answer_needs_no_scikit_learn(tmp_path: Path) -> None:
    """Nor torch's compiler, which shapes without numbers may ask for."""
    own: dict[str, Any] = {"epochs": 1, "hidden_size": 4, "random_state": 0, "verbose": 0}
    tags = [["O", "B-x"], ["O", "O", "B-x"]] * 10
    unspool.SequenceTagger(**own, crf=False).fit([["a", "b"], ["c", "a", "b"]] * 10, tags).save(
        tmp_path / "tags"
    )
    unspool.SequenceGenerator(**own).fit("to be or not to be. " * 40).save(tmp_path / "texts")
    unspool.Seq2Seq(**own).fit(["abc", "bca", "cab"] * 9, ["c", "a", "b"] * 9).save(tmp_path / "pairs")
    for model in ("segments", "seq2seq"):
        forecaster = unspool.Forecaster(horizon=2, model=model, validation_size=0, **own)
        forecaster.fit(np.sin(np.arange(60.0))[None]).save(tmp_path / model)
    calls = [["predict", "tags", "a b"], ["generate", "texts"], ["predict", "pairs", "abc"]]
    calls += [["predict", "segments"], ["predict", "seq2seq"]]
    calls += [["inspect", name] for name in ("tags", "texts", "pairs", "segments", "seq2seq")]
    code = "import sys\nfrom unspool.cli.app import app\n"
    code += "".join(f"app({call}, standalone_mode=False)\n" for call in calls)
    code += f"print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_what_predicts_is_what_the_library_gives(tmp_path: Path) -> None:
    texts = ["a good day", "an awful day", "good, good", "what an awful film"] * 60
    model = SequenceRegressor(hidden_size=4, embedding_dim=4, epochs=1, random_state=0, verbose=0)
    model.fit(texts, np.arange(240.0)).save(tmp_path / "model")
    alone, whole = (saved.load(tmp_path / "model", to_fit=to_fit) for to_fit in (False, True))
    assert isinstance(whole, SequenceRegressor) and isinstance(whole, BaseEstimator)
    assert not isinstance(alone, BaseEstimator) and not hasattr(alone, "fit")
    assert (alone.predict(texts) == whole.predict(texts)).all()
    assert alone.get_params() == whole.get_params() and alone.summary() == whole.summary()
    assert clone(whole).get_params() == whole.get_params()
    alone.save(tmp_path / "again")
    for part in ("model.json", "weights.safetensors"):
        assert (tmp_path / "again" / part).read_bytes() == (tmp_path / "model" / part).read_bytes()
