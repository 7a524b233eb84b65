"""Makes `several.npz` and `pair.keras`, `pair.h5` of `tests/importing/files`: Keras 3.15.1's models of several inputs.

python tests/importing/make_several.py

For each model NAME: its configuration, its weights by layer, and for each of its inputs and outputs, by name, the
values of all rows: inputs as they are (sequences of uneven length), and Keras' outputs for each row alone.
"""

from __future__ import annotations

import json

import keras
import numpy as np
from keras import layers as L
from make_files import FILES, WORDS, randomised, strip, weights, write


def tokens(name, length=None):
    return L.Input((length,), dtype="int32", name=name)


def numbers(name="numbers", width=3):
    return L.Input((width,), name=name)


def pair():
    """Two texts by one embedding and one layer, what they share, and columns."""
    one, two, beside = tokens("title"), tokens("body"), numbers()
    words, reads = L.Embedding(WORDS, 4, mask_zero=True), L.Bidirectional(L.LSTM(3))
    a, b = reads(words(one)), reads(words(two))
    merged = [a, b, L.Multiply()([a, b]), L.Subtract()([a, b]), L.Dense(2)(beside)]
    return keras.Model(
        [one, two, beside], L.Dense(2, activation="softmax", name="label")(L.Concatenate()(merged))
    )


def merges():
    """Every merge of two layers without a mask, a step with a row and with a width of one, and two outputs."""
    x, row = L.Input((None, 3), name="series"), numbers("row", 3)
    steps = L.GRU(3, return_sequences=True)(x)
    weighed = L.Multiply()([steps, L.TimeDistributed(L.Dense(1, activation="sigmoid"))(steps)])
    kinds = [L.Add(), L.Average(), L.Maximum(), L.Minimum(), L.Multiply()]
    both = [kind([weighed, row]) for kind in kinds]
    end = L.GlobalMaxPooling1D()(L.Concatenate(axis=1)(both))
    dots = [L.Dot(axes=1)([end, row]), L.Dot(axes=-1, normalize=True)([end, row])]
    return keras.Model({"series": x, "row": row}, {"dots": L.Concatenate(axis=1)(dots), "steps": weighed})


def category():
    """An id of its own row, embedded, beside a text."""
    text, kind = tokens("text"), tokens("kind", 1)
    embedded = L.Flatten()(L.Embedding(4, 2)(kind))
    read = L.LSTM(3)(L.Embedding(WORDS, 4, mask_zero=True)(text))
    return keras.Model([text, kind], [L.Dense(1, name="score")(L.Concatenate()([read, embedded])), read])


def translation():
    """A decoder that starts from the states of an encoder."""
    source, target = tokens("source"), tokens("target")
    _, h, c = L.LSTM(3, return_state=True)(L.Embedding(WORDS, 4)(source))
    steps = L.LSTM(3, return_sequences=True)(L.Embedding(WORDS, 4)(target), initial_state=[h, c])
    return keras.Model([source, target], L.TimeDistributed(L.Dense(WORDS, activation="softmax"))(steps))


def masked_translation():
    """The same with masks, two directions, and states of a GRU."""
    source, target, words = tokens("source"), tokens("target"), L.Embedding(WORDS, 4, mask_zero=True)
    _, forward, backward = L.Bidirectional(L.GRU(2, return_state=True))(words(source))
    start = L.Concatenate()([forward, backward])
    steps = L.GRU(4, return_sequences=True)(words(target), initial_state=start)
    return keras.Model([source, target], L.GlobalAveragePooling1D()(steps))


def asked():
    """The steps of one text ask those of another."""
    question, text = tokens("question"), tokens("text")
    words, reads = L.Embedding(WORDS, 4, mask_zero=True), L.GRU(3, return_sequences=True)
    found = L.Attention()([reads(words(question)), reads(words(text))])
    return keras.Model([question, text], L.Dense(1)(L.GlobalMaxPooling1D()(found)))


def heads():
    """Attention with heads and masks: of a text to what came before in it, and of another text to it."""
    source, target = tokens("source"), tokens("target")
    words = L.Embedding(WORDS, 4, mask_zero=True)
    x, y = words(source), words(target)
    x = L.LayerNormalization()(
        L.MultiHeadAttention(2, 3, value_dim=5, dropout=0.1)(x, x, use_causal_mask=True)
    )
    crossed = L.MultiHeadAttention(3, 2, use_bias=False)(query=y, value=x)
    read = L.GRU(3, return_sequences=True)(L.Add()([y, crossed]))
    return keras.Model([source, target], L.Dense(2)(L.GlobalAveragePooling1D()(read)))


def blocks():
    """Two layers of a transformer, without masks, the first one called twice."""
    x, own = tokens("text"), L.MultiHeadAttention(2, 3)
    y = L.Embedding(WORDS, 4)(x)
    for _ in range(2):
        y = L.LayerNormalization()(L.Add()([y, own(y, y, y)]))
        y = L.LayerNormalization()(L.Add()([y, L.Dense(4)(L.Dense(5, activation="relu")(y))]))
    return keras.Model(x, L.Dense(2)(L.GlobalMaxPooling1D()(y)))


MODELS = {
    f.__name__: f for f in (pair, merges, category, translation, masked_translation, asked, heads, blocks)
}


def main():
    rng = np.random.default_rng(0)
    found = {}
    for name, make in MODELS.items():
        keras.utils.clear_session()
        model = randomised(make(), rng)
        config = {**json.loads(model.to_json()), "keras_version": keras.__version__}
        found[f"{name}|config"] = np.array(json.dumps(strip(config)))
        for layer, values in weights(model).items():
            for number, value in enumerate(values):
                found[f"{name}|weight|{layer}|{number}"] = value
        for row, length in enumerate([4, 1, 6, 3]):
            given = {}
            for number, (key, tensor) in enumerate(zip((t.name for t in model.inputs), model.inputs)):
                shape = tensor.shape[1:]
                longer = (length + number) if name != "merges" else length
                size = [longer if n is None else n for n in shape]
                ids = "int" in str(tensor.dtype)
                top = 4 if shape == (1,) else WORDS
                x = rng.integers(1, top, size) if ids else rng.normal(size=size)
                if ids and len(x) > 3:
                    x[[0, 2]] = 0
                given[key] = x.astype(np.int64 if ids else np.float32)
            batch = {key: x[None] for key, x in given.items()}
            out = model(batch, training=False)
            if not isinstance(out, dict):
                out = dict(zip(model.output_names, out if isinstance(out, (list, tuple)) else [out]))
            for key, x in given.items():
                found[f"{name}|x|{key}|{row}"] = x
            for key, y in out.items():
                found[f"{name}|y|{key}|{row}"] = keras.ops.convert_to_numpy(y)[0]
        if name == "pair":
            for ending in ("keras", "h5"):
                model.save(FILES / f"pair.{ending}")
    write(found, "several.npz")


if __name__ == "__main__":
    main()
