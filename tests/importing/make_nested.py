"""Makes `nested.npz` and `nested.keras` of `tests/importing/files`: Keras 3.15.1's models within models,
layers that change shapes, and operations between layers.

python tests/importing/make_nested.py

As `make_several.py`, and the names of the weights.
"""

from __future__ import annotations

import json

import keras
import numpy as np
from keras import layers as L
from keras import ops
from make_files import FILES, WORDS, randomised, strip, weights, write
from make_several import numbers, tokens


def series(width=3, length=None, name="series"):
    return L.Input((length, width), name=name)


def steps(x, units=4):
    return L.GRU(units, return_sequences=True)(x)


def nested():
    """An encoder of two texts, another one inside a model, masks from without and within, what is not trained."""
    one, two, row = tokens("title"), tokens("body"), numbers()
    words = keras.Sequential(
        [L.Embedding(WORDS, 4, mask_zero=True), L.GRU(3, return_sequences=True)], name="words"
    )
    words.trainable = False
    x = L.Input((None, 3))
    deep = keras.Sequential(
        [L.Dense(3), L.BatchNormalization(), L.LSTM(2, return_sequences=True)], name="deep"
    )
    read = deep(x)
    encoder = keras.Model(x, [read, L.Bidirectional(L.GRU(2))(x)], name="encoder")
    a, b = encoder(words(one)), encoder(words(two))
    beside = keras.Sequential([L.Normalization(), L.Dense(2, activation="relu")], name="beside")(row)
    ends = [a[1], b[1], L.LSTM(2)(a[0]), L.LSTM(2)(b[0]), beside]
    return keras.Model([one, two, row], L.Dense(2)(L.Concatenate()(ends)))


def several_inputs():
    """A model of two inputs, called with a dict and with a list, whose states start from a row; masks within."""
    text, row = tokens("text"), numbers("row", 3)
    inner_text, inner_row = L.Input((None,), dtype="int32", name="t"), L.Input((3,), name="r")
    embedded = L.Embedding(WORDS, 4, mask_zero=True)(inner_text)
    read = L.GRU(3)(embedded, initial_state=inner_row)
    inner = keras.Model({"t": inner_text, "r": inner_row}, [L.Dense(2)(read), L.LSTM(3)(embedded)])
    first = inner({"r": row, "t": text})
    second = inner({"t": text, "r": first[1]})
    return keras.Model([text, row], L.Concatenate()([*first, *second]))


def chain():
    """A sequential model that begins with one, and goes on with a functional one."""
    x = L.Input((None, 3))
    body = keras.Model(x, L.Add()([x, L.LSTM(3, return_sequences=True)(x)]))
    head = keras.Sequential([keras.Sequential([L.GRU(2), L.Dense(3)]), L.Softmax()])
    return keras.Sequential(
        [keras.Sequential([L.Input((None,), dtype="int32"), L.Embedding(WORDS, 3)]), body, head]
    )


def reshaped():
    """Rows to steps and back, steps to fewer and wider ones."""
    row, x = numbers("row", 6), series(4)
    read = steps(x)
    ends = [
        L.LSTM(2)(L.Reshape((3, 2))(row)),
        L.GRU(2)(L.Reshape((-1, 1))(row)),
        L.GRU(3)(L.Reshape((-1, 2))(read)),
        L.Reshape((4,))(L.Reshape((1, 4))(L.GlobalMaxPooling1D()(read))),
    ]
    return keras.Model([row, x], [L.Concatenate()(ends), L.Reshape((-1, 2))(read)])


def fixed():
    """Sequences of six steps: attention by their features turned around, and all at once."""
    x = series(3, 6)
    read = steps(x)
    weighed = L.Permute((2, 1))(L.Dense(6, activation="softmax")(L.Permute((2, 1))(read)))
    ends = [
        L.Flatten()(L.Multiply()([read, weighed])),
        L.LSTM(2)(L.Reshape((3, 8))(read)),
        L.Reshape((-1,))(read),
    ]
    return keras.Model(x, L.Dense(2)(L.Concatenate()(ends)))


def dots():
    """A decoder that asks an encoder, weights of steps, and products of rows and steps."""
    source, target = tokens("source"), tokens("target")
    x, y = (
        steps(L.Embedding(WORDS, 4, mask_zero=mask)(text)) for text, mask in ((source, True), (target, False))
    )
    scores = L.Activation("softmax")(L.Dot(axes=[2, 2])([y, x]))
    asked = L.Concatenate()([L.Dot(axes=[2, 1])([scores, x]), y])
    one = L.Softmax(axis=1)(L.Dense(1)(y))
    weighed = L.Flatten()(L.Dot(axes=1)([one, y]))
    likeness = L.Dot(axes=-1, normalize=True)([x, y])
    ends = [
        weighed,
        L.Dot(axes=(1, 2))([weighed, L.RepeatVector(2)(weighed)]),
        L.LSTM(2)(L.Dot(axes=(2, 1))([likeness, y])),
    ]
    return keras.Model([source, target], [L.Dense(3)(asked), L.Concatenate()(ends)])


