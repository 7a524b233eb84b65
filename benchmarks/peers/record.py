"""What a timing is worth nothing without: the machine, the commit, the command."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def cpuinfo() -> str:
    """Linux's /proc/cpuinfo; empty on other systems."""
    file = Path("/proc/cpuinfo")
    return file.read_text() if file.exists() else ""


def processor() -> str:
    names = [line.split(":", 1)[1].strip() for line in cpuinfo().splitlines() if "model name" in line]
    return names[0] if names else platform.processor()


def instruction_sets() -> list[str]:
    known = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "asimd")
    return [name for name in known if f" {name}" in cpuinfo()]


def commit() -> str:
    """The commit's id, with "+changes" when a tracked file of the sources or the benchmarks differs."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout

    changed = git("status", "--porcelain", "--untracked-files=no", "src", "native", "benchmarks").strip()
    return git("rev-parse", "HEAD").strip() + ("+changes" if changed else "")


def setting() -> dict[str, Any]:
    """Machine, Python, commit, command, date (UTC) and the load of the last minute (processes running)."""
    return {
        "processor": processor(),
        "instruction_sets": instruction_sets(),
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "python": platform.python_version(),
        "commit": commit(),
        "command": " ".join(["python", "benchmarks/" + Path(sys.argv[0]).name, *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "load_before": os.getloadavg()[0],
    }


def save(name: str, content: dict[str, Any], before: dict[str, Any]) -> Path:
    """benchmarks/results/`name`.json: `content` after the setting that held before it was measured."""
    folder = ROOT / "benchmarks" / "results"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.json"
    file.write_text(json.dumps({"setting": before, **content}, indent=1) + "\n")
    print(f"wrote {file.relative_to(ROOT)}")
    return file
