"""Tags and labels as users have them, to lists, to numbers, and made legal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from unspool.arrays import as_they_are, check_texts, unwrapped
from unspool.errors import DataError, warn_caller
from unspool.evaluation.spans import parts
from unspool.ragged import Ragged
from unspool.tagging.network import UNKNOWN, Targets
from unspool.tagging.schemes import mended, scheme_of

Tags = list[list[str | None]]


def read_tags(y: Any, sentences: Sequence[Sequence[str]]) -> Tags:
    """A tag (str), or None where it is not known, for each token; `DataError` for anything else, with the row."""
    if y is None:
        raise DataError("y is required to fit: a list of tags for each sentence, as long as it. Got None.")
    if hasattr(y, "to_list"):
        y = y.to_list()
    y = unwrapped(y)
    if isinstance(y, (str, bytes, dict)) or not hasattr(y, "__len__"):
        raise DataError(f"y must be a list of lists of tags. Got {type(y).__name__}.")
    if len(y) != len(sentences):
        raise DataError(f"y must have a row for each of the {len(sentences)} sentences of X. Got {len(y)}.")
    found: Tags = []
    for row, (tags, tokens) in enumerate(zip(y, sentences)):
        if isinstance(tags, (str, Mapping, Set)) or not hasattr(tags, "__iter__"):
            raise DataError(
                f"y must be a list of lists of tags. Row {row} is {type(tags).__name__}: {tags!r:.50}."
            )
        own = list(tags)
        for tag in own:
            if tag is not None and not isinstance(tag, str):
                raise DataError(
                    f"A tag must be a str, or None. Row {row} of y has {type(tag).__name__}: {tag!r:.50}."
                )
        check_texts(own, f"y, row {row}")
        if len(own) != len(tokens):
            raise DataError(
                f"Each token must have a tag. Row {row} has {len(tokens)} tokens and {len(own)} tags: "
                f"{_shown(tokens)} against {_shown(own)}."
            )
        found.append([None if tag is None else str(tag) for tag in own])
    return found


def read_labels(labels: Any, count: int) -> np.ndarray:
    """(count,) of one type; `DataError` for anything else."""
    array = as_they_are(labels.to_list() if hasattr(labels, "to_list") else labels)
    if array.shape != (count,):
        raise DataError(f"labels must have one for each of the {count} sentences. Got shape {array.shape}.")
    if array.dtype.kind not in "USiub" and not all(isinstance(label, str) for label in array):
        raise DataError(f"labels must be strings or whole numbers, none missing. Got {array.dtype}.")
    return array.astype(str) if array.dtype.kind == "O" else array


def rows_of(
    sentences: list[list[str]], tags: Tags, labels: np.ndarray | None, rows: np.ndarray
) -> tuple[list[list[str]], Tags, np.ndarray | None]:
    """The same three of some rows."""
    return [sentences[i] for i in rows], [tags[i] for i in rows], None if labels is None else labels[rows]


def decide_scheme(asked: str | None, tags: Tags) -> str | None:
    """What `scheme` stands for; `DataError` where a tag is not of the scheme that was asked for."""
    known = {tag for row in tags for tag in row if tag is not None}
    if asked == "auto":
        found = scheme_of(known)
        if found is None and _like_spans(known):
            shown = next(tag for tag in sorted(known) if len(tag) > 1)
            warn_caller(
                f"The tags look like those of spans, such as {shown!r}, but are neither BIO nor IOBES, and are learnt "
                "one by one. For spans write them as B-X, I-X, E-X and S-X, and O outside (of BILOU: S for U, E for L)."
            )
        return found
    allowed = {"BIO": "OBI", "IOBES": "OBIES"}.get(asked or "", "")
    for row, own in enumerate(tags if asked else []):
        for tag in own:
            if tag is not None and parts(tag)[0] not in allowed:
                raise DataError(
                    f"The tags of scheme={asked!r} start with {', '.join(allowed)}. Row {row} has {tag!r}."
                )
    return asked


def _like_spans(tags: set[str]) -> bool:
    """Whether all are outside or have the letter of a part before or behind, in another way than ours."""
    inside = [tag for tag in tags if tag.upper() != "O"]
    letters = "BILUESMW"
    before = [tag[:1].upper() in letters and tag[1:2] in ("-", "_") for tag in inside]
    behind = [tag[-1:].upper() in letters and tag[-2:-1] in ("-", "_") for tag in inside]
    return bool(inside) and len(inside) < len(tags) and (all(before) or all(behind))


def in_scheme(tags: Tags, scheme: str | None, warn: bool = False) -> Tags:
    """The tags, where they break their scheme rewritten to the same spans; rows with a None stay as they are."""
    if scheme is None:
        return tags
    rewritten: Tags = [
        list(mended([tag for tag in row if tag is not None], scheme)) if None not in row else row
        for row in tags
    ]
    changed = [row for row, (a, b) in enumerate(zip(tags, rewritten)) if a != b]
    if changed and warn:
        first = changed[0]
        warn_caller(
            f"The tags of {len(changed)} of {len(tags)} rows are not quite {scheme}, such as those of row {first}: "
            f"{_shown(tags[first])}. They are learnt as the same spans in {scheme}: {_shown(rewritten[first])}."
        )
    return rewritten


@dataclass(frozen=True)
class Numbers:
    """Tags and labels to their numbers, from the training part. tags (K,), labels (C,): sorted; no labels: None."""

    tags: np.ndarray
    labels: np.ndarray | None

    @classmethod
    def fit(cls, tags: Tags, labels: np.ndarray | None) -> Numbers:
        """Of the training part; `DataError` where there is nothing to learn."""
        known = sorted({tag for row in tags for tag in row if tag is not None})
        if not known:
            raise DataError("No token of the training part has a tag.")
        if len(known) == 1:
            warn_caller(
                f"All tokens of the training part have the tag {known[0]!r}: there is nothing to learn."
            )
        found = None if labels is None else np.unique(labels)
        if found is not None and len(found) < 2:
            raise DataError(
                f"labels must be of two or more kinds. All are {found[0].item()!r}: leave them out."
            )
        return cls(np.array(known), found)

    def encode(self, tags: Tags, labels: np.ndarray | None, warn: bool = False) -> Ragged | Targets:
        """Targets; -1 for a tag or label that training did not have, or that is not known."""
        number: dict[str | None, int] = {tag: k for k, tag in enumerate(self.tags.tolist())}
        rows = [torch.tensor([number.get(tag, UNKNOWN) for tag in row], dtype=torch.int64) for row in tags]
        encoded = Ragged.from_list(rows) if rows else Ragged(torch.zeros(0, dtype=torch.int64), [0])
        encoded = encoded.to(torch.int64)
        strange = Counter(tag for row in tags for tag in row if tag is not None and tag not in number)
        if strange and warn:
            warn_caller(
                f"{sum(strange.values())} tokens of the validation part have a tag that no training row has, such as "
                f"{strange.most_common(1)[0][0]!r}. They count as wrong in its score, and for nothing in its loss."
            )
        if labels is None or self.labels is None:
            return encoded
        place = {label: k for k, label in enumerate(self.labels.tolist())}
        return Targets(encoded, torch.tensor([place.get(label, UNKNOWN) for label in labels.tolist()]))

    def tags_of(self, numbers: Ragged) -> list[list[str]]:
        """The tags of numbers (N,)."""
        names = self.tags.tolist()
        return [[names[k] for k in row.tolist()] for row in numbers]


def _shown(row: Sequence[Any]) -> str:
    return " ".join(map(str, row[:8])) + (" ..." if len(row) > 8 else "")
