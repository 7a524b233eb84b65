"""ONNX files give ONNX Runtime's numbers."""

from __future__ import annotations

import re
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import unspool
from unspool.errors import ModelFileError
from unspool.importing import from_onnx, layers_from_onnx

from .onnx_cases import F, model_of, recurrent, run, save

THIRD = {"activation_alpha": [1 / 6], "activation_beta": [0.5]}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "lstm": ("LSTM", {}),
    "lstm reverse": ("LSTM", {"direction": "reverse"}),
    "lstm both": ("LSTM", {"direction": "bidirectional", "bias": False}),
    "lstm functions": ("LSTM", {"activations": ["HardSigmoid", "Softsign", "Softsign"]}),
    "lstm slope": ("LSTM", {"activations": ["HardSigmoid", "Relu", "Relu"], **THIRD}),
    "lstm peepholes": ("LSTM", {"peepholes": True, "direction": "bidirectional"}),
    "gru": ("GRU", {}),
    "gru after": ("GRU", {"linear_before_reset": 1, "direction": "bidirectional"}),
    "gru functions": ("GRU", {"activations": ["Sigmoid", "Relu"], "linear_before_reset": 1}),
    "gru two": (
        "GRU",
        {"activations": ["Sigmoid", "Tanh", "HardSigmoid", "Elu"], "direction": "bidirectional"},
    ),
    "rnn": ("RNN", {"direction": "bidirectional"}),
    "rnn affine": ("RNN", {"activations": ["Affine"], "activation_alpha": [1.0], "direction": "reverse"}),
    "lengths": ("LSTM", {"lengths": True, "direction": "bidirectional"}),
}
LENGTHS = [5, 1, 3]


@pytest.mark.parametrize("name", CASES)
def test_operators(name: str, tmp_path: Path) -> None:
    kind, settings = CASES[name]
    model = recurrent(kind, **settings)
    path = save(model, tmp_path / "m.onnx")
    rng = np.random.default_rng(1)
    X = [rng.normal(size=(n, F)).astype(np.float32) for n in LENGTHS]
    if settings.get("lengths"):
        padded = np.zeros((5, 3, F), np.float32)
        for number, x in enumerate(X):
            padded[: len(x), number] = x
        y, y_h = run(model, x=padded, lengths=np.array(LENGTHS, np.int32))
        steps = [y[:n, :, i].reshape(n, -1) for i, n in enumerate(LENGTHS)]
        ends = [y_h[:, i].ravel() for i in range(3)]
    else:
        found = [run(model, x=x[:, None]) for x in X]
        steps, ends = [y.reshape(len(y), -1) for y, _ in found], [y_h.ravel() for _, y_h in found]
    for output, expected in (("Y", steps), ("Y_h", ends)):
        made = from_onnx(path, output)
        made.save(tmp_path / "m.zip")
        for one, other in zip(unspool.load(tmp_path / "m.zip").predict(X), expected):
            assert one.shape == other.shape and np.abs(one - other).max() < 1e-5
    layer = layers_from_onnx(path)["cell"]
    with torch.no_grad():
        got = layer(unspool.Ragged.from_list([torch.from_numpy(x) for x in X]))[0].to_list()
    for one, other in zip(got, steps):
        assert np.abs(one.numpy() - other).max() < 1e-5