def windows():
    """Every kind of window over time, and more or fewer steps."""
    x = steps(series_in := series())
    ends = [
        L.SeparableConv1D(3, 2, depth_multiplier=2, activation="relu")(x),
        L.DepthwiseConv1D(3, depth_multiplier=2, padding="same")(x),
        L.Conv1D(6, 2, groups=2, padding="causal")(x),
        L.Conv1D(2, 4, strides=3, padding="same")(x),
        L.MaxPooling1D(3, strides=2, padding="same")(x),
        L.AveragePooling1D(3, padding="same")(x),
        L.UpSampling1D(2)(L.Cropping1D((1, 0))(x)),
        L.ZeroPadding1D((1, 2))(x),
    ]
    return keras.Model(series_in, [*ends[3:6], L.Concatenate()([L.GRU(1)(end) for end in ends])])


def functions():
    """Functions with settings, cells by themselves, and one-hot steps."""
    x, text = series(), tokens("text")
    y = L.PReLU(shared_axes=[1])(L.Rescaling(3.0, offset=-0.2)(x))
    y = L.ReLU(max_value=1.5, negative_slope=0.2, threshold=0.3)(
        L.RNN(L.LSTMCell(4), return_sequences=True)(y)
    )
    y = L.UnitNormalization()(L.ELU(0.6)(L.Identity()(L.Dense(3)(y))))
    y = L.Bidirectional(L.RNN(L.GRUCell(2)))(
        L.Normalization(mean=[3.0, 1.0, 2.0], variance=[0.2, 1.0, 4.0])(y)
    )
    return keras.Model([x, text], L.Concatenate()([y, L.GRU(2)(L.CategoryEncoding(WORDS, "one_hot")(text))]))


def operations():
    """What users write between layers; none of it has a mask."""
    text = tokens("text")
    x, y = (steps(L.Embedding(WORDS, 4, mask_zero=True)(text)) for _ in range(2))
    both = ops.maximum(x + y * 2.0, 1.0 - x) / 4.0
    ends = [
        x[:, -1],
        y[:, 0, :],
        ops.mean(x, axis=1),
        ops.max(y, axis=1),
        ops.sum(both, axis=1),
        L.LSTM(2)(both),
    ]
    ends += [
        L.GRU(2)(ops.concatenate([x, ops.tanh(y)], axis=-1)),
        ops.sum(x * ops.softmax(y, axis=1), axis=1),
    ]
    ends += [
        L.GRU(2)(ops.expand_dims(x[:, -1][:, 1:3], 1)),
        L.GlobalAveragePooling1D()(x[:, :, 1:3] - y[:, :, :2]),
    ]
    return keras.Model(text, [ops.concatenate(ends, axis=-1), ops.concatenate([x, y], axis=1)[:, 1:-1]])


MODELS = {
    f.__name__: f
    for f in (nested, several_inputs, chain, reshaped, fixed, dots, windows, functions, operations)
}


def main():
    rng = np.random.default_rng(0)
    found = {}
    for name, make in MODELS.items():
        keras.utils.clear_session()
        model = randomised(make(), rng)
        for layer in model._flatten_layers():
            if isinstance(layer, L.Normalization) and layer.input_mean is None:
                layer.adapt(rng.normal(5, 3, (20, 3)))
        config = {**json.loads(model.to_json()), "keras_version": keras.__version__}
        found[f"{name}|config"] = np.array(json.dumps(strip(config)))
        names = {}
        for layer, values in weights(model).items():
            for number, value in enumerate(values):
                found[f"{name}|weight|{layer}|{number}"] = value
            own = model.get_layer(layer)
            names[layer] = [w.path for w in [*own.trainable_weights, *own.non_trainable_weights]]
        found[f"{name}|names"] = np.array(json.dumps({k: v for k, v in names.items() if v}))
        for row, length in enumerate([4, 3, 6, 5]):
            given = {}
            for number, (key, tensor) in enumerate(zip((t.name for t in model.inputs), model.inputs)):
                size = [length + number if n is None else n for n in tensor.shape[1:]]
                ids = "int" in str(tensor.dtype) or name == "chain"
                x = rng.integers(1, WORDS, size) if ids else rng.normal(size=size)
                if ids:
                    x[[0, 2]] = 0
                given[key] = x.astype(np.int64 if ids else np.float32)
            out = model({key: x[None] for key, x in given.items()}, training=False)
            names = getattr(model, "output_names", ["prediction"])
            out = dict(zip(names, out if isinstance(out, (list, tuple)) else [out]))
            for key, x in given.items():
                found[f"{name}|x|{key}|{row}"] = x
            for key, y in out.items():
                found[f"{name}|y|{key}|{row}"] = keras.ops.convert_to_numpy(y)[0]
        if name == "nested":
            model.save(FILES / "nested.keras")
    write(found, "nested.npz")


if __name__ == "__main__":
    main()
