"""Makes the files of `tests/importing/files` with Keras 3.15.1 (backend torch), which the tests do not need.

python tests/importing/make_files.py

`models.npz` has for each model NAME: its configuration, its weights by layer, inputs, and Keras' outputs for each
input alone (`alone`), and padded to `MAXLEN` steps before and behind (`pre`, `post`).
"""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
from keras import layers as L

FILES = Path(__file__).parent / "files"
MAXLEN = 6
WORDS = 11
LENGTHS = {"flatten": [MAXLEN] * 3, **{name: [4, 3, 6, 5] for name in ("windows", "strided", "moving_mean")}}
UNUSED = ("_initializer", "_regularizer", "_constraint")


def ids(*layers, mask=True, length=None):
    return keras.Sequential(
        [L.Input((length,), dtype="int32"), L.Embedding(WORDS, 4, mask_zero=mask), *layers]
    )


def series(*layers, mask=False, length=None):
    return keras.Sequential([L.Input((length, 3)), *([L.Masking(0.0)] if mask else []), *layers])


def slope_of_keras_2(x):
    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)


def functional():
    words = L.Input((None,), dtype="int32", name="words")
    embedded = L.Embedding(WORDS, 4, mask_zero=True)(words)
    one = L.Bidirectional(L.LSTM(2, return_sequences=True))(embedded)
    other = L.GRU(4, return_sequences=True)(L.Dropout(0.5)(embedded))
    shared = L.GRU(3)
    ends = [shared(one), shared(other), L.GlobalAveragePooling1D()(L.Add()([one, other]))]
    return keras.Model(words, L.Dense(2, activation="softmax")(L.Concatenate()(ends)))


def masked_series():
    x = L.Input((None, 3))
    y = L.LSTM(3, return_sequences=True)(L.Masking(-1.0)(x))
    return keras.Model(x, L.LSTM(2)(L.Subtract()([y, L.Dense(3)(y)])))


def attention(mask, layer, asked=None):
    """Each step, or the end repeated, asks all steps of another layer."""
    words = L.Input((None,), dtype="int32", name="words")
    steps = L.GRU(3, return_sequences=True)(L.Embedding(WORDS, 4, mask_zero=mask)(words))
    query = steps if asked is None else L.RepeatVector(asked)(L.LSTM(3)(steps))
    found = layer([query, L.Dense(3)(steps), steps] if asked is None else [query, steps])
    return keras.Model(words, L.Dense(2)(L.GlobalMaxPooling1D()(found)))


