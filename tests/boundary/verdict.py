"""What became of a case: torch's numbers, one clear error, or a fault."""

from __future__ import annotations

import contextlib
import functools
import linecache
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import unspool
from unspool.errors import UnspoolError

from .disturbances import DISTURBANCES
from .given import Case, Given, Named, clean, differences, reference
from .subjects import SUBJECTS, F, H
from .surroundings import ALL as SURROUNDING_LIST
from .surroundings import ordinary
from .traced import ReportedError

SURROUNDINGS = {s.name: s for s in SURROUNDING_LIST}
OURS = str(Path(unspool.__file__).parent)
KINDS = (UnspoolError, TypeError, ValueError, RuntimeError, IndexError, NotImplementedError)
LONGEST = 600  # characters of a clear message


TORCHS = (  # what torch says, clearly, of its own: it is not ours to say it again
    "has been modified by an inplace operation",
    "Inference tensors cannot be saved for backward",
    "are out of bounds for storage of size",
    "Please convert all Tensors to FakeTensors first",
    "forward differentiable view operations to have the tangent have the same layout",  # of torch.nn's layers too
    "run outside of compiled graphs: compile without fullgraph=True",  # the reason that we give it
)


@functools.cache
def undisturbed(subject: str) -> Named:
    """Torch's numbers of the call as it is."""
    return reference(clean(SUBJECTS[subject], F, H))


def prepare() -> None:
    """What every case needs, before processes are forked: on one thread, for threads do not survive a fork."""
    torch.set_num_threads(1)
    for subject in SUBJECTS:
        undisturbed(subject)
    import_compilers()
    torch.set_num_threads(2)


def import_compilers() -> None:
    """What torch imports at its first compilation, a second's worth: by one that has nothing of ours in it."""
    x = torch.ones(3, 2, requires_grad=True)
    torch.compile(lambda x: torch.tanh(x).sum(), backend="aot_eager", dynamic=True)(x).backward()
    torch._dynamo.reset()


def judge(case: Case) -> str:
    """ "numbers", "error: ...", or "fault: ..."."""
    subject, surrounding = SUBJECTS[case.subject], SURROUNDINGS[case.surrounding]
    disturbance = DISTURBANCES[case.disturbance]
    given = clean(subject, F, H)
    if case.when == "later":
        ordinary(given)
    disturbance.apply(given)
    wanted = None
    if disturbance.wanted != "error":
        wanted = undisturbed(case.subject) if case.disturbance == "none" else reference(given)
    given.train = given.train and isinstance(given.x, torch.Tensor)
    try:
        if subject.frozen:
            freeze(given, case.when, surrounding)
        got = surrounding.run(given)
    except BaseException as error:
        found = error.args[0] if isinstance(error, ReportedError) else describe(error)
        verdict = _judge_error(found, disturbance, surrounding)
    else:
        verdict = _undisturbing(disturbance, surrounding) or _judge_numbers(got, wanted, given, surrounding)
    return verdict if verdict.startswith("fault") else _afterwards(case) or verdict


def freeze(given: Given, when: str, surrounding: Any) -> None:
    """In the surroundings, where these are a context; at "later" in calm ones."""
    inside = surrounding.manager if when == "first" and surrounding.manager else contextlib.nullcontext
    with inside():
        given.layer = given.layer.freeze()


def _undisturbing(disturbance: Any, surrounding: Any) -> str:
    """Why the call may give other numbers than torch's, or none, without an error; empty: it may not."""
    if surrounding.shapes and disturbance.name.endswith(("resized storage", "mkldnn")):
        return "numbers: shapes alone, and torch's fake tensors forget how the numbers are kept"
    if surrounding.shapes and disturbance.target in ("offsets", "index"):
        return "numbers: shapes alone, which the numbers of offsets and ids do not change"
    if surrounding.name.startswith("autocast") and "dtype" in disturbance.words:
        return "numbers: autocast makes one dtype of all"
    again = surrounding.name.endswith("checkpoint") or surrounding.name == "save_on_cpu"
    if again and "changed in place" in disturbance.name:
        return "numbers: of the weights when the forward is run again, or what was saved is read, as torch's"
    return ""


