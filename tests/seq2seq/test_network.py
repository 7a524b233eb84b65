"""The whole network against one of torch.nn's layers, pair by pair; single steps against whole targets."""

from __future__ import annotations

import pytest
import torch
from tests.seq2seq.conftest import network
from tests.seq2seq.test_attention import alone

from unspool import Ragged, cells
from unspool.nn import Recurrent
from unspool.seq2seq.network import HandOver

SOURCE = Ragged.from_list([torch.tensor(row) for row in ([2, 3, 4], [1], [4, 2, 2, 3, 1])])
TOKENS = Ragged.from_list([torch.tensor(row) for row in ([0, 2], [0, 3, 3, 2], [0])])


def of_torch(layers, bidirectional: bool) -> torch.nn.LSTM:
    """torch's own LSTM with the weights of `layers`."""
    first = layers[0].cell
    made = torch.nn.LSTM(
        first.input_size, first.hidden_size, len(layers), batch_first=True, bidirectional=bidirectional
    )
    with torch.no_grad():
        for depth, layer in enumerate(layers):
            for cell, tail in zip(layer.cells(), ("", "_reverse")):
                for name, weight in cell.named_parameters():
                    part, _, where = name.partition("_")
                    target = f"{part}_{where}_l{depth}{tail}"
                    getattr(made, target).copy_(weight)
    return made


def reference(net, source: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """(T, V): the scores of one pair, by torch's layers."""
    encoder = of_torch(list(net.encoder.layers), True)
    m, (h, c) = encoder(net.source_embedding(source)[None])
    decoders = [net.decoder.layers[0], *([] if net.upper is None else net.upper.layers)]
    x = net.embedding(tokens)[None]
    for depth, layer in enumerate(decoders):
        both = [torch.cat([part[2 * depth], part[2 * depth + 1]], 1) for part in (h, c)]
        linear = net.hand_over[depth].linear
        start = (torch.tanh(linear[0](both[0])), linear[1](both[1]))
        s, _ = of_torch([layer], False)(x, tuple(part[None] for part in start))
        if depth == 0:
            context = alone(net.attention, s[0], m[0])
            s = torch.tanh(torch.cat([context, s[0]], 1) @ net.combine.weight.T)[None]
        x = s
    return net.head(x[0])


@pytest.mark.parametrize("attention", ["multiplicative", "additive"])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_scores_and_gradients_are_those_of_torch_pair_by_pair(num_layers, attention):
    net = network(num_layers=num_layers, attention=attention)
    ours = net(SOURCE, TOKENS)
    theirs = torch.cat([reference(net, s, t) for s, t in zip(SOURCE, TOKENS)])
    torch.testing.assert_close(ours.values, theirs, atol=1e-5, rtol=1e-5)
    weights = [p for n, p in net.named_parameters() if not any(x in n for x in (".cell.", ".reverse_cell."))]
    factor = torch.randn(theirs.shape)
    found = torch.autograd.grad((ours.values * factor).sum(), weights)
    expected = torch.autograd.grad((theirs * factor).sum(), weights)
    for a, b in zip(found, expected):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def stepped(net, source: Ragged, tokens: Ragged) -> list[torch.Tensor]:
    """The scores of each pair, a token at a time."""
    found = []
    for s, t in zip(source, tokens):
        memory, state = net.encode(Ragged.from_list([s]))
        states, rows = [own[0] for own in state], []
        for token in t:
            scores, states = net.step(net.embedding.weight[token][None], memory, states)
            rows.append(scores)
        found.append(torch.cat(rows))
    return found


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "slstm", "mlstm", "phased_lstm", "gru_d", "min_gru"])
def test_steps_are_the_whole_target_for_any_cell(cell):
    net = network(cell, num_layers=2)
    with torch.inference_mode():
        whole = net(SOURCE, TOKENS)
        for ours, theirs in zip(stepped(net, SOURCE, TOKENS), whole):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_a_pair_does_not_depend_on_the_others():
    net = network(num_layers=2)
    with torch.inference_mode():
        whole = net(SOURCE, TOKENS)
        for i in range(3):
            torch.testing.assert_close(net(SOURCE[[i]], TOKENS[[i]])[0], whole[i], atol=1e-6, rtol=0)


def test_the_end_of_a_target_does_not_matter_before_it():
    net = network(num_layers=2)
    longer = Ragged.from_list([torch.cat([row, torch.tensor([3, 1])]) for row in TOKENS])
    with torch.inference_mode():
        for short, long in zip(net(SOURCE, TOKENS), net(SOURCE, longer)):
            torch.testing.assert_close(long[: len(short)], short, atol=1e-6, rtol=0)


def test_every_layer_runs_natively():
    net = network(num_layers=2)
    for stack, width in ((net.encoder, 6), (net.decoder, 6), (net.upper, 5)):
        assert stack.explain_path(Ragged.from_list([torch.zeros(3, width)])) == "native"


def test_frozen():
    net = network(num_layers=2)
    with torch.inference_mode():
        expected = net(SOURCE, TOKENS).values
        frozen = net.freeze()
        torch.testing.assert_close(frozen(SOURCE, TOKENS).values, expected, atol=1e-6, rtol=0)
        for ours, theirs in zip(stepped(frozen, SOURCE, TOKENS), net(SOURCE, TOKENS)):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
        rough = net.freeze("int8")(SOURCE, TOKENS).values
        assert 0 < (rough - expected).abs().max() < 0.5


def test_only_output_and_cell_are_handed_over():
    for name, parts in (
        ("lstm", [0, 1]),
        ("gru", [0]),
        ("slstm", [0, 1]),
        ("mlstm", [0]),
        ("phased_lstm", [0, 1]),
    ):
        make = cells.get(name)
        encoder, decoder = Recurrent(make(3, 4), bidirectional=True), Recurrent(make(3, 4))
        assert HandOver(encoder, decoder).parts == parts, name


def test_a_sequence_without_tokens_starts_from_the_encoders_start():
    net = network()
    empty = Ragged.from_list([torch.zeros(0, dtype=torch.int64), torch.tensor([2])])
    tokens = Ragged.from_list([torch.tensor([0, 1]), torch.tensor([0])])
    with torch.inference_mode():
        scores = net(empty, tokens)
        assert scores.values.isfinite().all()
        alone = net(empty[[0]], tokens[[0]])
        torch.testing.assert_close(alone.values, scores[0], atol=1e-6, rtol=0)