class Tagger(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(9, 5)
        self.lstm = torch.nn.LSTM(5, 4, num_layers=2, bidirectional=True, batch_first=True)
        self.head = torch.nn.Linear(8, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.head(torch.relu(self.lstm(self.embedding(ids))[0])), -1)


class Classifier(Tagger):
    """From the final states of the last layer."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        _, (h, _) = self.lstm(self.embedding(ids))
        return self.head(torch.cat([h[-2], h[-1]], 1))


class Last(torch.nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.gru = torch.nn.GRU(F, 4, num_layers=2)
        self.skip, self.head = torch.nn.Linear(F, 4), torch.nn.Linear(4, 2)
        self.how = how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.gru(x)[0] + torch.tanh(self.skip(x))
        return self.head({"last": y[-1], "mean": y.mean(0), "max": y.amax(0), "first": y[0]}[self.how])


MODELS: dict[str, Any] = {
    "tagger": (Tagger, True, True),
    "classifier": (Classifier, True, True),
    **{how: (lambda how=how: Last(how), False, False) for how in ("last", "mean", "max", "first")},
    "lstm": (lambda: torch.nn.LSTM(F, 4, 2, batch_first=True), False, True),
    "rnn": (lambda: torch.nn.RNN(F, 4, bidirectional=True, nonlinearity="relu"), False, False),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_that_torch_wrote(name: str, tmp_path: Path) -> None:
    make, ids, batch_first = MODELS[name]
    torch.manual_seed(0)
    module = make().eval()
    X = [torch.randint(9, (n,)) if ids else torch.randn(n, F) for n in LENGTHS]
    example = X[0][None] if batch_first else X[0][:, None]
    axes = {"x": {0: "a", 1: "b"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = {"input_names": ["x"], "dynamic_axes": axes, "dynamo": False}
        torch.onnx.export(module, (example,), str(tmp_path / "m.onnx"), **names)
    model = from_onnx(tmp_path / "m.onnx")
    got = model.predict([x.numpy() for x in X])
    frozen = model.freeze().predict([x.numpy() for x in X])
    for x, one, same in zip(X, got, frozen):
        batch = x[None] if batch_first else x[:, None]
        expected = run(str(tmp_path / "m.onnx"), x=batch.numpy())[0]
        assert np.abs(one - expected.squeeze(0 if batch_first or expected.ndim == 2 else 1)).max() < 1e-5
        assert np.allclose(one, same, atol=1e-6)


def joined_by_shape(swapped: bool) -> Any:
    """Both directions joined as torch's exporter by torch.export does it: by sizes taken from the value's shape."""
    model = recurrent("GRU", direction="bidirectional")
    cuts = [("time", 0), ("batch", 1), ("both", 2), ("each", 3)]
    for number in range(5):
        model.graph.initializer.append(numpy_helper.from_array(np.array([number]), str(number)))
    order = ["batch", "time"] if swapped else ["time", "batch"]
    model.graph.node.extend(
        [
            helper.make_node("Transpose", ["Y"], ["t"], perm=[0, 2, 1, 3]),
            helper.make_node("Shape", ["t"], ["sizes"]),
            *(helper.make_node("Slice", ["sizes", str(n), str(n + 1)], [name]) for name, n in cuts),
            helper.make_node("Mul", ["both", "each"], ["width"]),
            helper.make_node("Concat", [*order, "width"], ["shape"], axis=0),
            helper.make_node("Reshape", ["t", "shape"], ["Z"], name="joins"),
        ]
    )
    model.graph.output[0].name = "Z"
    return model


def test_sizes_that_a_graph_takes_from_a_value(tmp_path: Path) -> None:
    model = joined_by_shape(swapped=False)
    made = from_onnx(save(model, tmp_path / "m.onnx"))
    for n in LENGTHS:
        x = np.random.default_rng(n).normal(size=(n, F)).astype(np.float32)
        assert np.abs(made.predict([x])[0] - run(model, x=x[:, None])[0][:, 0]).max() < 1e-5
    with pytest.raises(ModelFileError, match=r"'joins' \(Reshape\), which does more than join"):
        from_onnx(save(joined_by_shape(swapped=True), tmp_path / "m.onnx"))


OURS: dict[str, Any] = {
    "lstm": (lambda: unspool.nn.LSTM(F, 4, 2, bidirectional=True, batch_first=True), {}),
    "gru": (lambda: unspool.nn.GRU(F, 4), {}),
    "before": (
        lambda: unspool.nn.Recurrent(unspool.cells.GRUCell(F, 4, reset_after=False)),
        {"input_size": F},
    ),
}


@pytest.mark.parametrize("name", OURS)
def test_layers_that_we_wrote(name: str, tmp_path: Path) -> None:
    """With lengths as an input, and zeros past the end of each sequence."""
    torch.manual_seed(0)
    make, settings = OURS[name]
    layer = make()
    unspool.exporting.to_onnx(layer, tmp_path / "m.onnx", **settings)
    X = [torch.randn(n, F) for n in LENGTHS]
    with torch.no_grad():
        expected = layer(unspool.Ragged.from_list(X))[0].to_list()
    for one, other in zip(from_onnx(tmp_path / "m.onnx").predict([x.numpy() for x in X]), expected):
        assert np.abs(one - other.numpy()).max() < 1e-6


def test_more_than_zeros_past_the_end(tmp_path: Path) -> None:
    model = recurrent("GRU", lengths=True)
    model.graph.initializer.append(numpy_helper.from_array(np.ones(1, np.float32), "one"))
    model.graph.initializer.append(numpy_helper.from_array(np.ones(1, np.int32), "two"))
    model.graph.node.append(helper.make_node("Less", ["lengths", "two"], ["mask"]))
    model.graph.node.append(helper.make_node("Where", ["mask", "Y", "one"], ["Z"], name="after"))
    model.graph.output[0].name = "Z"
    with pytest.raises(ModelFileError, match=r"'after' \(Where\), which is more than zeros past the end"):
        from_onnx(save(model, tmp_path / "m.onnx"))


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("LSTM", {"clip": 3.0}, r"the node 'cell' \(LSTM\) clips its gates \(3.0\)"),
        ("LSTM", {"input_forget": 1}, "couples its gates"),
        ("LSTM", {"activations": ["Sigmoid", "Tanh", "Relu"]}, "two functions, tanh and relu"),
        ("LSTM", {"activations": ["Relu", "Tanh", "Tanh"], "peepholes": True}, "peepholes and functions"),
        ("GRU", {"activations": ["Sigmoid", "ScaledTanh"]}, r"function ScaledTanh \(alpha 1.0, beta 1.0\)"),
        ("GRU", {"activations": ["HardSigmoid", "Tanh"], "activation_alpha": [0.3]}, "function HardSigmoid"),
        ("GRU", {"activation_alpha": [0.3]}, "more constants"),
        ("RNN", {"activations": ["Tanh", "Tanh"]}, "must have 1 functions"),
        ("RNN", {"direction": "sideways"}, "the direction 'sideways'"),
    ],
)
def test_operators_that_are_refused(
    kind: str, settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = save(recurrent(kind, **settings), tmp_path / "m.onnx")
    for read in (from_onnx, layers_from_onnx):
        with pytest.raises(ModelFileError, match="Cannot import") as caught:
            read(path)
        assert re.search(message, str(caught.value)), str(caught.value)


def changed(change: Any) -> Any:
    model = recurrent("GRU")
    change(model.graph)
    return model


def set_weight(graph: Any, name: str, **fields: Any) -> None:
    tensor = next(t for t in graph.initializer if t.name == name)
    for field, value in fields.items():
        tensor.ClearField(field)
        getattr(tensor, field).extend(value) if isinstance(value, list) else setattr(tensor, field, value)


def external(graph: Any, location: str) -> None:
    tensor = graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location


def add(graph: Any, operator: str, *given: Any, **attributes: Any) -> None:
    names = [str(number) for number in range(len(given))]
    graph.initializer.extend(numpy_helper.from_array(np.array(a), n) for n, a in zip(names, given))
    graph.node.append(helper.make_node(operator, ["Y", *names], ["Z"], name="after", **attributes))
    graph.output[0].name = "Z"


def state(graph: Any, default: bool = False) -> None:
    graph.initializer.append(numpy_helper.from_array(np.ones((1, 1, 4), np.float32), "h"))
    graph.node[0].input.extend(["", "h"])
    if default:
        graph.input.append(helper.make_tensor_value_info("h", TensorProto.FLOAT, [1, 1, 4]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: set_weight(g, "W", dims=[1, 12, 2**40]), "declares|cannot be read"),
        (lambda g: set_weight(g, "W", dims=[1, 12, 2]), "cannot be read|shapes"),
        (lambda g: set_weight(g, "W", dims=[12, 3]), r"shapes .*Got \[\(12, 3\)"),
        (lambda g: external(g, "../secret"), r"'../secret', which is not a file beside the model"),
        (lambda g: external(g, "/etc/passwd"), "not a file beside the model"),
        (lambda g: external(g, "sec\0ret"), "not a file beside the model"),
        (lambda g: external(g, "missing.data"), "cannot be read"),
        (lambda g: external(g, "short.data"), "takes 144 bytes, and 'short.data' holds 3"),
        (lambda g: add(g, "Det"), r"the node 'after' \(Det\), which is no layer that is known"),
        (lambda g: add(g, "Transpose", perm=[0, 0, 1, 2]), "whose axes are"),
        (lambda g: add(g, "Softmax", axis=0), r"'after' \(Softmax\), of another axis than the features"),
        (lambda g: add(g, "Cast", to=TensorProto.INT32), "which cuts numbers to whole ones"),
        (lambda g: add(g, "Dropout", np.float32(0.5), True), "which drops as in training"),
        (lambda g: add(g, "Slice", [-1], [0], [0]), "more than one entry"),
        (state, "starts from a state that is not zero"),
        (lambda g: state(g, default=True), "starts from a state that is not zero"),
        (lambda g: g.initializer.pop(), "in the file. They are computed, or missing"),
        (lambda g: g.input.append(helper.make_tensor_value_info("y", 1, [1])), "2 inputs beside lengths"),
        (lambda g: g.output.pop() and g.output.pop(), "it has no output"),
    ],
)
def test_files_that_are_refused(change: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "short.data").write_bytes(b"abc")
    (tmp_path / "m.onnx").write_bytes(changed(change).SerializeToString())
    with pytest.raises(ModelFileError, match="Cannot import") as caught:
        from_onnx(tmp_path / "m.onnx")
    assert re.search(message, str(caught.value)), str(caught.value)


def test_what_a_version_of_the_operators_says(tmp_path: Path) -> None:
    """Before 13 Softmax went over all axes from the second one on; a Slice without axes is of the first ones."""
    for opset, expected in ((13, None), (11, "another axis than the features")):
        model = changed(lambda g: add(g, "Softmax"))
        model.opset_import[0].version = opset
        with nullcontext() if expected is None else pytest.raises(ModelFileError, match=expected):
            from_onnx(save(model, tmp_path / "m.onnx"))
    x = np.ones((3, 1, F), np.float32)
    cut = changed(lambda g: add(g, "Slice", [-1], [2**63 - 1]))
    expected = run(cut, x=x)[0].ravel()
    assert np.abs(from_onnx(save(cut, tmp_path / "m.onnx")).predict([x[:, 0]])[0] - expected).max() < 1e-5


def test_weights_beside_the_model(tmp_path: Path) -> None:
    model = recurrent("GRU")
    x = np.ones((3, 1, F), np.float32)
    expected = run(model, x=x)[0].reshape(3, -1)
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0, location="m.data")
    assert (tmp_path / "m.data").exists()
    (got,) = from_onnx(tmp_path / "m.onnx").predict([x[:, 0]])
    assert np.abs(got - expected).max() < 1e-5
    written = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    for tensor in written.graph.initializer:
        tensor.external_data[0].value = "./m.data"
    (tmp_path / "m.onnx").write_bytes(written.SerializeToString())
    (again,) = from_onnx(tmp_path / "m.onnx").predict([x[:, 0]])
    assert (again == got).all()


def test_no_such_output_or_file(tmp_path: Path) -> None:
    path = save(recurrent("GRU"), tmp_path / "m.onnx")
    with pytest.raises(ModelFileError, match=r"no output 'Q'. It has \['Y', 'Y_h'\]"):
        from_onnx(path, "Q")
    with pytest.raises(ModelFileError, match="No such file"):
        from_onnx(tmp_path / "no.onnx")
    graph = helper.make_graph([], "g", [helper.make_tensor_value_info("x", 1, ["a", "b", 3])], [])
    with pytest.raises(ModelFileError, match=r"it has no LSTM, GRU, RNN or Scan operator\. It has: none"):
        from_onnx(save(model_of(graph), path))
    assert layers_from_onnx(path) == {}


def test_damaged_files(tmp_path: Path) -> None:
    """Every outcome is a model or a `ModelFileError`."""
    data = recurrent("LSTM", direction="bidirectional", peepholes=True).SerializeToString()
    random = np.random.RandomState(0)
    refused = 0
    for number in range(150):
        damaged = bytearray(data)
        spread = 200 if number % 2 else len(data)
        for at in random.randint(spread, size=random.randint(1, 4)):
            damaged[-1 - at] = random.randint(256)
        (tmp_path / "m.onnx").write_bytes(
            damaged[: random.randint(len(data))] if number % 5 == 0 else damaged
        )
        try:
            from_onnx(tmp_path / "m.onnx")
        except ModelFileError:
            refused += 1
    assert refused > 30


def test_nodes_that_cannot_be(tmp_path: Path) -> None:
    """One without what its operator needs, one that reads what only a later node makes: itself, and one whose attribute
    is of another type."""

    def change(number: int, name: str) -> Any:
        return lambda node: node.input.__setitem__(number, name)

    for make, message in (
        (change(1, ""), "must have 3 inputs"),
        (change(0, "Y"), "reads 'Y', which no node before it"),
        (lambda node: setattr(node.attribute[0], "name", "axes"), "must have 'axes' of type INTS"),
    ):
        model = recurrent("LSTM")
        make(model.graph.node[0])
        with pytest.raises(ModelFileError, match=rf"node 'cell' \(LSTM\) {message}"):
            from_onnx(save(model, tmp_path / "m.onnx"))
