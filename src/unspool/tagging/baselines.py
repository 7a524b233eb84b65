"""What a tagger must beat: the most frequent tag of each word, and a linear model on words, affixes and neighbours."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import SGDClassifier

from unspool.errors import DataError
from unspool.evaluation.baselines import classification_baselines
from unspool.tagging.measures import Measures, measure

Sentences = Sequence[Sequence[str]]
Tags = Sequence[Sequence[str | None]]


class MostFrequentTag:
    """A word's most frequent tag in training, ties by the alphabet; of a word that training had not, the most frequent
    tag of words that it had once."""

    name = "most frequent tag"

    def fit(self, X: Sentences, y: Tags) -> MostFrequentTag:
        """Learn from sentences and tags; `DataError` where there is no tag."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for tokens, tags in zip(X, y):
            for token, tag in zip(tokens, tags):
                if tag is not None:
                    counts[token][tag] += 1
        if not counts:
            raise DataError("No token has a tag.")
        self.tags_ = {word: _most_frequent(own) for word, own in counts.items()}
        once = Counter(tag for own in counts.values() if own.total() == 1 for tag in own)
        self.unknown_ = _most_frequent(once or sum(counts.values(), Counter()))
        return self

    def predict(self, X: Sentences) -> list[list[str]]:
        """A tag for each token."""
        return [[self.tags_.get(token, self.unknown_) for token in tokens] for tokens in X]


def _most_frequent(counts: Counter[str]) -> str:
    return min(counts, key=lambda tag: (-counts[tag], tag))


class LinearTagger:
    """Logistic regression, one tag against the others, on each token's `features`, by stochastic gradient descent."""

    name = "linear model"

    def __init__(self, seed: int = 0) -> None:
        self.vectorizer = DictVectorizer(dtype=np.float32)
        self.model = SGDClassifier(
            loss="log_loss", alpha=1e-6, max_iter=12, tol=None, average=True, random_state=seed
        )

    def fit(self, X: Sentences, y: Tags) -> LinearTagger:
        """Learn from sentences and tags."""
        known = [tag for tags in y for tag in tags]
        rows = [row for row, tag in zip(_rows(X), known) if tag is not None]
        targets = np.array([tag for tag in known if tag is not None])
        if len(set(targets.tolist())) < 2:
            raise DataError("The linear model needs two tags or more.")
        self.model.fit(_narrow(self.vectorizer.fit_transform(rows)), targets)
        return self

    def predict(self, X: Sentences) -> list[list[str]]:
        """A tag for each token, each by itself."""
        lengths = [len(tokens) for tokens in X]
        if not sum(lengths):
            return [[] for _ in X]
        found = iter(self.model.predict(_narrow(self.vectorizer.transform(_rows(X)))).tolist())
        return [[next(found) for _ in range(length)] for length in lengths]


def _narrow(matrix: Any) -> Any:
    """Its indices in 32 bits, as scikit-learn's descent wants them."""
    matrix.indices, matrix.indptr = matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32)
    return matrix


def _rows(X: Sentences) -> Iterator[dict[str, Any]]:
    return (features(tokens, i) for tokens in X for i in range(len(tokens)))


def features(tokens: Sequence[str], i: int) -> dict[str, Any]:
    """Of token i: itself, its first and last 1 to 4 characters, its shape, and the two tokens on either side."""
    word, lower = tokens[i], tokens[i].lower()
    found: dict[str, Any] = {"bias": 1, "word": word, "lower": lower, "shape": shape(word)}
    for n in range(1, 5):
        found[f"first {n}"], found[f"last {n}"] = lower[:n], lower[-n:]
    for step in (-2, -1, 1, 2):
        inside = 0 <= i + step < len(tokens)
        found[f"word {step:+}"] = tokens[i + step].lower() if inside else "<end>"
    for step in (-1, 1):
        if 0 <= i + step < len(tokens):
            found[f"shape {step:+}"], found[f"last 3 {step:+}"] = (
                shape(tokens[i + step]),
                tokens[i + step].lower()[-3:],
            )
    return found


def shape(word: str) -> str:
    """ "Xx" of "Paris", "d.d" of "3.14", "x-x" of "so-so": runs of capitals, small letters and digits as one each."""
    kinds = ["X" if c.isupper() else "x" if c.isalpha() else "d" if c.isdigit() else c for c in word]
    return "".join(c for before, c in zip(["", *kinds], kinds) if c != before)


@dataclass(frozen=True)
class Baseline:
    """A fitted baseline of tags, and one of labels of whole sentences, where there are some."""

    name: str
    tagger: MostFrequentTag | LinearTagger
    labeller: Any = None

    def measure(self, X: Sentences, y: Tags, scheme: str | None, labels: Any = None) -> Measures:
        """As `SequenceTagger.measure`."""
        chosen = None if labels is None or self.labeller is None else self.labeller.predict(_texts(X))
        own = None if chosen is None else np.asarray(labels)
        return measure(y, self.tagger.predict(X), scheme, own, chosen)


def baselines(X: Sentences, y: Tags, labels: Any = None, seed: int = 0) -> list[Baseline]:
    """The most frequent tag of a word, with the most frequent label; and the linear model of tags, where there are two
    of them, with TF-IDF and logistic regression for labels. Fitted on the training part."""
    majority = linear = None
    if labels is not None:
        majority, linear = classification_baselines(_texts(X), np.asarray(labels), seed=seed)
    found = [Baseline(MostFrequentTag.name, MostFrequentTag().fit(X, y), majority)]
    if len({tag for tags in y for tag in tags if tag is not None}) > 1:
        found.append(Baseline(LinearTagger.name, LinearTagger(seed).fit(X, y), linear))
    return found


def _texts(X: Sentences) -> list[str]:
    return [" ".join(tokens) for tokens in X]