def models():
    """Name -> model."""
    back = L.GRU(3, go_backwards=True, return_sequences=True)
    ways = L.Bidirectional(L.LSTM(3, return_sequences=True), backward_layer=back)
    return {
        "lstm": ids(L.SpatialDropout1D(0.2), L.LSTM(3, dropout=0.1, recurrent_dropout=0.1), L.Dense(1)),
        "lstm_unmasked": ids(L.LSTM(3), L.Dense(1, activation="sigmoid"), mask=False),
        "lstm_no_bias": ids(L.LSTM(3, use_bias=False, activation="softsign"), L.Dense(2, use_bias=False)),
        "gru": ids(L.GRU(3), L.Dense(2, activation="softmax")),
        "gru_reset_before": ids(L.GRU(3, reset_after=False), L.Dense(1)),
        "gru_no_bias": series(L.GRU(3, use_bias=False)),
        "rnn": series(L.SimpleRNN(3, activation="relu"), L.Dense(2, activation="gelu"), mask=True),
        "hard_sigmoid": ids(L.LSTM(3, recurrent_activation="hard_sigmoid"), L.Dense(1)),
        "sum": ids(L.Bidirectional(L.GRU(3), merge_mode="sum"), L.Dense(1)),
        "mul": ids(L.Bidirectional(L.LSTM(3, return_sequences=True), merge_mode="mul"), L.LSTM(2)),
        "ave": series(L.Bidirectional(L.SimpleRNN(3, use_bias=False), merge_mode="ave"), L.Dense(1)),
        "two_ways": ids(ways, L.LayerNormalization(), L.GRU(2)),
        "tagger": ids(
            L.Bidirectional(L.LSTM(2, return_sequences=True)),
            L.TimeDistributed(L.Dense(2, activation="softmax")),
        ),
        "steps_unmasked": series(L.GRU(2, return_sequences=True), L.Dense(2)),
        "backwards": ids(L.LSTM(3, go_backwards=True), L.Dense(1)),
        "backwards_steps": ids(L.GRU(3, go_backwards=True, return_sequences=True), L.LSTM(2)),
        "pools": ids(
            L.GRU(3, return_sequences=True), L.BatchNormalization(), L.GlobalMaxPooling1D(), L.ReLU()
        ),
        "mean": ids(
            L.LSTM(3, return_sequences=True), L.Activation("tanh"), L.GlobalAveragePooling1D(), L.ELU()
        ),
        "flatten": ids(
            L.LSTM(2, return_sequences=True), L.Flatten(), L.Dense(2), L.LeakyReLU(), length=MAXLEN
        ),
        "copy": series(L.LSTM(2), L.RepeatVector(3), L.LSTM(2, return_sequences=True), L.Softmax()),
        "functional": functional(),
        "masked_series": masked_series(),
        "keras_2": ids(L.LSTM(3, recurrent_activation=slope_of_keras_2), L.Dense(1)),
        "keras_1_lstm": ids(L.LSTM(3, recurrent_activation=slope_of_keras_2), L.Dense(1)),
        "keras_1_gru": ids(L.GRU(3, recurrent_activation=slope_of_keras_2, reset_after=False), L.Dense(1)),
        "cudnn_lstm": ids(L.LSTM(3), L.Dense(1), mask=False),
        "cudnn_gru": ids(L.Bidirectional(L.GRU(3)), L.Dense(1), mask=False),
        "windows": ids(
            L.Conv1D(3, 2, padding="same", activation="relu"), L.MaxPooling1D(2), L.LSTM(2), mask=False
        ),
        "strided": series(
            L.Conv1D(4, 3, strides=2), L.Conv1D(3, 2, padding="causal", dilation_rate=2), L.GRU(2)
        ),
        "moving_mean": series(L.AveragePooling1D(3, strides=1), L.LSTM(2, return_sequences=True), mask=True),
        "attention": attention(True, L.Attention()),
        "attention_scaled": attention(False, L.Attention(use_scale=True), asked=2),
        "attention_concat": attention(True, L.Attention(use_scale=True, score_mode="concat")),
        "attention_additive": attention(True, L.AdditiveAttention(dropout=0.1), asked=2),
        "attention_plain": attention(False, L.AdditiveAttention(use_scale=False)),
    }


def randomised(model, rng):
    for weight in model.weights:
        values = rng.normal(0, 0.5, weight.shape).astype(np.float32)
        weight.assign(np.abs(values) + 0.5 if "variance" in weight.path else values)
    return model


def weights(model):
    """Layer -> arrays, in the order of the old files."""
    found = {}
    for layer in model.layers:
        found[layer.name] = [
            np.asarray(w.detach().numpy() if hasattr(w, "detach") else w)
            for w in (v.numpy() for v in [*layer.trainable_weights, *layer.non_trainable_weights])
        ]
    return found


# --- configurations and weights as older versions had them


def aged(config, version):
    """The configuration as Keras 2 wrote it: no modules, sigmoids by name, shapes at the first layer."""
    config = {**strip(copy.deepcopy(config)), "keras_version": version}
    layers = config["config"]["layers"]
    shape = layers.pop(0)["config"]["batch_shape"]
    layers[0]["config"]["batch_input_shape"] = shape
    for layer in layers:
        old(layer)
    return config


def strip(value):
    if isinstance(value, dict):
        gone = ("registered_name", "build_config", "compile_config", "shared_object_id")
        if not str(value.get("module")).startswith("keras.src.ops"):
            gone += ("module",)
        value = {k: strip(v) for k, v in value.items() if k not in gone and not k.endswith(UNUSED)}
        if value.get("class_name") == "DTypePolicy":
            return "float32"
    return [strip(v) for v in value] if isinstance(value, list) else value


def old(layer):
    config = layer["config"]
    if "recurrent_activation" in config:
        config["recurrent_activation"] = "hard_sigmoid"
        config.pop("zero_output_for_mask", None)
        config["implementation"] = 1
    config.pop("quantization_config", None)


