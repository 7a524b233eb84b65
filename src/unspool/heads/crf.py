"""A linear-chain conditional random field: the score of a sequence of tags as a whole.

Lafferty, McCallum, Pereira 2001. With emissions e, transitions A, start s and end z,

    score(y) = s[y_1] + Σ_t e_t[y_t] + Σ_{t>1} A[y_{t-1}, y_t] + z[y_T],    p(y) = exp score(y) / Σ_y' exp score(y')
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from unspool.errors import DataError, bad_parameter, check_choice, check_int, described
from unspool.heads.crf_sums import log_partition
from unspool.heads.steps import TimeMajor
from unspool.ragged import Ragged

REDUCTIONS = ("none", "sum", "mean", "token_mean")
ANY = -1
CACHED = 2**17  # numbers


class CRF(nn.Module):
    """Transitions between tags, learnt, on ragged batches: no mask. The equations stand at the top of this file.

    num_tags: K. legal (K, K) bool: whether tag j may follow tag i, at [i, j]; first, last (K,) bool: whether a
    sequence may start, and end, with a tag. None: any. Illegal paths have probability 0: they are never decoded and
    count for nothing in the likelihood. Parameters: `transitions` (K, K), `start_transitions` (K,),
    `end_transitions` (K,), at first uniform in ±0.1. Sums are in float64, whatever the emissions.

    Raises `InvalidParameterError` where no tag may be a sequence by itself, or none may follow one; and `DataError` at
    a call for emissions that are not a Ragged (N, K) of floats.
    """

    legal: Tensor
    first: Tensor
    final: Tensor

    def __init__(self, num_tags: int, legal: Any = None, first: Any = None, last: Any = None) -> None:
        super().__init__()
        self.num_tags = k = check_int("CRF", "num_tags", num_tags)
        self.register_buffer("legal", _mask("legal", legal, (k, k)), persistent=False)
        self.register_buffer("first", _mask("first", first, (k,)), persistent=False)
        self.register_buffer("final", _mask("last", last, (k,)), persistent=False)
        if not bool((self.first & self.final).any()):
            bad_parameter(
                "CRF", "first", "True for some tag that may also end: one word is a sequence", first
            )
        if not bool(self.legal.any(1).all()):
            bad_parameter("CRF", "legal", "True somewhere in each row: some tag must follow each", legal)
        self.transitions = nn.Parameter(torch.empty(k, k))
        self.start_transitions = nn.Parameter(torch.empty(k))
        self.end_transitions = nn.Parameter(torch.empty(k))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in ±0.1."""
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.1, 0.1)

    def forward(self, emissions: Ragged, tags: Ragged, reduction: str = "sum") -> Tensor:
        """The log-likelihood of tags, a Ragged (N,) of ints, given emissions (N, K), in the emissions' dtype.

        A tag of -1 is not known: the likelihood is then of all paths that agree with the others.
        reduction: "none" (B,), 0 for an empty sequence; "sum"; "mean" over the sequences; "token_mean" over all steps.
        `DataError` for a sequence of tags that has an illegal transition, or other lengths than the emissions.
        """
        check_choice("CRF", "reduction", reduction, REDUCTIONS)
        self._check(emissions)
        self._check_tags(emissions, tags)
        steps = TimeMajor(emissions)
        e, y = emissions.values[steps.index].double(), tags.values[steps.index]
        found = self._score(e, y, steps) - log_partition(e, *self._weights(), steps)
        if reduction == "none":
            all_of_them = found.new_zeros(len(emissions)).index_copy(0, steps.sequences, found)
            return all_of_them.to(emissions.values.dtype)
        total = found.sum().to(emissions.values.dtype)
        if reduction == "sum":
            return total
        return total / max(1, len(emissions) if reduction == "mean" else len(emissions.values))

    def log_partition(self, emissions: Ragged) -> Tensor:
        """(B,) float64: log Σ exp score over all legal paths; 0 for an empty sequence."""
        self._check(emissions)
        steps = TimeMajor(emissions)
        found = log_partition(emissions.values[steps.index].double(), *self._weights(), steps)
        return found.new_zeros(len(emissions)).index_copy(0, steps.sequences, found)

    @torch.no_grad()
    def decode(self, emissions: Ragged) -> Ragged:
        """The path of the largest score (Viterbi) of each sequence, a Ragged (N,) of int64."""
        self._check(emissions)
        steps = TimeMajor(emissions)
        e = emissions.values[steps.index].double()
        transitions, start, end = self._weights()
        into = transitions.T.contiguous()  # (K, K): to, from
        part = max(1, CACHED // into.numel())
        best = torch.empty_like(e)  # the largest score of a path that ends at a step with a tag
        for time in range(len(steps)):
            here, rows = steps.at(e, time), steps.at(best, time)
            if time:
                before = steps.at(best, time - 1)[: len(here)]
                # Some rows at a time, whose sums stay in the cache: 256 rows of 127 tags took 4 ms a step, at once 20.
                for i in range(0, len(here), part):
                    torch.amax(before[i : i + part, None, :] + into, 2, out=rows[i : i + part])
                rows += here
            else:
                torch.add(here, start, out=rows)
        path = torch.empty(len(e), dtype=torch.int64, device=e.device)
        path[steps.last] = (best[steps.last] + end).argmax(1)
        for time in reversed(range(1, len(steps))):
            after = steps.at(path, time)
            before = steps.at(best, time - 1)[: len(after)]
            steps.at(path, time - 1)[: len(after)] = (before + into[after]).argmax(1)
        return emissions.with_values(torch.empty_like(path).index_copy(0, steps.index, path))

    def marginals(self, emissions: Ragged) -> Ragged:
        """p(y_t = k), a Ragged (N, K) of float64: of each step over all legal paths. Without gradients."""
        self._check(emissions)
        with torch.inference_mode(False), torch.enable_grad():
            values = emissions.values.detach().clone().double().requires_grad_()
            total = self.log_partition(Ragged(values, emissions.offsets)).sum()
            (found,) = torch.autograd.grad(total, values)
        return emissions.with_values(found)

    def extra_repr(self) -> str:
        return f"{self.num_tags}, {int((~self.legal).sum())} transitions illegal"

    # --- helpers

    def _weights(self) -> tuple[Tensor, Tensor, Tensor]:
        """Transitions, start and end in float64, -inf where illegal."""
        pairs = (
            (self.transitions, self.legal),
            (self.start_transitions, self.first),
            (self.end_transitions, self.final),
        )
        a, s, z = (weight.double().masked_fill(~allowed, -torch.inf) for weight, allowed in pairs)
        return a, s, z

    def _score(self, e: Tensor, y: Tensor, steps: TimeMajor) -> Tensor:
        """(S,): of the paths y (N,); where some are not known, the log of the sum of those that agree."""
        if bool((y == ANY).any()):
            other = (y[:, None] != ANY) & (y[:, None] != torch.arange(self.num_tags, device=y.device))
            return log_partition(e.masked_fill(other, -torch.inf), *self._weights(), steps)
        first, previous = len(steps.sequences), steps.previous
        score = e.gather(1, y[:, None])[:, 0]
        moves = self.transitions.double()[y[previous], y[first:]]
        starts, ends = (
            self.start_transitions.double()[y[:first]],
            self.end_transitions.double()[y[steps.last]],
        )
        return (starts + ends).index_add(0, steps.owner, score).index_add(0, steps.owner[first:], moves)

    def _check(self, emissions: Any) -> None:
        right = isinstance(emissions, Ragged) and emissions.values.shape[1:] == (self.num_tags,)
        if not right or not emissions.values.is_floating_point():
            got = emissions.values if isinstance(emissions, Ragged) else emissions
            raise DataError(
                f"The emissions of CRF must be a Ragged of floats (N, {self.num_tags}). Got {described(got)}."
            )

    def _check_tags(self, emissions: Ragged, tags: Any) -> None:
        if not isinstance(tags, Ragged) or tags.values.dim() != 1 or tags.values.dtype != torch.int64:
            got = tags.values if isinstance(tags, Ragged) else tags
            raise DataError(f"The tags of CRF must be a Ragged (N,) of int64. Got {described(got)}.")
        if not torch.equal(tags.offsets, emissions.offsets):
            raise DataError(
                "The tags of CRF must have the lengths of the emissions. "
                f"Got {len(tags)} sequences, {len(tags.values)} tags for {len(emissions)}, {len(emissions.values)}."
            )
        y = tags.values
        if len(y) and not (int(y.min()) >= ANY and int(y.max()) < self.num_tags):
            raise DataError(
                f"The tags of CRF must be in [0, {self.num_tags}), or -1 for one that is not known. "
                f"Got {int(y.min())} to {int(y.max())}."
            )
        illegal = self.illegal(tags)
        if len(illegal):
            i = int(illegal[0])
            raise DataError(
                f"The tags of sequence {i} of the batch have a transition that is not legal ({tags[i].tolist()[:20]}), "
                f"as do {len(illegal) - 1} others. Mend the tags, or allow it in `legal`, `first` or `last`."
            )

    def illegal(self, tags: Ragged) -> Tensor:
        """The numbers of the sequences, sorted, whose known tags (N,) break `legal`, `first` or `last`."""
        y, offsets = tags.values, tags.offsets.to(tags.values.device)
        owner = tags.owners()
        known = y != ANY
        same = owner[1:] == owner[:-1]
        bad = torch.zeros_like(known)
        bad[1:] = same & known[1:] & known[:-1] & ~self.legal[y[:-1], y[1:]]
        full = offsets[1:] > offsets[:-1]
        starts, ends = offsets[:-1][full], offsets[1:][full] - 1
        bad[starts] |= known[starts] & ~self.first[y[starts]]
        bad[ends] |= known[ends] & ~self.final[y[ends]]
        return owner[bad].unique()


def _mask(name: str, given: Any, shape: tuple[int, ...]) -> Tensor:
    if given is None:
        return torch.ones(shape, dtype=torch.bool, device="cpu")
    mask = torch.as_tensor(given, device="cpu").clone()
    if mask.dtype != torch.bool or mask.shape != shape:
        bad_parameter("CRF", name, f"bools of shape {shape}", f"{mask.dtype} of shape {tuple(mask.shape)}")
    return mask
