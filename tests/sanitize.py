"""`make sanitize`: the core compiled with sanitizers, each in an environment of its own, and the tests that stress it.

AddressSanitizer and UndefinedBehaviourSanitizer together, then ThreadSanitizer. Each first has to report faults on
purpose (native/plant.cpp). Python, torch and nanobind are not instrumented; what they alone do is not looked at. Of
the kernels only the portable ones are: masked vectors of 512 bits are built-in functions, whose reads and writes no
sanitizer sees. Under ThreadSanitizer the core starts threads of its own, as OpenMP's runtime is not instrumented, and
the interpreter's lock is hidden (tsan.supp): what it alone guards is a race, since looking at a tensor lets go of it.

`--quick` is the part that `make test` runs beside the tests: compiled without optimisation, which is where most of the
time goes, and tests of small sizes that reach every function of the module and every operation. A sanitizer that this
machine has not, or under which no process starts here, is left out there, and named.
"""

from __future__ import annotations

import argparse
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
ONE = "from unspool import _native; _native.plant({!r})"
THREADS = """
import threading
from unspool import _native
threads = [threading.Thread(target=_native.plant, args=({!r},)) for _ in range(2)]
[thread.start() for thread in threads], [thread.join() for thread in threads]
"""
TEAM = "tests/engine/test_team.py::test_the_bits_of_one_thread"

SANITIZERS = {
    "address,undefined": {
        "runtimes": ["libasan.so", "libubsan.so"],
        # torch's allocations at exit are no leaks of ours; a wild size is an error to be raised, not to stop at.
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:abort_on_error=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "plants": [
            ("overflow", ONE, "AddressSanitizer: heap-buffer-overflow"),
            ("undefined", ONE, "runtime error: signed integer overflow"),
        ],
        "tests": [
            ["tests/engine/test_contract.py", "-k", SMALL],
            [f"tests/engine/test_{name}.py" for name in ENGINE],
            ["tests/training/test_optimizers.py", "tests/test_ragged.py", "tests/test_ragged_layouts.py"],
            ["tests/boundary/test_native.py", "tests/boundary/test_threads.py"],
            ["tests/streaming/test_layers.py", "-k", "option or gru or weights"],
            ["tests/streaming/test_pool.py", "tests/text/test_words.py"],
        ],
        "quick": [
            "tests/boundary/test_native.py",
            "tests/engine/test_contract.py::test_one_direction",
            "tests/engine/test_contract.py::test_widths_around_the_vector",
            "tests/engine/test_contract.py::test_batches",
            "tests/engine/test_frozen.py::test_batches",
            f"{TEAM}[sizes2-lengths2-lstm-False]",
            f"{TEAM}[sizes4-lengths4-gru-True]",
            "tests/program/test_ops.py::test_values_and_gradients",
            "tests/program/test_axes.py::test_values_and_gradients",
            "tests/training/test_optimizers.py::test_untouched_rows_follow_sparse_adam",
            "tests/test_ragged_layouts.py::test_nested_both_ways",
            "tests/test_ragged_layouts.py::test_packed_both_ways_is_torch_packing",
            "tests/streaming/test_layers.py::test_every_cell_has_the_bits_of_the_whole[lstm]",
            "tests/streaming/test_pool.py::test_a_push_shared_by_threads_has_the_same_bits",
            "tests/text/test_words.py::test_ascii_in_strings_of_every_width",
            "tests/text/test_words.py::test_many_words_are_told_apart",
            *("-k", "not OnInput"),  # of the operations: on the state
        ],
    },
    "thread": {
        "runtimes": ["libtsan.so"],
        "PYTHONMALLOC": "malloc",  # else memory that goes from object to object looks like one
        "TSAN_OPTIONS": f"die_after_fork=0:halt_on_error=1:exitcode=66:history_size=7:"
        f"suppressions={ROOT / 'tests' / 'tsan.supp'}",
        "plants": [
            ("race", ONE, "ThreadSanitizer: data race"),
            ("shared", THREADS, "ThreadSanitizer: data race"),
        ],
        "tests": [
            ["tests/engine/test_team.py", "-k", "lstm or gru or both"],
            ["tests/boundary/test_threads.py", "-k", "not fork"],
        ],
        "quick": [
            "tests/boundary/test_threads.py::test_eight_threads",
            "tests/boundary/test_threads.py::test_many_steps",
            f"{TEAM}[sizes2-lengths2-lstm-False]",
            f"{TEAM}[sizes4-lengths4-gru-True]",
        ],
    },
}


def environment(name: str, quick: bool) -> Path:
    """The interpreter of an environment like this one, but for the core."""
    place = ROOT / "build" / f"sanitize-{name.split(',')[0]}{'-quick' if quick else ''}"
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
    defines = {"UNSPOOL_SANITIZE": name, "UNSPOOL_ISAS": "portable"}
    if quick:
        defines["UNSPOOL_SANITIZE_LEVEL"] = "-O0"
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    for library in ROOT.glob(f"build/{tag}-*/libnanobind-static.a"):  # the installation's
        defines["UNSPOOL_NANOBIND"] = str(library)
    settings = ["-C", "install.strip=false", "-C", f"build-dir={place / 'cmake'}"]
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


def started(command: list[object], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)), cwd=ROOT, env=env, preexec_fn=same_places, capture_output=True, text=True
    )


def check(name: str, quick: bool) -> list[str]:
    """Builds the core with the sanitizers `name` and runs its plants and tests: what failed."""
    start, failed = time.monotonic(), []
    settings = SANITIZERS[name]
    options = {key: value for key, value in settings.items() if key.isupper()}
    preload = " ".join(map(runtime, settings["runtimes"]))
    env = {**os.environ, **options, "LD_PRELOAD": preload, "UNSPOOL_SANITIZED": name}
    env["UNSPOOL_ISA"] = "portable"
    if quick:
        env["UNSPOOL_FUZZ_ROUNDS"] = "60"
    empty = started([sys.executable, "-c", ""], env)
    if empty.returncode or "cannot be preloaded" in empty.stderr:
        why = f"{name}: no process starts under it here: {empty.stderr.strip()[:300]}"
        print(quick * "Left out: " + why, flush=True)
        return [] if quick else [why]
    python = environment(name, quick)
    print(f"{name}: built in {time.monotonic() - start:.0f} s", flush=True)
    for plant, code, report in settings["plants"]:
        done = started([python, "-c", code.format(plant)], env)
        if done.returncode == 0 or report not in done.stderr:
            failed.append(f"{name}: the plant '{plant}' is not reported: {done.stderr[-500:]}")
    for tests in [settings["quick"]] if quick else settings["tests"]:
        command = [python, "-m", "pytest", "-q", "-x", "-s", "-p", "no:cacheprovider", *tests]  # -s: reports
        status = subprocess.run(command, cwd=ROOT, env=env, preexec_fn=same_places).returncode
        if status:
            failed.append(f"{name}: {' '.join(tests)} (status {status})")
    print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the part that continuous integration runs")
    quick = parser.parse_args().quick
    failed = [fault for name in SANITIZERS for fault in check(name, quick)]
    print("\n".join(failed) or "Clean.")
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main())