def _judge_numbers(got: Any, wanted: Any, given: Given, surrounding: Any) -> str:
    if wanted is None:
        return "fault: no error came"
    if surrounding.shapes:
        wrong = [n for n, value in got.items() if value.shape != wanted[n].shape]
        return f"fault: wrong shapes of {wrong}" if wrong else "numbers"
    if "tangent" in got:
        slope = wanted["d x"].sum()
        if not torch.allclose(got.pop("tangent").double(), slope, 1e-3, 1e-3, equal_nan=True):
            return "fault: the tangent is wrong"
    try:
        wrong = differences(got, wanted, surrounding.rounding)
    except Exception as error:
        wrong = f"numbers that cannot be compared: {type(error).__name__}: {error}"
    return f"fault: {wrong}" if wrong else "numbers"


def describe(error: BaseException) -> dict[str, Any]:
    """An error as one process can tell it another."""
    chain = list(_chain(error))
    return {
        "type": type(error).__name__,
        "kind": isinstance(error, KINDS),
        "ours": any(_is_ours(link) for link in chain),
        "entered": any(
            f.filename.startswith(OURS) for e in chain for f in traceback.extract_tb(e.__traceback__)
        ),
        "text": " / ".join(dict.fromkeys(str(link) for link in chain if _is_ours(link))) or str(error),
        "where": "".join(traceback.format_exception(error)[-4:])[-1500:],
    }


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_ours(error: BaseException) -> bool:
    """Raised by a `raise` in our sources, or by our native code."""
    if isinstance(error, UnspoolError):
        return True
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or not frames[-1].filename.startswith(OURS):
        return False
    line = linecache.getline(frames[-1].filename, frames[-1].lineno or 0)
    return line.strip().startswith("raise ") or "native." in line


def _judge_error(found: dict[str, Any], disturbance: Any, surrounding: Any) -> str:
    text = found["text"]
    words = disturbance.words + surrounding.words
    if surrounding.name == "anomaly" and "returned nan values in its" in text:
        return f"error: torch's: {text}"
    if "mode object <torch._functorch._aot_autograd.runtime_wrappers._AnalyzeCustomOp" in text:
        return f"error: torch's, which compiles no operation of a subclass: {text}"
    if disturbance.wanted == "numbers" and not surrounding.words:
        return f"fault: no error was due: {found['type']}: {text[:300]} {found['where']}"
    if any(sentence in text for sentence in TORCHS):
        return f"error: torch's: {text}"
    if "Observed exception" in text and "raise EngineError(" in text:
        return f"error: ours, as torch.compile tells it: {text}"
    if not found["entered"] and "_RunBackward" not in text:
        return f"error: before the call: {text}"
    if not found["ours"]:
        return f"fault: not an error of ours: {found['type']}: {text[:300]} {found['where']}"
    if not any(word in text for word in words):
        return f"fault: the message names none of {words}: {found['type']}: {text[:300]}"
    if len(text) > LONGEST:
        return f"fault: a message of {len(text)} characters: {text[:300]}"
    return f"error: {found['type']}: {text}"


def _afterwards(case: Case) -> str:
    """A fault if anything of the surroundings stayed: the same call, calm, is native and right."""
    given = clean(SUBJECTS[case.subject], F, H)
    if given.subject.frozen:
        given.layer = given.layer.freeze()
    wrong = differences(ordinary(given), undisturbed(case.subject))
    if wrong:
        return f"fault: afterwards, in calm surroundings: {wrong}"
    if hasattr(given.layer, "explain_path"):
        shape = (1, 2, F) if given.subject.layout == "padded" else (2, 1, F)
        path = given.layer.explain_path(torch.zeros(shape))
        if not path.startswith("native"):
            return f"fault: afterwards, in calm surroundings: {path[:300]}"
    return ""
