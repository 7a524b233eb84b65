"""Word vectors from the training texts themselves: which words stand near which, and the main directions of that."""

from __future__ import annotations

import numpy as np

from unspool.errors import DataError, check_int
from unspool.ragged import Ragged

SMOOTHING = 0.75  # power of a context's frequency
WEIGHTING = 0.5  # power of a direction's strength


def word_vectors(
    ids: Ragged, vocabulary_size: int, dimensions: int, window: int = 5, seed: int = 0
) -> np.ndarray:
    """(vocabulary_size, dimensions) float32: positive pointwise mutual information, factorised.

    ids: texts as numbers (N,) below vocabulary_size. Two words of a text that are d <= window apart count 1/d.
    PPMI(w, c) = max(0, log(p(w, c) / (p(w) p(c)^0.75 / Σ p^0.75))), U S Vᵀ its truncated SVD, rows U S^0.5
    (Levy, Goldberg, Dagan 2015, "Improving distributional similarity with lessons learned from word embeddings",
    TACL 3, eq. 3 and 6). A word without neighbours, and directions that the texts do not fill, are zeros.
    `DataError` for ids outside the vocabulary.
    """
    import scipy.sparse as sp
    from sklearn.utils.extmath import randomized_svd

    check_int("word_vectors", "dimensions", dimensions)
    check_int("word_vectors", "window", window)
    words, offsets = ids.values.numpy(), ids.offsets.numpy()
    if len(words) and not 0 <= words.min() <= words.max() < vocabulary_size:
        raise DataError(
            f"ids must be in [0, {vocabulary_size}). Got {int(words.min())} to {int(words.max())}."
        )
    text = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    square = (vocabulary_size, vocabulary_size)
    counts = sp.csr_matrix(square)
    for apart in range(1, min(window, len(words) - 1) + 1):
        same = text[apart:] == text[:-apart]
        left, right = words[:-apart][same], words[apart:][same]
        counts += sp.coo_matrix((np.full(len(left), 1 / apart), (left, right)), square).tocsr()
    counts = (counts + counts.T).tocoo()
    result = np.zeros((vocabulary_size, dimensions), np.float32)
    if counts.nnz == 0:
        return result
    often = np.asarray(counts.sum(1)).ravel()
    context = often**SMOOTHING / (often**SMOOTHING).sum()
    information = np.log(counts.data / (often[counts.row] * context[counts.col]))
    near = information > 0
    matrix = sp.csr_matrix((information[near], (counts.row[near], counts.col[near])), square)
    rank = min(dimensions, vocabulary_size)
    left, strength, _ = randomized_svd(matrix, rank, n_iter=4, random_state=seed)
    result[:, :rank] = left * strength**WEIGHTING
    return result
