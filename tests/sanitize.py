"""`make sanitize`: the core compiled with sanitizers, each in an environment of its own, and the tests that stress it.

AddressSanitizer and UndefinedBehaviourSanitizer together, then ThreadSanitizer, for which the core starts threads of
its own: OpenMP's runtime is not instrumented. Python and torch are not either; what they alone do is not looked at.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENGINE = ["team", "narrow", "frozen", "step", "process"]
SMALL = (
    "lstm or gru or layer_norm or GRU2014 or Coupled"  # of the contract: a product, a split, a row reduction
)

SANITIZERS = {
    "address,undefined": {
        "isas": ["portable", "avx512_bf16"],
        "runtimes": ["libasan.so", "libubsan.so"],
        # torch's allocations at exit are no leaks of ours; a wild size is an error to be raised, not to stop at.
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:abort_on_error=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "tests": [
            ["tests/engine/test_contract.py", "-k", SMALL],
            [f"tests/engine/test_{name}.py" for name in ENGINE],
            ["tests/estimators/test_optimizers.py", "tests/test_ragged.py"],
            ["tests/boundary/test_native.py", "tests/boundary/test_threads.py"],
        ],
    },
    "thread": {
        "isas": ["portable"],
        "runtimes": ["libtsan.so"],
        "TSAN_OPTIONS": f"ignore_noninstrumented_modules=1:die_after_fork=0:halt_on_error=1:exitcode=66:"
        f"suppressions={ROOT / 'tests' / 'tsan.supp'}",
        "tests": [
            [
                "tests/engine/test_team.py",
                "tests/boundary/test_threads.py",
                "-k",
                "eight or first or copies or gru",
            ],
        ],
    },
}


def environment(name: str) -> Path:
    """The interpreter of an environment like this one, but for the core."""
    place = ROOT / "build" / f"sanitize-{name.split(',')[0]}"
    python = place / "venv" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place / "venv")], check=True)
    packages = subprocess.run(
        [python, "-c", "import site; print(site.getsitepackages()[0])"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    shared = [path for path in sys.path if path.endswith("site-packages")]
    Path(packages, "shared.pth").write_text("\n".join(shared) + "\n")
    install = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--editable",
        ".",
    ]
    defines = {"UNSPOOL_SANITIZE": name, "UNSPOOL_ISAS": ";".join(SANITIZERS[name]["isas"])}
    settings = ["-C", f"build-dir={place / 'cmake'}"]
    for key, value in defines.items():
        settings += ["-C", f"cmake.define.{key}={value}"]
    tools = os.pathsep.join([*(str(Path(p).parents[2] / "bin") for p in shared), os.environ["PATH"]])
    subprocess.run([*install, *settings], check=True, cwd=ROOT, env={**os.environ, "PATH": tools})
    return python


def runtime(library: str) -> str:
    compiler = os.environ.get("CXX", "g++")
    found = subprocess.run(
        [compiler, f"-print-file-name={library}"], check=True, capture_output=True, text=True
    )
    return found.stdout.strip()


def same_places() -> None:
    """No random addresses: ThreadSanitizer's own memory needs the places that it expects."""
    no_randomisation = 0x0040000  # ADDR_NO_RANDOMIZE of personality(2)
    ctypes.CDLL(None).personality(no_randomisation)


def main() -> int:
    failed = []
    for name, settings in SANITIZERS.items():
        start = time.monotonic()
        python = environment(name)
        options = {key: value for key, value in settings.items() if key.endswith("_OPTIONS")}
        preload = " ".join(map(runtime, settings["runtimes"]))
        env = {**os.environ, **options, "LD_PRELOAD": preload, "UNSPOOL_SANITIZED": name}
        print(f"{name}: built in {time.monotonic() - start:.0f} s", flush=True)
        for tests in settings["tests"]:
            present = [t for t in tests if not t.endswith(".py") or (ROOT / t).exists()]
            command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *present]
            status = subprocess.run(command, cwd=ROOT, env=env, preexec_fn=same_places).returncode
            if status:
                failed.append(f"{name}: {' '.join(tests)} (status {status})")
        print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
    print("\n".join(failed) or "Clean.")
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main())
