"""The page and the example of tagging run as they are written, and the benchmark on a small cut."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.tagging.toy import sentences
from typer.testing import CliRunner

from unspool.cli.app import app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tagging.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"run_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.mark.parametrize("code", [code for kind, code in BLOCKS if kind == "python"])
def test_python_of_the_page(code, capsys):
    exec(compile(code, "docs/tagging.md", "exec"), {"__name__": "page"})
    assert capsys.readouterr().out


def test_commands_of_the_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, count in (("train", 40), ("dev", 10), ("test", 10)):
        X, y, _ = sentences(count)
        rows = ("".join(f"{a} {b}\n" for a, b in zip(*row)) for row in zip(X, y))
        Path(f"{name}.conll").write_text("\n".join(rows))
    (commands,) = [code for kind, code in BLOCKS if kind == "sh"]
    for line in commands.splitlines():
        quick = " --epochs 1 --hidden-size 8 --quiet" if line.startswith("unspool fit") else ""
        result = CliRunner().invoke(app, shlex.split(line + quick)[1:])
        assert result.exit_code == 0, f"{line}\n{result.output}"
    assert Path("tagged.conll").is_file()


def test_example(monkeypatch, capsys):
    example = module(ROOT / "examples" / "tagging.py")
    assert len((ROOT / "examples" / "tagging.py").read_text().splitlines()) <= 60
    monkeypatch.setattr(sys, "argv", ["tagging.py"])
    whole = example.invented
    monkeypatch.setattr(example, "invented", lambda count: whole(100))
    example.main()
    measured = float(re.search(r"Span F1: (\S+)", capsys.readouterr().out)[1])  # type: ignore[index]
    assert measured > 0.9


def test_benchmark(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    known = set(sys.modules)
    bench = module(ROOT / "benchmarks" / "tagging.py")
    if not bench.DATA.exists():
        pytest.skip(f"needs {bench.DATA}, which is not part of the project")
    counts = {
        (name, which): len(bench.part(name, which)[0]) for name in bench.SETTINGS for which in bench.WNUT
    }
    assert [counts["atis", w] for w in bench.WNUT] == [4478, 500, 893]
    assert [counts["snips", w] for w in bench.WNUT] == [13084, 700, 700]
    assert [counts["wnut17", w] for w in bench.WNUT] == [3394, 1009, 1287]
    cut, part = 60, bench.part
    monkeypatch.setattr(
        bench, "part", lambda name, which: tuple(column[:cut] for column in part(name, which))
    )
    found = bench.run("atis", 0, {"epochs": 1, "hidden_size": 8, "verbose": 0})
    assert 0 < found["test"]["Token accuracy"] < 1 and found["dev"].keys() < found["test"].keys()
    assert 0.3 < bench.floor("atis")["linear model"].tags < 1
    for name in set(sys.modules) - known:
        if name.split(".")[0] == "peers":
            del sys.modules[name]
