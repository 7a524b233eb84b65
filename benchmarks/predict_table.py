"""`unspool predict` over a large table: `python -m benchmarks.predict_table --rows 1000000 --format csv`.

Makes a table of texts of 10 words, drawn from 20,000 by Zipf's law, fits the default model on 5,000 others, and prints
what predicting the table takes in a process of its own: CPU seconds, wall seconds, its largest resident memory
(`ru_maxrss`, which counts every page, of files too), its largest anonymous memory (Linux, looked at every 20 ms: its
own, without the libraries' files, which processes share), and the same of a table of ten rows, which is what starting
takes. A Parquet file is read by a further process, whose CPU seconds count; its memory does not. Before them it prints
what starting consists of: the memory of a process after each of its steps.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

WORDS, LENGTH, PART, TRAINING = 20_000, 10, 100_000, 5_000
RUN = """
import json, resource, sys
from unspool.cli import main
try:
    main()
finally:
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(json.dumps([(u.ru_utime + u.ru_stime, u.ru_maxrss) for u in used]), file=sys.stderr)
"""
STEPS = """
import json, pathlib, sys
def tell(after):
    told = dict(line.split(":") for line in open("/proc/self/status"))
    own, files = (int(told[name].split()[0]) for name in ("RssAnon", "RssFile"))
    figures = {"resident memory, MB": round((own + files) / 1e3), "of it anonymous": round(own / 1e3)}
    print(json.dumps({"after": after, **figures}), flush=True)
tell("Python")
import numpy
tell("import numpy")
import torch
tell("import torch")
import polars
tell("import polars")
import typer
from unspool.cli import answers, app, options
typer.main.get_command(app.app)
tell("the command: typer, pydantic, rich, unspool")
model = options.load_model(pathlib.Path(sys.argv[1]), "float32")
tell("the model")
answers.laid_out(model).columns(["a text"])
tell("its weights laid out, and a text answered")
"""
# Modules are compiled once, as an installation does: by the fit, whatever the environment says.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
WRITERS = {"csv": "write_csv", "jsonl": "write_ndjson", "parquet": "write_parquet"}


def made(rows: int) -> pl.DataFrame:
    """Texts, and scores that follow from their words."""
    random = np.random.default_rng(0)
    words = np.array(["".join(random.choice(list("abcdefghiklmnoprstu"), 2 + k % 7)) for k in range(WORDS)])
    worth, share = random.normal(size=WORDS), 1 / np.arange(1, WORDS + 1)
    parts = []
    for start in range(0, rows, PART):
        drawn = random.choice(WORDS, (min(PART, rows - start), LENGTH), p=share / share.sum())
        score = worth[drawn].mean(1) + random.normal(0, 0.1, len(drawn))
        parts.append(pl.DataFrame({"text": [" ".join(row) for row in words[drawn].tolist()], "score": score}))
    return pl.concat(parts)


def predict(model: Path, table: Path) -> dict[str, Any]:
    """Of one run."""
    out = table.with_stem("predictions")
    call = [sys.executable, "-c", RUN, "predict", model, table, "--input", "text", "--out", out]
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        running = subprocess.Popen(list(map(str, call)), stderr=said, env=ENVIRONMENT)
        own = 0
        while running.poll() is None:
            own = max(own, anonymous(running.pid))
            time.sleep(0.02)
        wall = time.perf_counter() - began
        said.seek(0)
        told = said.read()
    if running.returncode:
        raise SystemExit(told)
    (cpu, peak), (cpu_reader, _) = json.loads(told.splitlines()[-1])
    return {
        "CPU seconds": round(cpu + cpu_reader, 1),
        "wall seconds": round(wall, 1),
        "peak resident memory, MB": round(peak / 1e3),
        "peak anonymous memory, MB": round(own / 1e3),
    }


def anonymous(process: int) -> int:
    """KiB of memory that no file backs; 0 where the system does not tell."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")), 0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--format", choices=list(WRITERS), default="csv")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frame = made(TRAINING + options.rows)
        frame.head(TRAINING).write_csv(folder / "training.csv")
        for stem, part in (("few", frame[TRAINING : TRAINING + 10]), ("table", frame[TRAINING:])):
            getattr(part, WRITERS[options.format])(folder / f"{stem}.{options.format}")
        del frame
        fit = [sys.executable, "-m", "unspool", "fit", folder / "training.csv", "--input", "text"]
        fit += ["--target", "score", "--out", folder / "model", "--quiet"]
        subprocess.run(list(map(str, fit)), check=True, stdout=subprocess.DEVNULL, env=ENVIRONMENT)
        if Path("/proc/self/status").exists():
            steps = [sys.executable, "-W", "ignore", "-c", STEPS, folder / "model"]
            subprocess.run(list(map(str, steps)), check=True, env=ENVIRONMENT)
        for stem, rows in (("few", 10), ("table", options.rows)):
            found = predict(folder / "model", folder / f"{stem}.{options.format}")
            print(json.dumps({"rows": rows, **found, "load": round(os.getloadavg()[0], 1)}), flush=True)


if __name__ == "__main__":
    main()
