"""What programs written for torch.nn do with a layer, run twice: on torch's and on ours, with the same weights."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence

import unspool
from unspool.errors import EngineError, InputError

F, H, B, T = 5, 7, 4, 6
KINDS = ["RNN", "GRU", "LSTM"]
Script = Callable[[Any, Any], Any]  # (where RNN, GRU, LSTM are, a layer of it) -> what is compared


def tensors(found: Any) -> list[Tensor]:
    if isinstance(found, Tensor):
        return [found]
    if isinstance(found, (tuple, list)):
        return [t for part in found for t in tensors(part)]
    return []


def state(layer: Any, batch: int = B) -> Any:
    torch.manual_seed(2)
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    h, c = torch.randn(rows, batch, layer.proj_size or H), torch.randn(rows, batch, H)
    return (h, c) if layer.mode == "LSTM" else h


def views_of_the_output(where: Any, layer: Any) -> Any:
    output, final = layer(torch.randn(T, B, F), state(layer))
    assert output.is_contiguous() and all(part.is_contiguous() for part in tensors(final))
    return output.view(T * B, -1), [part.view(-1) for part in tensors(final)]


def views_of_unbatched_and_packed(where: Any, layer: Any) -> Any:
    single, _ = layer(torch.randn(T, F))
    packed, final = layer(pack_sequence([torch.randn(n, F) for n in (5, 3, 1)]))
    assert packed.data.is_contiguous() and all(part.is_contiguous() for part in tensors(final))
    return single.view(-1), packed.data.view(-1), packed.batch_sizes, final


def unsorted_packed(where: Any, layer: Any) -> Any:
    packed = pack_padded_sequence(torch.randn(T, 3, F), [2, 6, 1], enforce_sorted=False)
    output, final = layer(packed, state(layer, 3))
    return output.data, output.sorted_indices, output.unsorted_indices, final


def initialised_by_kind(where: Any, layer: Any) -> Any:
    """As public scripts do: every module that is a torch.nn layer, by the names of its parameters."""
    for module in nn.Sequential(nn.Linear(3, 3), layer).modules():
        if isinstance(module, (nn.LSTM, nn.GRU, nn.RNN)):
            for name, p in module.named_parameters():
                if "weight_hh" in name:
                    nn.init.orthogonal_(p)
                elif "bias" in name:
                    nn.init.constant_(p, 0.25)
    assert float(layer.bias_ih_l0.detach().min()) == 0.25
    return list(layer.parameters()), layer(torch.randn(T, B, F))


class Doubled(nn.Module):
    def forward(self, w: Tensor) -> Tensor:
        return 2 * w


def parametrized(where: Any, layer: Any) -> Any:
    x, kind = torch.randn(T, B, F), type(layer)
    parametrize.register_parametrization(layer, "weight_hh_l0", Doubled())
    assert parametrize.is_parametrized(layer) and isinstance(layer, getattr(nn, kind.__name__))
    found = layer(x)
    parametrize.remove_parametrizations(layer, "weight_hh_l0")
    assert type(layer) is kind
    return found, layer(x)


def normed_and_pruned(where: Any, layer: Any) -> Any:
    x = torch.randn(T, B, F)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nn.utils.weight_norm(layer, "weight_hh_l0")
    found = [layer(x)]
    nn.utils.remove_weight_norm(layer, "weight_hh_l0")
    parametrizations.orthogonal(parametrizations.weight_norm(layer, "weight_ih_l0"), "weight_hh_l0")
    found.append(layer(x))
    for name in ("weight_ih_l0", "weight_hh_l0"):
        parametrize.remove_parametrizations(layer, name)
    prune.l1_unstructured(layer, "weight_hh_l0", 0.3)
    found.append(layer(x))
    prune.remove(layer, "weight_hh_l0")
    return found, layer(x)


class WeightDrop(nn.Module):
    """As AWD-LSTM's public code does it: the raw weight is the parameter, a dropped copy is put in its place."""

    def __init__(self, module: Any, rate: float) -> None:
        super().__init__()
        self.module, self.rate = module, rate
        module.flatten_parameters = lambda *_: None
        raw = module.weight_hh_l0
        del module._parameters["weight_hh_l0"]
        module.register_parameter("weight_hh_l0_raw", nn.Parameter(raw.data))

    def forward(self, *args: Any) -> Any:
        raw = self.module.weight_hh_l0_raw
        setattr(self.module, "weight_hh_l0", nn.functional.dropout(raw, self.rate, self.training))  # noqa: B010
        return self.module.forward(*args)


