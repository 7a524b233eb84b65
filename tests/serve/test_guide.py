"""What docs/serving.md shows is so."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
import typer

from unspool.cli.app import app
from unspool.serve import Limits

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")


def test_its_program(url, loaded, capsys) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    place = "http://127.0.0.1:8000/v2/models/model"
    assert place in code
    exec(
        compile(code.replace(place, f"{url}/v2/models/score"), "serving.md", "exec"), {"__name__": "serving"}
    )
    expected = loaded["score"].predict(["what a lovely day", "never again"]).tolist()
    assert capsys.readouterr().out == f"{ {'prediction': expected} }\n"


def options(name: str) -> dict[str, object]:
    """Option -> its default."""
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    return {option: p.default for p in command.params for option in [*p.opts, *p.secondary_opts]}


def test_its_options() -> None:
    named = set(re.findall(r"`(--[\w-]+)", PAGE)) - {"--no-bidirectional"}
    assert len(named) > 7 and named <= set(options("serve"))
    assert "--no-bidirectional" in options("fit")


def test_the_options_defaults_are_the_limits() -> None:
    found, limits = options("serve"), Limits()
    assert found["--max-body"] * 2**20 == limits.body and found["--idle"] * 3600 == limits.idle
    assert found["--delay"] / 1000 == limits.delay
    for option, name in (
        ("max-rows", "rows"),
        ("max-steps", "steps"),
        ("batch", "batch"),
        ("queue", "queue"),
    ):
        assert found[f"--{option}"] == getattr(limits, name)
    assert found["--sessions"] == limits.sessions


@pytest.mark.parametrize(
    "number",
    [
        "64 MB",
        "8 MiB",
        "4,096",
        "100,000",
        "16,384",
        "10,000",
        "60 s",
        "500 steps",
        "64 beams",
        "(2 ms)",
        "hours (6)",
    ],
)
def test_its_limits(number) -> None:
    assert number in PAGE


def test_those_are_the_defaults() -> None:
    found = {one.name: one.default for one in fields(Limits)}
    assert found == {
        "body": 64 * 2**20,
        "json": 8 * 2**20,
        "rows": 4096,
        "steps": 100_000,
        "queue": 16_384,
        "sessions": 10_000,
        "idle": 6 * 3600.0,
        "pending": 64,
        "replies": 64,
        "kept": 300.0,
        "batch": 512,
        "delay": 0.002,
        "reading": 60.0,
        "drawn": 500,
        "tokens": 2000,
        "beams": 64,
    }
