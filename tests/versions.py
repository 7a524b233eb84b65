"""`make versions`: the wheel of each promised version of Python and torch, and the tests of layers and cells on it.

    python tests/versions.py                                        # every interpreter that is found, see PAIRS
    python tests/versions.py --only 3.10=2.8.0 3.13=2.14.1          # these
    python tests/versions.py --tests tests/nn                       # other tests

An environment each under build/versions/, kept between runs (torch's own packages may take gigabytes). The package
comes from the wheel in dist/ (`python tests/wheel.py --pythons ...`), or is built by it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# the oldest torch that is promised, the one that constraints.txt pins, the newest
PAIRS = "3.10=2.8.0 3.11=2.13.0 3.12=2.13.0 3.13=2.14.1 3.14=2.14.1"
TESTS = (
    "tests/nn tests/cells tests/engine tests/streaming tests/test_ragged.py tests/properties tests/estimators"
)
NEEDS = (
    "pytest pytest-xdist hypothesis pandas pyarrow h5py onnx-ir onnxruntime fastexcel soundfile crepes jiwer"
)


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


def environment(python: str, version: str, torch: str) -> Path:
    """The interpreter of an environment with that torch and the newest wheel of dist/."""
    place = ROOT / "build" / "versions" / f"python{version}-torch{torch}"
    fresh = place / "bin" / "python"
    if not fresh.exists():
        subprocess.run([python, "-m", "venv", place], check=True)
    tag = f"cp{version.replace('.', '')}"
    wheels = sorted((ROOT / "dist").glob(f"*-{tag}-{tag}-*.whl"), key=lambda path: path.stat().st_mtime)
    if not wheels:
        subprocess.run([sys.executable, ROOT / "tests" / "wheel.py", "--pythons", python], check=True)
        wheels = list((ROOT / "dist").glob(f"*-{tag}-{tag}-*.whl"))
    install = [fresh, "-m", "pip", "install", "--quiet"]
    subprocess.run([*install, f"torch=={torch}", wheels[-1], *NEEDS.split()], check=True)
    subprocess.run([*install, "--no-deps", "--force-reinstall", wheels[-1]], check=True)
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
    lines, passed = [], True
    for pair in options.only:
        version, _, torch = pair.partition("=")
        python = interpreter(version)
        if python is None:
            lines.append(f"Python {version:5} torch {torch:7} not tried: no such interpreter here")
            continue
        good, last = attempt(environment(python, version, torch), options.tests)
        passed &= good
        lines.append(f"Python {version:5} torch {torch:7} {last}")
        print(lines[-1], flush=True)
    print("\n".join(["", *lines]))
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
