"""Gates and states over tokens, against the layers' own outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from unspool import Ragged, SequenceRegressor, cells, nn
from unspool.errors import DataError, InvalidParameterError
from unspool.study import activations, layer_input, plot_activations

X = torch.randn(9, 5, generator=torch.Generator().manual_seed(0))


def output(layer: Any) -> np.ndarray:
    with torch.no_grad():
        return layer(Ragged.from_list([X]))[0].values.numpy()


def seeded(make: Any, *args: Any, **options: Any) -> Any:
    torch.manual_seed(1)
    return make(*args, **options)


@pytest.mark.parametrize("name", cells.names())
def test_the_state_is_the_layers_output_in_both_directions(name: str) -> None:
    layer = seeded(nn.Recurrent, cells.get(name)(5, 4), bidirectional=True)
    expected = output(layer)
    for backward in (False, True):
        found = activations(layer, X, backward=backward)
        assert all(len(value) == 9 and value.dtype == np.float64 for value in found.values())
        assert found["h"].shape == (9, 4)
        np.testing.assert_allclose(found["h"], expected[:, 4 * backward :][:, :4], atol=1e-5)


def test_rows_of_the_backward_direction_belong_to_their_tokens() -> None:
    """Its first step is the last token: there the LSTM's c is i ⊙ g of that token alone."""
    layer = seeded(nn.LSTM, 5, 4, bidirectional=True)
    found = activations(layer, X, backward=True)
    np.testing.assert_allclose(found["c"][-1], (found["i"] * found["g"])[-1], rtol=1e-12)
    w, b = layer.weight_ih_l0_reverse, layer.bias_ih_l0_reverse + layer.bias_hh_l0_reverse
    first = torch.sigmoid(X[-1] @ w[:4].T + b[:4]).detach().numpy()
    np.testing.assert_allclose(found["i"][-1], first, rtol=1e-5)


@pytest.mark.parametrize("connection", [None, "residual", "highway"])
def test_a_layer_of_a_stack_gets_what_the_layers_below_give(connection: str | None) -> None:
    stack = seeded(
        nn.Stack, "gru", 5, 4, num_layers=3, bidirectional=True, connection=connection, dropout=0.5
    )
    third = np.concatenate([activations(stack, X, 3, backward)["h"] for backward in (False, True)], axis=1)
    stack.eval()
    below = layer_input(stack, [X], 3)
    np.testing.assert_allclose(third, output_of(stack.layers[2], below), atol=1e-5)
    if connection is None:
        np.testing.assert_allclose(third, output(stack), atol=1e-5)
    if connection == "residual":
        np.testing.assert_allclose(third + below.values.numpy(), output(stack), atol=1e-5)


def output_of(layer: Any, x: Ragged) -> np.ndarray:
    with torch.no_grad():
        return layer(x)[0].values.numpy()


def test_drop_in_layers() -> None:
    for layer, parts in ((nn.LSTM(5, 4, 2, bidirectional=True, dropout=0.5), 2), (nn.GRU(5, 4, 2), 1)):
        directions = (False, True) if layer.bidirectional else (False,)
        found = [activations(layer, X, 2, backward) for backward in directions]
        layer.eval()
        np.testing.assert_allclose(np.concatenate([f["h"] for f in found], axis=1), output(layer), atol=1e-5)
        assert list(found[0])[-parts:] == ["h", "c"][:parts]


def test_zoneout_learned_starts_and_a_layer_in_training_mode() -> None:
    """In evaluation zoneout mixes by its rate; the layer itself stays in training mode."""
    layer = seeded(nn.Recurrent, cells.GRUCell(5, 4), zoneout=0.25, initial_state="learned")
    torch.nn.init.normal_(layer.learned_state[0])
    found = activations(layer, X)
    assert layer.training and list(found) == ["r", "z", "n", "h"]
    np.testing.assert_allclose(found["h"], output(layer.eval()), atol=1e-5)
    h = np.concatenate([layer.learned_state[0].detach().numpy()[None], found["h"][:-1]])
    new = (1 - found["z"]) * found["n"] + found["z"] * h
    np.testing.assert_allclose(found["h"], 0.25 * h + 0.75 * new, atol=1e-12)


def test_an_estimator_on_a_text_on_ids_and_on_a_series() -> None:
    settings: dict[str, Any] = {
        "hidden_size": 4,
        "embedding_dim": 3,
        "epochs": 1,
        "random_state": 0,
        "verbose": 0,
    }
    texts = ["a b c", "b c", "c a a b", "a"]
    model = SequenceRegressor(**settings, bidirectional=True, num_layers=2).fit(texts, [1.0, 2.0, 3.0, 4.0])
    found = activations(model, "c b a", layer=2, backward=True)
    ids = model.input_.encoder.encode(["c b a"])
    with torch.no_grad():
        out, _ = model.network_.stack(ids.with_values(model.network_.embedding(ids.values)))
    np.testing.assert_allclose(found["h"], out.values[:, 4:].numpy(), atol=1e-6)
    ids_model = SequenceRegressor(**settings).fit([[1, 2], [3], [2, 2, 1]], [1.0, 2.0, 3.0])
    assert activations(ids_model, [1, 3, 2, 2])["f"].shape == (4, 4)
    series = SequenceRegressor(**settings).fit(
        [np.eye(3), np.ones((2, 3)), np.zeros((4, 3))], [1.0, 2.0, 3.0]
    )
    assert activations(series, np.ones((6, 3)))["o"].shape == (6, 4)
    with (
        pytest.warns(UserWarning, match="hold no word"),
        pytest.raises(DataError, match="The sequence is empty"),
    ):
        activations(model, "")


def test_what_there_is_not() -> None:
    layer = nn.LSTM(5, 4)
    with pytest.raises(InvalidParameterError, match=r"'layer' .* from 1 to 1\. Got 2"):
        activations(layer, X, layer=2)
    with pytest.raises(InvalidParameterError, match=r"'backward' .* False for a layer with one direction"):
        activations(layer, X, backward=True)
    with pytest.raises(
        DataError, match=r"must be a tensor \(steps, features\). Got a tensor of shape \(1, 9, 5\)"
    ):
        activations(layer, X[None])
    with pytest.raises(DataError, match=r"takes a fitted .*, a layer of unspool\.nn or a cell\. Got a str"):
        activations("lstm", X)


def test_heat_map_colours_what_is_large(tmp_path) -> None:
    """A gate that is open for the right half of the tokens only: dark there, white on the left."""
    gate = np.zeros((10, 6))
    gate[5:] = 1.0
    plot_activations(tmp_path / "a.png", {"f": gate, "h": gate - 0.5}, [f"token{k}" for k in range(10)], "t")
    picture = imread(tmp_path / "a.png")[..., :3]
    upper = picture[: picture.shape[0] // 2]
    dark = np.isclose(upper, np.array([8, 48, 107]) / 255, atol=0.02).all(
        axis=2
    )  # the end of the colours "Blues"
    columns = np.nonzero(dark.sum(axis=0) > 40)[0]
    main = columns[columns < 0.85 * picture.shape[1]]  # the rest is the colour bar
    assert len(main) and main.min() > 0.4 * picture.shape[1]
    with pytest.raises(DataError, match=r"one token for each of the 10 steps\. Got 1"):
        plot_activations(tmp_path / "b.png", {"f": gate}, ["one"])
    long = {"f": np.tile(gate, (30, 1))}
    plot_activations(tmp_path / "long.png", long, ["$", " "] * 150)
    assert imread(tmp_path / "long.png").shape[1] <= 18.0 * 130
