"""Texts against the right ones: exact matches, word and character error rates, BLEU."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from unspool.errors import DataError, UnspoolError
from unspool.evaluation.metrics import Metrics


class MissingPackageError(UnspoolError, ImportError):
    """A package that is no dependency of unspool is needed here, and is not installed."""


def text_metrics(predicted: Sequence[str], references: Sequence[str | Sequence[str]]) -> Metrics:
    """exact_match: the share of texts that are right, character by character. wer, cer: the edits (insertions,
    deletions, substitutions) of words between white space, of characters, for each word or character of the right
    texts, by jiwer; they can be above 1. bleu: of the corpus, from 0 to 100, by sacrebleu with its defaults (13a, case
    kept).

    references: a right text for each, or several, any of which will do: errors count from the nearest one.
    Raises `MissingPackageError` without jiwer and sacrebleu, `DataError` where there is nothing to compare.
    """
    jiwer, sacrebleu = error_packages()
    known = [[r] if isinstance(r, str) else list(r) for r in references]
    if len(known) != len(predicted) or not known or not all(known):
        raise DataError(
            f"Each of {len(predicted)} texts needs a right one to be compared with, or a list of such. "
            f"Got {len(known)}."
        )
    words = [_nearest(jiwer.process_words, p, r) for p, r in zip(predicted, known)]
    characters = [_nearest(jiwer.process_characters, p, r) for p, r in zip(predicted, known)]
    most = max(map(len, known))
    streams = [[r[k] if k < len(r) else None for r in known] for k in range(most)]
    return {
        "exact_match": sum(p in r for p, r in zip(predicted, known)) / len(known),
        "wer": float(jiwer.wer(words, list(predicted))),
        "cer": float(jiwer.cer(characters, list(predicted))),
        "bleu": float(sacrebleu.corpus_bleu(list(predicted), streams).score),
    }


def error_packages() -> tuple[Any, Any]:
    """(jiwer, sacrebleu); `MissingPackageError` where one is missing."""
    try:
        return importlib.import_module("jiwer"), importlib.import_module("sacrebleu")
    except ImportError as error:
        raise MissingPackageError(
            f"Word and character errors and BLEU need jiwer and sacrebleu ({error}). "
            "Run: pip install 'unspool[seq2seq]'"
        ) from error


def _nearest(process: Any, predicted: str, references: Sequence[str]) -> str:
    """The right text with the least edits."""
    if len(references) == 1:
        return references[0]

    def edits(reference: str) -> int:
        found = process(reference, predicted)
        return found.substitutions + found.insertions + found.deletions

    return min(references, key=edits)
