"""The study on disk: optuna's journal, lines of JSON in one file, written by one process; nothing in it is run."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unspool.errors import ModelFileError, UnspoolError
from unspool.files import held
from unspool.tuning.trials import Outcome

FILE, NAME, FORMAT = "study.journal", "unspool tune", "unspool tuning study"


class MissingError(UnspoolError, ImportError):
    """Something that is asked for is not installed."""


def optuna() -> Any:
    """The library, silent; `MissingError` where it is not installed."""
    try:
        import optuna
    except ImportError:
        raise MissingError(
            "unspool tune needs optuna: pip install 'unspool[tune]', or pip install optuna."
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def sampler(seed: int, jobs: int) -> Any:
    """Tree-structured Parzen estimators (Bergstra et al. 2011), after ten random draws; trials that are going on count
    as bad, so that those side by side differ."""
    library = optuna()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", library.exceptions.ExperimentalWarning)
        return library.samplers.TPESampler(seed=seed, constant_liar=jobs > 1)


class _Held:
    """For optuna a lock that is always had: `held` holds the file as long as the study is open."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        return


@contextmanager
def opened(folder: Path | None, facts: dict[str, Any]) -> Iterator[Any]:
    """The optuna study of `facts` in `folder`, made where there is none; None: in memory.

    Raises `ModelFileError` where the file is damaged, of another search, or in use.
    """
    library = optuna()
    facts = json.loads(json.dumps({"format": FORMAT, **facts}))
    if folder is None:
        yield _study(library, None, facts, "the study in memory")
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    with (
        open(path, "ab") as file,
        held(file, f"Another search is writing to {str(path)!r}. Wait for it, or end it."),
    ):
        _cut_torn_line(path)
        try:
            backend = library.storages.journal.JournalFileBackend(str(path), lock_obj=_Held())
            storage = library.storages.JournalStorage(backend)
            study = _study(library, storage, facts, str(path))
            _check(study)
        except UnspoolError:
            raise
        except OSError:
            raise
        except Exception as error:  # whatever its replay stumbles over
            what = f"{type(error).__name__}: {error}"
            raise ModelFileError(
                f"{str(path)!r} is not the study of a search, or is damaged ({what}). "
                "Remove it, or choose another folder."
            ) from error
        yield study


def _study(library: Any, storage: Any, facts: dict[str, Any], where: str) -> Any:
    names = [] if storage is None else library.study.get_all_study_names(storage)
    if names and names != [NAME]:
        raise ModelFileError(
            f"{where!r} holds a study of something else ({names[0]!r}). Choose another folder."
        )
    study = library.create_study(study_name=NAME, storage=storage, direction="maximize", load_if_exists=True)
    found = study.user_attrs.get("facts")
    if found is None:
        if study.trials:
            raise ModelFileError(f"{where!r} does not say what was searched. Choose another folder.")
        study.set_user_attr("facts", facts)
        return study
    for name in {**facts, **found}:
        if found.get(name) != facts.get(name):
            raise ModelFileError(
                f"{where!r} holds another search: its {name!r} is {_short(found.get(name))}, and this one's is "
                f"{_short(facts.get(name))}. Choose another folder, or remove it."
            )
    return study


def _check(study: Any) -> None:
    """What is read of the study later; it raises here, and not then."""
    spent, looked = study.user_attrs.get("spent", 0.0), study.user_attrs.get("looked", [])
    if type(spent) not in (int, float) or not all(n is None or type(n) is int for n in looked):
        raise ValueError(f"no search spent {spent!r} or looked at {looked!r}")
    for name, value in study.user_attrs.items():
        if name == "default" or name.startswith("repeat "):
            Outcome.read(value)
    for trial in study.get_trials(deepcopy=False):
        if "state" in trial.user_attrs:
            Outcome.read(trial.user_attrs, [*trial.intermediate_values.values()])


def _cut_torn_line(path: Path) -> None:
    """What a kill in the middle of a write left behind: a last line without its end."""
    data = path.read_bytes()
    if not data or data.endswith(b"\n"):
        return
    whole = data.rfind(b"\n") + 1
    if b'"op_code"' not in data[: whole or None].split(b"\n", 1)[0]:
        raise ModelFileError(
            f"{str(path)!r} is not the study of a search. Remove it, or choose another folder."
        )
    with open(path, "r+b") as file:
        file.truncate(whole)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]}...{text[-1]}"