def weight_drop(where: Any, layer: Any) -> Any:
    wrapped, x = WeightDrop(layer, 0.5), torch.randn(T, B, F)
    torch.manual_seed(4)
    first = wrapped(x)
    sum(t.sin().sum() for t in tensors(first)).backward()
    return first, layer.weight_hh_l0_raw.grad, layer.weight_ih_l0.grad, wrapped.eval()(x)


def copies(where: Any, layer: Any) -> Any:
    x, file = torch.randn(T, B, F), io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    twins = [torch.load(file, weights_only=False), pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)]
    assert all(type(twin) is type(layer) for twin in twins)
    with torch.no_grad():
        layer.weight_hh_l0.zero_()
    return [twin(x) for twin in twins], layer(x)


def hooks(where: Any, layer: Any) -> Any:
    seen: list[Any] = []
    layer.register_forward_pre_hook(lambda module, args: (args[0] * 2, *args[1:]))
    layer.register_forward_hook(lambda module, args, result: (result[0] * 3, result[1]))
    layer.register_full_backward_hook(lambda module, given, grads: seen.append((given, grads)))
    x = torch.randn(T, B, F, requires_grad=True)
    result = layer(x)
    result[0].square().sum().backward()
    return result, x.grad, tensors(seen)


def vectors(where: Any, layer: Any) -> Any:
    flat = nn.utils.parameters_to_vector(layer.parameters())
    nn.utils.vector_to_parameters(flat * 0.5, layer.parameters())
    layer.share_memory()
    return flat, layer(torch.randn(T, B, F))


def some_frozen(where: Any, layer: Any) -> Any:
    layer.weight_hh_l0.requires_grad_(False)
    layer(torch.randn(T, B, F))[0].sin().sum().backward()
    assert layer.weight_hh_l0.grad is None
    return [p.grad for p in layer.parameters() if p.grad is not None]


def moved(where: Any, layer: Any) -> Any:
    x = torch.randn(T, B, F)
    double = copy.deepcopy(layer).double()(x.double())
    fresh = type(layer)(F, H, device="meta").to_empty(device="cpu")
    fresh.load_state_dict(layer.state_dict())
    typed = type(layer)(F, H, dtype=torch.float64)
    typed.load_state_dict(layer.state_dict())
    return double, fresh(x), typed(x.double()), layer.to("meta")(x.to("meta"))[0].shape


def utilities(where: Any, layer: Any) -> Any:
    x, packed = torch.zeros(T, B, F), torch.tensor([3, 2, 1])
    assert repr(layer) == repr(getattr(nn, type(layer).__name__)(F, H))
    found = [layer.get_expected_hidden_size(x, None), layer.get_expected_hidden_size(x, packed)]
    if layer.mode == "LSTM":
        found.append(layer.get_expected_cell_size(x, None))
        layer.check_forward_args(x, (torch.zeros(1, B, H), torch.zeros(1, B, H)), None)
    else:
        layer.check_forward_args(x, torch.zeros(1, B, H), None)
    order = torch.tensor([2, 0, 1, 3])
    layer.check_input(x, None)
    layer.flatten_parameters()
    torch.manual_seed(0)
    layer.reset_parameters()
    names = [list(dict(layer.named_parameters())), layer._flat_weights_names, layer._all_weights]
    return found, names, layer.permute_hidden(state(layer), order), layer.all_weights, layer._flat_weights


