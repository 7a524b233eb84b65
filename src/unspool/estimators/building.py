"""What the parameters of a sequence estimator become: its network, and the settings of its training."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from unspool.encode import AudioInput, SeriesInput, TextInput
from unspool.encode.reading import SHOWN
from unspool.encode.vectors import TEXTS, as_list, rate_of
from unspool.errors import bad_parameter
from unspool.estimators.by_kind import DROPOUT, INPUT_DROPOUT, Training
from unspool.estimators.network import Ensemble, SequenceNetwork
from unspool.nn.augment import Augment
from unspool.parameters import TABLE
from unspool.training import Settings

if TYPE_CHECKING:
    from unspool.estimators.fitted import FittedSequences

AUGMENT = ("crop", "noise", "time_mask")
OF_SOUND = ("audio_features", "mel_bands", "sample_rate", "gain_invariant", "channel_invariant")


def check_kind(model: FittedSequences, kind: str) -> None:
    """`InvalidParameterError` for what X of this kind cannot have."""
    for owners, names in ((("series", "audio"), AUGMENT), (("audio",), OF_SOUND)):
        for p in (p for p in TABLE if p.name in names and kind not in owners):
            if (value := getattr(model, p.name)) != p.default:
                expected = f"left at {p.default!r} where X is {SHOWN.get(kind, kind)}"
                bad_parameter(type(model).__name__, p.name, expected, value)
    if model.crop and model.task.per_step:
        bad_parameter(type(model).__name__, "crop", "0: there is a target a step", model.crop)
    given = [source for source in as_list(model.vectors) if source != TEXTS]
    texts_only = {
        "vectors": given or None,
        "word_dropout": model.word_dropout or None,
        "characters": model.characters,
    }
    for name, value in texts_only.items():
        if kind != "text" and value is not None:
            what = "0" if name == "word_dropout" else "None"
            bad_parameter(type(model).__name__, name, f"{what} where X is {kind}, not texts", value)
    if model.characters is not None and model.level == "char":
        bad_parameter(
            type(model).__name__,
            "characters",
            "None with level='char', where a token is one",
            model.characters,
        )


def settings(model: FittedSequences, chosen: Training) -> Settings:
    """Of the training, with what was chosen by the kind of input."""
    return replace(
        Settings.of(model, rate_of(model.vectors, model.vectors_rate)),
        epochs=chosen.epochs,
        learning_rate=chosen.learning_rate,
        patience=chosen.patience if chosen.early_stopping else None,
        schedule=chosen.schedule,
    )


def network(model: FittedSequences) -> SequenceNetwork | Ensemble:
    """A fresh one, or an ensemble of them, for the input and the task that were learnt."""
    count = getattr(model, "ensemble_", model.ensemble)
    return _member(model) if count == 1 else Ensemble([_member(model) for _ in range(count)])


def _member(model: FittedSequences) -> SequenceNetwork:
    given, characters = None, None
    if isinstance(model.input_, TextInput) and model.input_.trained:
        given = model.input_.given_table()
    if isinstance(model.input_, TextInput) and model.input_.characters is not None and model.characters:
        characters = (model.characters, model.input_.characters.vocabulary_size)
    return SequenceNetwork(
        given=given,
        characters=characters,
        trained=getattr(model.input_, "trained", 0),
        columns=0 if model.columns_ is None else model.columns_.width,
        word_dropout=model.word_dropout if model.input_.kind == "text" else 0.0,
        cell=model.cell,
        vocabulary_size=model.input_.vocabulary_size,
        n_features=model.input_.n_features,
        embedding_dim=model.embedding_dim,
        hidden_size=model.hidden_size,
        num_layers=model.num_layers,
        bidirectional=model.bidirectional,
        pooling=model.pooling,
        dense=model.dense,
        dropout=DROPOUT[model.input_.kind] if model.dropout is None else model.dropout,
        output_size=model.task_.output_size,
        thresholds=model.task_.thresholds_start,
        per_step=model.task.per_step,
        sparse_embedding=model.embedding_update == "sparse",
        merge=model.merge,
        connection=model.connection,
        input_dropout=INPUT_DROPOUT[model.input_.kind]
        if model.input_dropout is None
        else model.input_dropout,
        recurrent_dropout=model.recurrent_dropout,
        zoneout=model.zoneout,
        weight_dropout=model.weight_dropout,
        precision=model.precision,
        augment=_augment(model),
    )


def _augment(model: FittedSequences) -> Augment | None:
    """What varies series and spectra in training; None for nothing, and for texts and ids."""
    chosen = {name: getattr(model, name) for name in AUGMENT}
    if not isinstance(model.input_, (SeriesInput, AudioInput)) or not any(chosen.values()):
        return None
    return Augment(**chosen, features=model.input_.n_given if model.input_.kind == "series" else None)
