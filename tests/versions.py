"""`make versions`: the wheel of each promised version of Python and torch, and the tests of layers and cells on it.

    python tests/versions.py                                        # every interpreter that is found, see PAIRS
    python tests/versions.py --only 3.10=2.8.0 3.13=2.14.1          # these
    python tests/versions.py --tests tests/nn                       # other tests

An environment each under build/versions/, kept between runs (torch's own packages may take gigabytes). The package
is the wheel in dist/ that tests/wheel.py makes, built anew where it is older than what it is built from.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from wheel import wheels

ROOT = Path(__file__).parents[1]
# the oldest torch that is promised, the one that constraints.txt pins, the newest
PAIRS = "3.10=2.8.0 3.11=2.13.0 3.12=2.13.0 3.13=2.14.1 3.14=2.14.1 3.11=2.15.0"
# what meets torch and the interpreter most, a minute and a half of a processor
TESTS = (
    "tests/nn/test_recurrent.py tests/nn/test_state.py tests/nn/test_drop_in.py tests/test_ragged.py tests/streaming "
    "tests/engine/test_step.py tests/engine/test_door.py tests/program/test_wrapped.py tests/program/test_edges.py "
    "tests/estimators/test_fit.py"
)
NEEDS = (
    "pytest<9.2 pytest-xdist hypothesis pandas pyarrow h5py onnx-ir onnxruntime fastexcel soundfile crepes jiwer"
).split()


def interpreter(version: str) -> str | None:
    """A Python of `version`, such as "3.12": this one, one on the path, or pyenv's."""
    if version == "{}.{}".format(*sys.version_info):
        return sys.executable
    kept = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    found = shutil.which(f"python{version}")
    for candidate in [*([found] if found else []), *map(str, kept)]:
        asked = subprocess.run([candidate, "--version"], capture_output=True, text=True)
        if (
            asked.returncode == 0 and f" {version}." in asked.stdout
        ):  # pyenv's shims name versions that they lack
            return candidate
    return None


def current(version: str) -> Path | None:
    """The wheel of that Python in dist/, unless a source is newer."""
    tag = f"cp{version.replace('.', '')}"
    found = list((ROOT / "dist").glob(f"*-{tag}-{tag}-*_{platform.machine()}.whl"))
    if not found:
        return None
    newest = max(found, key=lambda path: path.stat().st_mtime)
    sources = [ROOT / "pyproject.toml", ROOT / "CMakeLists.txt", *(ROOT / "native").rglob("*")]
    sources += (ROOT / "src").rglob("*.py")
    return newest if newest.stat().st_mtime > max(path.stat().st_mtime for path in sources) else None


def environment(python: str, version: str, torch: str, wheel: Path) -> Path:
    """The interpreter of an environment with that torch and wheel."""
    place = ROOT / "build" / "versions" / f"python{version}-torch{torch}"
    fresh = place / "bin" / "python"
    if not fresh.exists():
        subprocess.run([python, "-m", "venv", place], check=True)
    install = [fresh, "-m", "pip", "install", "--quiet"]
    subprocess.run([*install, f"torch=={torch}", wheel, *NEEDS], check=True)
    subprocess.run([*install, "--no-deps", "--force-reinstall", wheel], check=True)
    return fresh


def attempt(fresh: Path, tests: list[str]) -> tuple[bool, str]:
    """Whether pytest passed, and its last line."""
    command = [fresh, "-m", "pytest", "-n", "2", "--dist", "loadgroup", "-p", "no:cacheprovider", *tests]
    ran = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"GOMP_SPINCOUNT": "1000"}, text=True, stdout=subprocess.PIPE
    )
    failed = [line for line in ran.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    print("\n".join(failed), flush=True)
    return ran.returncode == 0, re.sub(r"=+ ?| ?=+", "", ran.stdout.strip().splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", default=PAIRS.split(), metavar="PYTHON=TORCH")
    parser.add_argument("--tests", nargs="+", default=TESTS.split())
    options = parser.parse_args()
    pairs = [pair.split("=") for pair in options.only]
    pythons = {version: interpreter(version) for version, _ in pairs}
    found = {version: current(version) for version, python in pythons.items() if python}
    lacking = {python: version for version, python in pythons.items() if python and not found[version]}
    if lacking:
        for python, wheel in wheels([*lacking], platform.machine(), ROOT / "dist"):
            found[lacking[python]] = wheel
            print(wheel, flush=True)
    lines, passed = [], True
    for version, torch in pairs:
        if (python := pythons[version]) is None:
            lines.append(f"Python {version:5} torch {torch:7} not tried: no such interpreter here")
            continue
        good, last = attempt(environment(python, version, torch, found[version]), options.tests)
        passed &= good
        lines.append(f"Python {version:5} torch {torch:7} {last}")
        print(lines[-1], flush=True)
    print("\n".join(["", *lines]))
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