def functional(where: Any, layer: Any) -> Any:
    weights = {name: 0.5 * p.detach() for name, p in layer.named_parameters()}
    x = torch.randn(T, B, F)
    return torch.func.functional_call(layer, weights, (x, state(layer))), layer(x)


def kept_graph(where: Any, layer: Any) -> Any:
    x = torch.randn(T, B, F, requires_grad=True)
    total, found = layer(x)[0].sin().sum(), []
    for _ in range(3):
        layer.zero_grad()
        x.grad = None
        total.backward(retain_graph=True)
        found.append([x.grad, *(p.grad for p in layer.parameters())])
    empty = torch.ones(T, 0, F, requires_grad=True)
    layer(empty)[0].sum().backward()
    return found, empty.grad


def no_sequences(where: Any, layer: Any) -> Any:
    output, final = layer(torch.zeros(T, 0, F))
    return [part.shape for part in tensors((output, final))]


def from_its_class(where: Any, layer: Any) -> Any:
    torch.manual_seed(0)
    return list(layer.__class__(F, H, 2).parameters())


SCRIPTS: list[Script] = [
    views_of_the_output,
    views_of_unbatched_and_packed,
    unsorted_packed,
    initialised_by_kind,
    parametrized,
    normed_and_pruned,
    weight_drop,
    copies,
    hooks,
    vectors,
    some_frozen,
    moved,
    utilities,
    functional,
    kept_graph,
    no_sequences,
    from_its_class,
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_a_script_for_torch_runs_on_ours(script: Script, kind: str) -> None:
    theirs = getattr(nn, kind)(F, H)
    found = []
    for where in (nn, unspool.nn):
        layer = getattr(where, kind)(F, H)
        layer.load_state_dict(theirs.state_dict())
        torch.manual_seed(1)
        found.append(script(where, layer))
    same(*found)


def same(theirs: Any, ours: Any) -> None:
    assert type(theirs) is type(ours) or isinstance(ours, (Tensor, tuple))
    if isinstance(theirs, Tensor):
        assert theirs.shape == ours.shape and theirs.dtype == ours.dtype
        torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=1e-4, atol=1e-5)
    elif isinstance(theirs, (tuple, list)):
        assert len(theirs) == len(ours)
        for a, b in zip(theirs, ours, strict=True):
            same(a, b)
    else:
        assert theirs == ours


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 2, "bidirectional": True}, {"batch_first": True}, {"bias": False}], ids=str
)
def test_the_output_lies_in_the_order_of_its_axes(kind: str, options: dict[str, Any]) -> None:
    theirs, ours = getattr(nn, kind)(F, H, **options), getattr(unspool.nn, kind)(F, H, **options)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(T, B, F)
    output, final = ours(x)
    torch.testing.assert_close(output.view(T * B, -1), theirs(x)[0].reshape(T * B, -1), rtol=1e-5, atol=1e-5)
    assert all(part.is_contiguous() for part in tensors(final))


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_is_torchs_of_its_kind_and_no_other(kind: str) -> None:
    layer = getattr(unspool.nn, kind)(F, H)
    assert isinstance(layer, getattr(nn, kind)) and isinstance(layer, nn.RNNBase)
    assert type(layer) is getattr(unspool.nn, kind) and isinstance(layer, getattr(unspool.nn, kind))
    for other in set(KINDS) - {kind}:
        assert not isinstance(layer, (getattr(nn, other), getattr(unspool.nn, other)))

    class Mine(getattr(unspool.nn, kind)):
        pass

    mine = Mine(F, H)
    assert isinstance(mine, (getattr(nn, kind))) and isinstance(mine, Mine) and type(copy.copy(mine)) is Mine


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_it_compiles_in_one_graph(kind: str) -> None:
    layer = getattr(unspool.nn, kind)(F, H, num_layers=2, bidirectional=True)
    model = nn.Sequential(nn.Linear(3, F), layer)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    x = torch.randn(T, B, 3)
    torch.testing.assert_close(compiled(x)[0], model(x)[0], rtol=1e-5, atol=1e-5)
    assert isinstance(layer, getattr(nn, kind))


