"""torch's weights, from its own layers, state_dicts and files, give torch's numbers."""

from __future__ import annotations

import os
import pickle
import re
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import unspool
from unspool.errors import DataError, InvalidParameterError, ModelFileError
from unspool.importing import from_torch, model_of

LAYERS: dict[str, Any] = {
    "lstm": lambda: torch.nn.LSTM(3, 4),
    "deep": lambda: torch.nn.LSTM(3, 4, num_layers=3, bidirectional=True),
    "projected": lambda: torch.nn.LSTM(3, 5, num_layers=2, proj_size=2, bidirectional=True),
    "no bias": lambda: torch.nn.GRU(3, 4, bias=False, bidirectional=True),
    "gru": lambda: torch.nn.GRU(4, 4, num_layers=2),
    "rnn": lambda: torch.nn.RNN(3, 4, bidirectional=True),
    "relu": lambda: torch.nn.RNN(3, 3, nonlinearity="relu", num_layers=2),
}
LENGTHS = [5, 1, 3]


def outputs(layer: Any, X: list[torch.Tensor]) -> list[torch.Tensor]:
    with torch.no_grad():
        return [layer(x[:, None])[0][:, 0] for x in X]


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = LAYERS[name]()
    X = [torch.randn(n, theirs.input_size) for n in LENGTHS]
    expected = outputs(theirs, X)
    options = {"nonlinearity": "relu"} if name == "relu" else {}
    path = tmp_path / "w.pt"
    torch.save(theirs.state_dict(), path)
    for source in (theirs, theirs.state_dict(), path, str(path)):
        layer = from_torch(source, **options)
        for one, other in zip(outputs(layer, X), expected):
            assert torch.allclose(one, other, atol=1e-6)
    packed = torch.nn.utils.rnn.pack_sequence(X, enforce_sorted=False)
    with torch.no_grad():
        assert torch.allclose(layer(packed)[0].data, theirs(packed)[0].data, atol=1e-6)
    model_of(layer).save(tmp_path / "m.zip")
    for one, other in zip(unspool.load(tmp_path / "m.zip").predict([x.numpy() for x in X]), expected):
        assert np.allclose(one, other, atol=1e-6)


