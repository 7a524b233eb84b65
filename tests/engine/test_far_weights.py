"""Weights larger than a second cache: tiles of several blocks of rows give each sequence the bits that it has alone."""

from __future__ import annotations

import pytest
import torch

import unspool.nn
from unspool import Ragged

LENGTHS = [int(n) for n in "3124132241321423124321342213412314231"]


@pytest.mark.parametrize(("features", "units"), [(20, 300), (530, 258)])  # of states, of inputs
def test_each_sequence_has_the_bits_that_it_has_alone(features: int, units: int) -> None:
    torch.manual_seed(0)
    layer = unspool.nn.LSTM(features, units, batch_first=True)
    sequences = [torch.randn(n, features) for n in LENGTHS]
    with torch.no_grad():
        together = layer(Ragged.from_list(sequences))[0]
        for at in (0, 1, 12, 13, 24, 36):
            alone = layer(sequences[at][None])[0][0]
            assert torch.equal(together[at], alone)


def test_gradients_are_torchs() -> None:
    torch.manual_seed(1)
    ours, theirs = unspool.nn.LSTM(20, 300), torch.nn.LSTM(20, 300)
    ours.load_state_dict(theirs.state_dict())
    padded = torch.randn(max(LENGTHS), len(LENGTHS), 20)
    for layer in (ours, theirs):
        packed = torch.nn.utils.rnn.pack_padded_sequence(padded, LENGTHS, enforce_sorted=False)
        layer(packed)[0].data.square().sum().backward()
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs.get_parameter(name).grad, rtol=1e-4, atol=1e-4)
