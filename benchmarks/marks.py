"""The engine's targets against what was measured: met, not met, or not measured.

    python benchmarks/marks.py                      # from benchmarks/results/*.json
    python benchmarks/marks.py --measure            # measures first just what the targets need, about ten minutes
    python benchmarks/marks.py --measure seed-job   # a part of that: layers, sweeps or seed-job

What is measured here goes to layers_marks.json and seed_job_speed_marks.json; of these and of whole runs
(layers.json, seed_job_speed.json) the newest counts. ONNX Runtime and Keras have targets too: they are measured
where the peers' environment exists (README.md beside this file).

Two threads, 128 features, length 150, batch 32 unless said; a ratio is the other's time divided by ours.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from grid import BOTH_RAGGED, ONE_DENSE, Case, cases
from peers.data import EMOBANK
from peers.record import ROOT, save, setting

from unspool.engine.frozen import FORMS

RESULTS = ROOT / "benchmarks" / "results"
BUILT_IN = ("lstm", "gru", "rnn")
SOURCES = (
    "layers",
    "length",
    "batch",
    "memory",
    "threads",
    "single",
    "first-use",
    "forms_speed",
    "seed_job_speed",
)
USERS = ("layer_norm_lstm", "peephole_lstm")  # as users write them, compared with the plain loop
PARTS = ("layers", "sweeps", "seed-job")
PRODUCTS = (128, 256, 512)  # widths whose share of peak has a target

Found = dict[str, Any]  # results/NAME.json by NAME


@dataclass(frozen=True)
class Mark:
    """A figure that should be at least `bound`, or with `most` at most; `figure` gives None: not measured."""

    name: str
    bound: float
    figure: Callable[[Found], float | None]
    most: bool = False
    unit: str = ""

    def verdict(self, found: Found) -> tuple[float | None, str]:
        value = self.figure(found)
        if value is None:
            return None, "not measured"
        return value, "met" if (value <= self.bound if self.most else value >= self.bound) else "NOT MET"


def row(found: Found, case: Case) -> dict[str, Any] | None:
    """The row of `case` in layers.json."""
    wanted = asdict(case)
    for candidate in found.get("layers", {}).get("rows", ()):
        if all(candidate.get(name) == value for name, value in wanted.items()):
            return candidate
    return None


def ratio(case: Case, peer: str) -> Callable[[Found], float | None]:
    def figure(found: Found) -> float | None:
        measured = row(found, case)
        return None if measured is None else measured["ratios"].get(peer)

    return figure


def share(case: Case) -> Callable[[Found], float | None]:
    def figure(found: Found) -> float | None:
        measured = row(found, case)
        return None if measured is None else 100 * measured["share_of_peak"]

    return figure


def inverse(figure: Callable[[Found], float | None]) -> Callable[[Found], float | None]:
    def turned(found: Found) -> float | None:
        value = figure(found)
        return None if value is None else 1 / value

    return turned


def of(name: str, figure: Callable[[dict[str, Any]], float | None]) -> Callable[[Found], float | None]:
    """A figure from one result file; None where it is missing."""
    return lambda found: figure(found[name]) if name in found else None


def seed_job(*tools: str) -> Callable[[Found], float | None]:
    """The best of `tools` in the seed job, as a multiple of our epoch; they take turns in one run."""

    def figure(found: dict[str, Any]) -> float | None:
        results = found["results"]
        times = [results[tool]["epoch_seconds"] for tool in tools if tool in results]
        return min(times) / results["unspool"]["epoch_seconds"] if times else None

    return of("seed_job_speed", figure)


def against(
    bounds: dict[tuple[str, Sequence[int]], float],
    form: tuple[str, int],
    work: str,
    peer: str,
    batch: int = 32,
) -> list[Mark]:
    """One mark a cell and width of `bounds`."""
    marks = []
    for (cell, widths), bound in bounds.items():
        for case in cases([cell], widths, [form], [work], [batch]):
            marks.append(Mark(f"{case}: vs {peer}", bound, ratio(case, peer), unit="x"))
    return marks


def threads(cell: str, hidden: int) -> Callable[[dict[str, Any]], float]:
    """The smallest gain of a cell and width from a second thread."""
    return lambda found: min(
        r["gain"]["unspool"] for r in found["rows"] if (r["cell"], r["hidden"]) == (cell, hidden)
    )


def sequence(hidden: int, work: str) -> Callable[[dict[str, Any]], float]:
    return lambda found: next(
        s["ratio"] for s in found["sequences"] if (s["hidden"], s["work"]) == (hidden, work)
    )


def off_line(name: str, fit: str) -> Callable[[Found], float | None]:
    """Percent by which the point furthest from the fitted line is off it."""
    return of(name, lambda found: 100 * found[fit]["largest_deviation"])


def growth(found: dict[str, Any]) -> float:
    """Memory a token: the largest of the sizes above 50,000 tokens divided by the smallest."""
    rows = [r for r in found["rows"] if r["tokens"] >= 50_000] or found["rows"]
    a_token = [r["mib"]["unspool"] / r["tokens"] for r in rows]
    return max(a_token) / min(a_token)


def marks() -> list[Mark]:
    """Every target, in the order in which they are printed."""
    ragged, dense = BOTH_RAGGED, ONE_DENSE
    packed = {
        ("lstm", (64,)): 10,
        ("lstm", (256,)): 7,
        ("gru", (64,)): 12,
        ("gru", (256,)): 7,
        ("rnn", (64,)): 10,
    }
    padded = {("lstm", (64,)): 2.5, ("lstm", (256,)): 2, ("gru", (64,)): 6}
    training = {
        ("lstm", (32, 64, 128)): 1.6,
        ("lstm", (256,)): 1.2,
        ("lstm", (512,)): 1.1,
        ("gru", (32, 64, 128, 256)): 3.5,
        ("gru", (512,)): 2.2,
        ("rnn", (32, 64, 128)): 3,
    }
    every = (32, 64, 128, 256, 512)
    forward = {("lstm", (32, 64, 128)): 1.4, ("lstm", (512,)): 1.1, ("gru", every): 2.5, ("rnn", every): 2}
    onnx = {(cell, (n,)): 1.3 if n in (64, 128) else 1.0 for cell in BUILT_IN for n in every}
    found = [
        *against(packed, ragged, "training", "torch packed"),
        *against(padded, ragged, "training", "torch padded"),
        *against(training, dense, "training", "torch padded"),
        *against(forward, dense, "forward", "torch padded"),
        *against(onnx, dense, "forward", "onnxruntime"),
    ]
    for cell in USERS:
        found += against({(cell, (64, 256)): 20}, ragged, "training", "plain loop")
        for case in cases([cell], (64, 256), [ragged], ["training"], [32]):
            found.append(Mark(f"{case}: over our LSTM", 1.4, inverse(ratio(case, "our LSTM")), True, "x"))
    for work, bound in (("forward", 75), ("training", 65)):
        for case in cases(BUILT_IN, PRODUCTS, [dense], [work], [32]):
            found.append(Mark(f"{case}: share of peak", bound, share(case), unit="%"))
    for hidden, bound in ((64, 3.0), (256, 1.3)):
        for work in ("forward", "training"):
            name = f"lstm {hidden}, {work}, batch 1, whole sequence: vs torch"
            found.append(Mark(name, bound, of("single", sequence(hidden, work)), unit="x"))
    return [*found, *_other()]


def _other() -> list[Mark]:
    step = of("single", lambda r: r["step_us"]["unspool"] / r["step_us"]["torch.nn.LSTMCell"])
    found = [
        Mark("one .step, batch 1, LSTM 64: over torch.nn.LSTMCell", 0.5, step, True, "x"),
        Mark("its native call", 1.5, of("single", lambda r: r["step_us"].get("kernel")), True, "us"),
    ]
    for form in FORMS:
        call = of("forms_speed", lambda r, form=form: r["rows"][-1]["times"][f"{form}, native call"])
        found.append(Mark(f"its native call, frozen, {form}", 1.5, call, True, "us"))
    for cell in BUILT_IN:
        for hidden in (64, 256):
            gain = of("threads", threads(cell, hidden))
            found.append(Mark(f"{cell} {hidden}, ragged: two threads over one", 1.8, gain, unit="x"))
    for name, bound, key in (
        ("import of unspool after torch", 0.3, "import_unspool"),
        ("first call of a built-in layer", 0.05, "first_call"),
        ("first call of a user's cell", 1.0, "user_cell"),
    ):
        found.append(Mark(name, bound, of("first-use", lambda r, key=key: r["seconds"][key]), True, "s"))
    for name, file, key in (
        ("length 10 to 10,000", "length", "linear"),
        ("batch 32 to 4,096", "batch", "linear_from_32"),
        ("batch 1 to 4,096", "batch", "linear"),
    ):
        found.append(Mark(f"time over tokens, {name}: off a line", 10, off_line(file, key), True, "%"))
    return [
        *found,
        Mark("memory a token, largest over smallest", 1.1, of("memory", growth), True, "x"),
        Mark("memory, ours over torch's, largest", 1.0, of("memory", _memory), True, "x"),
        Mark(
            "seed job's epoch: Keras, masked, best backend",
            10,
            seed_job("keras-jax", "keras-tensorflow"),
            unit="x",
        ),
        Mark("seed job's epoch: torch, packed", 5, seed_job("torch-packed"), unit="x"),
        Mark("seed job's epoch: torch, padded", 3, seed_job("torch-padded"), unit="x"),
    ]


def _memory(found: dict[str, Any]) -> float:
    return max(r["mib"]["unspool"] / r["mib"]["torch"] for r in found["rows"])


def needed() -> list[Case]:
    """The cases of layers.json that the targets read."""
    every = (32, 64, 128, 256, 512)
    return [
        *cases(BUILT_IN, (64, 256), [BOTH_RAGGED], ["training"], [32]),
        *cases(BUILT_IN, every, [ONE_DENSE], ["training", "forward"], [32]),
        *cases(USERS, (64, 256), [BOTH_RAGGED], ["training"], [32]),
    ]


def read() -> Found:
    """Of NAME.json and NAME_marks.json the newer one."""
    found = {}
    for name in SOURCES:
        files = [RESULTS / f"{name}{suffix}.json" for suffix in ("", "_marks")]
        contents = [json.loads(file.read_text()) for file in files if file.exists()]
        if contents:
            found[name] = max(contents, key=lambda content: content["setting"]["date"])
    return found


def report(found: Found) -> list[dict[str, Any]]:
    """Print every target with its figure; the same as rows."""
    rows: list[dict[str, Any]] = []
    for name in SOURCES:
        if name in found:
            about = found[name]["setting"]
            print(f"{name}: commit {about['commit'][:12]}, {about['date']}, {about['processor']}")
    print(f"{'target':76} {'wanted':>11} {'measured':>9}")
    for mark in marks():
        value, verdict = mark.verdict(found)
        wanted = f"{'at most' if mark.most else '>='} {mark.bound:g} {mark.unit}"
        told = "-" if value is None else f"{value:.3g}"
        print(f"{mark.name:72} {wanted:>15} {told:>9}  {verdict}")
        rows.append({"name": mark.name, "wanted": wanted, "measured": value, "verdict": verdict})
    met, missed = (sum(r["verdict"] == v for r in rows) for v in ("met", "NOT MET"))
    print(f"{met} met, {missed} not met, {len(rows) - met - missed} not measured")
    return rows


def measure(parts: Sequence[str], seconds: float, peers_python: Path) -> None:
    """What the targets need, of PARTS."""
    has_peers = peers_python.exists()
    if not has_peers:
        print(f"ONNX Runtime and Keras are not measured: no {peers_python}. `make bench-peers-env` makes it.")
    if "layers" in parts:
        from layers import measure_grid

        peers = ["onnxruntime"] if has_peers else []
        measure_grid("layers_marks", needed(), seconds, peers, str(peers_python), loop_cells=USERS)
    if "sweeps" in parts:
        import forms
        import sweeps

        sweeps.run(list(sweeps.SWEEPS), quick=False)
        forms.measure("speed")
    if "seed-job" in parts and not EMOBANK.exists():
        print(f"The seed job is not measured: no {EMOBANK}.")
    elif "seed-job" in parts:
        tools = ["unspool", "torch-packed", "torch-padded"]
        tools += ["keras-jax", "keras-tensorflow"] if has_peers else []
        job = [sys.executable, str(ROOT / "benchmarks" / "seed_job.py"), "speed", "--tools", *tools]
        job += ["--peers-python", str(peers_python), "--rounds", "3", "--batches", "50"]
        subprocess.run([*job, "--out", str(RESULTS / "seed_job_speed_marks.json")], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--measure", nargs="*", choices=PARTS, metavar="PART", help=f"{', '.join(PARTS)}; none: all"
    )
    parser.add_argument("--seconds", type=float, default=0.6, help="a case, once each has had three rounds")
    parser.add_argument("--peers-python", type=Path, default=ROOT / ".venv-peers/bin/python")
    args = parser.parse_args()
    before = setting()
    if args.measure is not None:
        measure(args.measure or PARTS, args.seconds, args.peers_python)
    save("marks", {"rows": report(read())}, before)


if __name__ == "__main__":
    main()