class Tagger(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(9, 3)
        self.encoder = torch.nn.ModuleDict(
            {"up": torch.nn.LSTM(3, 4, bidirectional=True), "down": torch.nn.GRU(8, 2)}
        )
        self.head = torch.nn.Linear(2, 2)


def test_a_layer_of_a_whole_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tagger = Tagger()
    torch.save({"epoch": 3, "model": {"state_dict": tagger.half().state_dict()}}, tmp_path / "checkpoint.pt")
    save_file(tagger.float().state_dict(), tmp_path / "w.safetensors")
    X = [torch.randn(n, 8) for n in LENGTHS]
    for path, prefix in (
        ("checkpoint.pt", "model.state_dict.encoder.down"),
        ("w.safetensors", "encoder.down."),
    ):
        layer = from_torch(tmp_path / path, prefix, batch_first=True)
        assert layer.batch_first and layer.weight_ih_l0.dtype == torch.float32
        with torch.no_grad():
            for x, expected in zip(X, outputs(tagger.encoder["down"], X)):
                assert torch.allclose(layer(x[None])[0][0], expected, atol=1e-6)
    with pytest.raises(DataError, match=r"one recurrent layer.*'encoder.up.', 'encoder.down.'"):
        from_torch(tagger)
    with pytest.raises(DataError, match=r"a layer 'decoder'.*'encoder.up.'"):
        from_torch(tagger, "decoder")


def test_a_module_says_what_its_weights_do_not() -> None:
    torch.manual_seed(0)
    theirs = torch.nn.RNN(3, 4, nonlinearity="relu", batch_first=True)
    x = torch.randn(2, 5, 3)
    for module in (theirs, torch.nn.DataParallel(theirs)):
        layer = from_torch(module)
        assert layer.batch_first and torch.allclose(layer(x)[0], theirs(x)[0], atol=1e-6)
    assert not from_torch(theirs, batch_first=False).batch_first
    arrays = {name: weight.detach().numpy() for name, weight in theirs.named_parameters()}
    assert torch.allclose(
        from_torch(arrays, nonlinearity="relu", batch_first=True)(x)[0], theirs(x)[0], atol=1e-6
    )


def test_weights_that_make_no_layer() -> None:
    whole = torch.nn.LSTM(3, 4, num_layers=2).state_dict()
    for change, message in (
        ({"weight_hh_l1": torch.zeros(16, 5)}, r"weight_hh_l1 of shape \(16, 4\). Got \(16, 5\)"),
        ({"weight_ih_l0": torch.zeros(20, 3)}, r"4 \(LSTM\), 3 \(GRU\) or 1 \(RNN\) times 4 rows. Got 20"),
        ({"bias_hh_l1": None}, r"bias_hh_l1 of shape \(16,\). Got none"),
        ({"weight_hh_l0": None}, "must have weight_ih_l0 and weight_hh_l0"),
        ({"weight_ih_l0": torch.zeros(3)}, "matrices and biases of one axis"),
        ({"weight_ih_l999999999": torch.zeros(3, 3)}, "all layers from 0 on"),
        ({"weight_ih_l0": torch.zeros(1).expand(16, 3)}, "more numbers than there are"),
        ({"weight_ih_l0": torch.zeros(16, 0)}, "none of them empty"),
        ({"weight_ih_l0": torch.zeros(16, 3, device="meta")}, "meta device"),
        ({"weight_hh_l0": None, "parametrizations.weight_hh_l0.original": torch.zeros(1)}, "at each call"),
    ):
        changed = {name: t for name, t in {**whole, **change}.items() if t is not None}
        with pytest.raises(DataError, match=message):
            from_torch(changed)
    with pytest.raises(DataError, match=r"none; it must hold names that end in weight_ih_l0"):
        from_torch(torch.nn.Linear(2, 2))
    with pytest.raises(DataError, match=r"Expected a module, a state_dict or a file of one. Got a list"):
        from_torch([1])  # type: ignore[arg-type]
    with pytest.raises(InvalidParameterError, match="'batch_first' parameter of from_torch"):
        from_torch(whole, batch_first="yes")  # type: ignore[arg-type]
    with pytest.raises(InvalidParameterError, match="'layer' parameter of model_of"):
        model_of(torch.nn.LSTM)
    with pytest.raises(InvalidParameterError, match="'tanh' for an LSTM or a GRU"):
        from_torch(whole, nonlinearity="relu")


class Harmful:
    def __reduce__(self) -> Any:
        return os.mkdir, (os.environ["UNSPOOL_HARM"],)


def test_files_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None runs code, and each error is ours."""
    monkeypatch.setenv("UNSPOOL_HARM", str(tmp_path / "harm"))
    torch.save(torch.nn.LSTM(2, 2), tmp_path / "module.pt")
    torch.save({"weight_ih_l0": Harmful()}, tmp_path / "harmful.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"weight_ih_l0": Harmful()}))
    (tmp_path / "cut.safetensors").write_bytes(struct.pack("<Q", 2**60) + b"{}")
    (tmp_path / "text.pt").write_text("weights")
    with zipfile.ZipFile(tmp_path / "empty.pt", "w"):
        pass
    torch.save([1, 2], tmp_path / "list.pt")
    for name, message in {
        "module.pt": r"would have to run code. Save module.state_dict\(\) instead",
        "harmful.pt": "run code",
        "plain.pt": "run code",
        "cut.safetensors": "not a safetensors file",
        "text.pt": "damaged",
        "empty.pt": "damaged",
        "list.pt": "expected a state_dict. Got a list",
        "missing.pt": "No such file",
    }.items():
        with pytest.raises(ModelFileError, match="Cannot import") as caught:
            from_torch(tmp_path / name)
        assert re.search(message, str(caught.value)), str(caught.value)
    assert not (tmp_path / "harm").exists()


def test_damaged_files(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(torch.nn.LSTM(2, 2).state_dict(), tmp_path / "w.pt")
    data = (tmp_path / "w.pt").read_bytes()
    random = np.random.RandomState(0)
    refused = 0
    for _ in range(60):
        changed = bytearray(data)
        for at in random.randint(len(data), size=4):
            changed[at] = random.randint(256)
        (tmp_path / "w.pt").write_bytes(changed)
        try:
            from_torch(tmp_path / "w.pt")
        except (ModelFileError, DataError):
            refused += 1
    assert refused > 10
