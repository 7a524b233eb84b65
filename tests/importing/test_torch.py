"""torch's weights, from its own layers, state_dicts and files, give torch's numbers."""

from __future__ import annotations

import argparse
import os
import pickle
import re
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn.utils import parametrizations, prune

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
    settings = argparse.Namespace(rate=0.1)
    kept = {"epoch": 3, "args": settings, "model": {"state_dict": tagger.half().state_dict()}}
    torch.save(kept, tmp_path / "checkpoint.pt")
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


class WeightDrop(torch.nn.Module):
    """As AWD-LSTM keeps its weights: `_raw`, and in the layer what the last batch of training dropped."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module, raw = module, module.weight_hh_l0
        self.weight_hh_l0_raw = torch.nn.Parameter(raw.detach().clone())
        module._parameters["weight_hh_l0"] = torch.nn.Parameter(torch.nn.functional.dropout(raw.detach()))


def pruned(layer: Any) -> Any:
    prune.l1_unstructured(layer, "weight_ih_l0", 0.5)
    return layer


KEPT: dict[str, Any] = {
    "dropped": WeightDrop,
    "norm": lambda layer: torch.nn.utils.weight_norm(layer, "weight_hh_l0"),
    "norm of all": lambda layer: torch.nn.utils.weight_norm(layer, "weight_ih_l0", None),
    "parametrized": lambda layer: parametrizations.weight_norm(layer, "weight_ih_l0_reverse"),
    "columns": lambda layer: parametrizations.weight_norm(layer, "weight_ih_l0", dim=1),
    "pruned": pruned,
}


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("how", KEPT)
def test_weights_that_torch_computes(how: str) -> None:
    torch.manual_seed(0)
    theirs = torch.nn.LSTM(3, 4, bidirectional=True)
    x = torch.randn(5, 2, 3)
    expected = theirs(x)[0]
    made = KEPT[how](theirs)
    if how == "pruned":
        expected = theirs(x)[0]
    weights = made.state_dict()
    several = {f"one.{name}": t for name, t in weights.items()} | {
        f"two.{name}": t for name, t in weights.items()
    }
    inner = "module." if how == "dropped" else ""
    for source, prefix in ((made, None), (weights, None), (several, f"two.{inner}")):
        assert torch.allclose(from_torch(source, prefix)(x)[0], expected, atol=1e-6)
    if how == "dropped":  # the layer's own was a Parameter no more in the first of these
        del weights["module.weight_hh_l0"]
        assert torch.allclose(from_torch(weights)(x)[0], expected, atol=1e-6)


def test_modules_that_do_not_say_what_they_compute() -> None:
    torch.manual_seed(0)
    theirs = torch.nn.RNN(3, 4, nonlinearity="relu", batch_first=True)
    x = torch.randn(2, 5, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted, traced = torch.jit.script(theirs), torch.jit.trace(theirs, (x,))
    assert torch.allclose(from_torch(scripted)(x)[0], theirs(x)[0], atol=1e-6)
    with pytest.raises(DataError, match=r"does not say .*: give nonlinearity and batch_first"):
        from_torch(traced)
    layer = from_torch(traced, nonlinearity="relu", batch_first=True)
    assert torch.allclose(layer(x)[0], theirs(x)[0], atol=1e-6)


def test_weights_of_two_dtypes() -> None:
    weights = torch.nn.GRU(3, 4).state_dict()
    weights["bias_ih_l0"] = weights["bias_ih_l0"].double()
    layer = from_torch(weights)
    assert {t.dtype for t in layer.parameters()} == {torch.float64}


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
        ({"weight_ih_l0": None, "parametrizations.weight_ih_l0.original": torch.zeros(1)}, "at each call"),
        (
            {"weight_ih_l0": torch.zeros(16, 3, dtype=torch.int8)},
            "'weight_ih_l0' must be dense .* torch.int8",
        ),
        ({"weight_ih_l0": torch.zeros(16, 3).to_sparse()}, "must be dense .* torch.sparse_coo"),
    ):
        changed = {name: t for name, t in {**whole, **change}.items() if t is not None}
        with pytest.raises(DataError, match=message):
            from_torch(changed)
    with pytest.raises(DataError, match=r"none; it must hold names that end in weight_ih_l0"):
        from_torch(torch.nn.Linear(2, 2))
    with pytest.raises(
        DataError, match=r"none, but cells \('decoder.0.'\). Name the weights of one as a layer's"
    ):
        from_torch({f"decoder.0.{name}": t for name, t in torch.nn.GRUCell(3, 4).state_dict().items()})
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
    torch.save({"weight_ih_l0": torch.zeros(1), "folder": tmp_path}, tmp_path / "path.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.LSTM(2, 2)), tmp_path / "script.pt")
    (tmp_path / "folder.safetensors").mkdir()
    for name, message in {
        "module.pt": r"would have to run code. Save module.state_dict\(\) instead",
        "harmful.pt": r"an object of posix.mkdir, which would have to run code",
        "path.pt": r"an object of pathlib.PosixPath, which",
        "script.pt": r"a TorchScript archive. Save torch.jit.load\(path\).state_dict\(\) instead",
        "folder.safetensors": "is a folder; name the file of weights in it",
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
