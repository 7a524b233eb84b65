"""Every page: links lead somewhere, commands parse, targets of make and files that are named are there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from unspool.cli.app import app
from unspool.cli.kinds import COMMANDS, _load

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
#: What a command writes, and is not part of the project.
WRITTEN = ("benchmarks/results/",)

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pages
def test_links(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        there = page.parent / file if file else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def test_the_readme_links_every_page() -> None:
    linked = re.findall(r"\]\((docs/[\w.]+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert set(linked) == {f"docs/{page.name}" for page in PAGES if page.parent.name == "docs"}


@pages
def test_files_and_targets(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"(?<![\w/.])(?:src|tests|benchmarks|examples|docs|native)/[\w./-]*\w", text))
    assert not {name for name in named if not name.startswith(WRITTEN) and not (ROOT / name).exists()}
    code = "\n".join([*(block for _, block in BLOCK.findall(text)), *re.findall(r"`([^`\n]+)`", text)])
    assert set(re.findall(r"^(?:\w+=\S+ )*make ([a-z-]+)", code, re.MULTILINE)) <= TARGETS
    for module in re.findall(r"python -m ((?:tests|benchmarks)[\w.]*)", code):
        where = ROOT / module.replace(".", "/")
        assert where.with_suffix(".py").exists() or (where / "__main__.py").exists(), module


def commands(page: Path) -> list[list[str]]:
    """The words behind `unspool` of each command, in blocks and between backticks."""
    text = page.read_text(encoding="utf-8")
    lines = [
        line
        for kind, code in BLOCK.findall(text)
        if kind == "sh"
        for line in code.replace("\\\n", "").splitlines()
    ]
    lines += re.findall(r"`((?:\w+=\S+ )*unspool [^`\n\\]*)`", BLOCK.sub("", text))
    found = []
    for line in lines:
        words = shlex.split(line.replace("...", ""), comments=True)
        if "unspool" in words:
            words = words[words.index("unspool") + 1 :]
            end = next(
                (at for at, word in enumerate(words) if word in ("|", "<", ">", "&", "&&")), len(words)
            )
            found.append(words[:end])
    return found


GROUP: Any = typer.main.get_command(app)


def options(words: list[str]) -> list[set[str]]:
    """Of the command of the task that is named, or of each command that may be meant."""
    name = words[0]
    task = words[words.index("--task") + 1] if "--task" in words[:-1] else None
    kinds = [where for (command, kind), where in COMMANDS.items() if command == name and task in (None, kind)]
    meant: list[Any] = [_load(where, name) for where in kinds]
    if task is None or not meant:
        meant.append(GROUP.commands[name])
    return [
        {"--help", *(o for p in command.params for o in (*p.opts, *p.secondary_opts))} for command in meant
    ]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.name)
def test_commands(page: Path) -> None:
    for words in commands(page):
        if not words[0].startswith("--"):
            used = {word.split("=")[0] for word in words if re.match("--[a-z]", word)}
            assert any(used <= known for known in options(words)), shlex.join(words)