def z(kind: str, *shape: int, dtype: torch.dtype = torch.float32) -> Any:
    part = torch.zeros(shape, dtype=dtype)
    return (part, part) if kind == "LSTM" else part


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "call, said",
    [
        (lambda layer, k: layer(torch.zeros(T, B, F + 1)), True),
        (lambda layer, k: layer(torch.zeros(T, F + 1)), True),
        (lambda layer, k: layer(torch.zeros(T, B, F, 1)), True),
        (lambda layer, k: layer(torch.zeros(T, B, F, dtype=torch.float64)), False),
        (lambda layer, k: layer(torch.zeros(T, B, F, dtype=torch.int64)), False),
        (lambda layer, k: layer(torch.zeros(0, B, F)), True),
        (lambda layer, k: layer(torch.zeros(0, F)), True),
        (lambda layer, k: layer(torch.zeros(0, 0, F)), True),
        (lambda layer, k: layer(torch.zeros(T, B, F), z(k, 1, B + 1, H)), True),
        (lambda layer, k: layer(torch.zeros(T, B, F), z(k, 2, B, H)), True),
        (lambda layer, k: layer(torch.zeros(T, B, F), z(k, B, H)), True),
        (lambda layer, k: layer(torch.zeros(T, F), z(k, 1, 1, H)), True),
        (lambda layer, k: layer(torch.zeros(T, B, F), z(k, 1, B, H, dtype=torch.float64)), None),
    ],
)
def test_errors_are_of_torchs_class_and_in_its_words(call: Any, said: bool | None, kind: str) -> None:
    """said: torch's sentence is in ours; False: it is about types and differs by torch's version; None: by kind."""
    with pytest.raises((ValueError, RuntimeError)) as theirs:
        call(getattr(nn, kind)(F, H), kind)
    with pytest.raises(type(theirs.value)) as ours:
        call(getattr(unspool.nn, kind)(F, H), kind)
    assert isinstance(ours.value, InputError)
    if said:
        assert str(theirs.value) in str(ours.value)
    if said is False:
        assert "input must have the type torch.float32, got type torch." in str(ours.value)


@pytest.mark.parametrize("kind", KINDS)
def test_packed_steps_of_other_features_are_an_error(kind: str) -> None:
    with pytest.raises(InputError, match=r"must be equal to input_size\. Expected 5, got 6"):
        getattr(unspool.nn, kind)(F, H)(pack_sequence([torch.zeros(2, F + 1)]))


def test_quantize_dynamic_does_not_skip_it_silently() -> None:
    quantization = torch.ao.quantization
    model = nn.Sequential(unspool.nn.LSTM(F, H))
    with pytest.warns(
        UserWarning, match=r"cannot quantise an unspool.nn.LSTM.*freeze\('int8'\).*stays as it is"
    ):
        quantization.quantize_dynamic(model, {nn.LSTM, nn.Linear}, dtype=torch.qint8)
    with warnings.catch_warnings(), pytest.raises(EngineError, match="cannot quantise"):
        warnings.simplefilter("ignore")
        quantization.quantize_dynamic(model, {"0": quantization.default_dynamic_qconfig})


def test_an_ensemble_by_vmap_gives_each_layers_numbers() -> None:
    layers = [unspool.nn.GRU(F, H) for _ in range(3)]
    parameters, buffers = torch.func.stack_module_state(layers)
    base, x = copy.deepcopy(layers[0]).to("meta"), torch.randn(T, B, F)

    def one(p: Any, b: Any) -> Tensor:
        return torch.func.functional_call(base, (p, b), (x,))[0]

    found = torch.vmap(one)(parameters, buffers)
    torch.testing.assert_close(found, torch.stack([layer(x)[0] for layer in layers]), rtol=1e-5, atol=1e-5)


def test_dropout_with_one_layer_warns_as_torch_does() -> None:
    with pytest.warns(UserWarning, match="dropout option adds dropout after all but last recurrent layer"):
        unspool.nn.GRU(F, H, dropout=0.5)