def as_keras_1(config, arrays):
    """Names of settings, and three arrays a gate, in the order i c f o or z r h."""
    config = aged(config, "1.2.2")
    for layer in config["config"]["layers"]:
        names = {"units": "output_dim", "recurrent_activation": "inner_activation", "use_bias": "bias"}
        layer["config"] = {names.get(key, key): value for key, value in layer["config"].items()}
        for key in ("seed", "reset_after", "implementation", "unroll", "return_state"):
            layer["config"].pop(key, None)
        if layer["class_name"] in ("LSTM", "GRU"):
            layer["config"].pop("bias")
            order = (0, 2, 1, 3) if layer["class_name"] == "LSTM" else (0, 1, 2)
            parts = [np.split(a, len(order), axis=-1) for a in arrays[layer["config"]["name"]]]
            arrays[layer["config"]["name"]] = [part[gate] for gate in order for part in parts]
    config["config"] = config["config"]["layers"]
    return config, arrays


def as_cudnn(config, arrays):
    """The layers' fused twins of Keras 2, and their weights: each gate's kernel transposed in place, two biases."""
    config = aged(config, "2.2.4")
    for layer in config["config"]["layers"]:
        inner = layer["config"]["layer"] if layer["class_name"] == "Bidirectional" else layer
        if inner["class_name"] not in ("LSTM", "GRU"):
            continue
        gates = 4 if inner["class_name"] == "LSTM" else 3
        inner["class_name"] = f"CuDNN{inner['class_name']}"
        keep = ("name", "units", "return_sequences", "go_backwards", "stateful", "return_state", "trainable")
        inner["config"] = {key: value for key, value in inner["config"].items() if key in keep}
        if layer["class_name"] == "Bidirectional":
            layer["config"].pop("backward_layer")
        name = layer["config"]["name"]
        arrays[name] = [cudnn(array, gates) for array in arrays[name]]
    return config, arrays


def cudnn(array, gates):
    if array.ndim == 1:  # an LSTM's one bias: half of it each
        return np.concatenate([array / 2, array / 2])
    if array.shape[0] == 2:
        return array.ravel()
    square = array.shape[1] == gates * array.shape[0]
    blocks = np.hsplit(array, gates)
    return np.hstack([b.T if square else b.T.reshape(b.shape, order="C") for b in blocks])


def main():
    FILES.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    found = {}
    made = models()
    for name, model in made.items():
        randomised(model, rng)
        of_ids = "int" in str(model.inputs[0].dtype)
        lengths = LENGTHS.get(name, [4, 1, 6, 2])
        kind = np.int64 if of_ids else np.float32
        X = [(rng.integers(1, WORDS, n) if of_ids else rng.normal(size=(n, 3))).astype(kind) for n in lengths]
        if of_ids and name != "flatten":
            X[2][[0, 3]] = 0  # a step that is skipped where ids are masked
        if name == "masked_series":
            X[2][2] = -1.0

        def outputs(batch, model=model):
            return np.asarray(model(batch, training=False).detach())

        alone = [outputs(x[None])[0] for x in X]
        config, arrays = json.loads(model.to_json()), weights(model)
        if name == "keras_2":
            config = aged(config, "2.2.4")
        elif name.startswith("keras_1"):
            config, arrays = as_keras_1(config, arrays)
        elif name.startswith("cudnn"):
            config, arrays = as_cudnn(config, arrays)
        else:
            config = {**config, "keras_version": keras.__version__}
        found[f"{name}|config"] = np.array(json.dumps(strip(config)))
        for layer, values in arrays.items():
            for number, value in enumerate(values):
                found[f"{name}|weight|{layer}|{number}"] = value
        for number, (x, y) in enumerate(zip(X, alone)):
            found[f"{name}|x|{number}"], found[f"{name}|alone|{number}"] = x, y
        for side in ("pre", "post"):
            padded = keras.utils.pad_sequences(X, MAXLEN, kind, padding=side)
            found[f"{name}|{side}"] = outputs(padded)
    write(found)
    for name, ending in (("tagger", "keras"), ("masked_series", "keras"), ("sum", "h5")):
        made[name].save(FILES / f"{name}.{ending}")


def write(found, file="models.npz"):
    """All numbers end to end, and what lies where: an .npz of many small arrays is mostly headers."""
    index, numbers = {}, []
    for name, value in found.items():
        if name.endswith(("|config", "|names")):
            index[name] = value.item()
        else:
            index[name] = [value.dtype.kind, *value.shape]
            numbers.append(value.astype(np.float32).ravel())
    np.savez_compressed(FILES / file, index=np.array(json.dumps(index)), numbers=np.concatenate(numbers))


if __name__ == "__main__":
    main()
