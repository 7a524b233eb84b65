"""What is read: series and recordings, texts, word vectors, columns beside them."""

from __future__ import annotations

import math

from unspool.parameters.checks import (
    choice,
    column_names,
    flag,
    integer,
    number,
    optional,
    read_vectors,
    text_column,
    vectors,
)
from unspool.parameters.parameter import MODEL, SIGNALS, VECTORS, Parameter

INPUTS: tuple[Parameter, ...] = (
    Parameter(
        "crop",
        0.0,
        number(0, 1, "left"),
        "in training a random run of each sequence is seen, of a share of its steps between 1 - crop and 1 (series and "
        "recordings, one target a sequence).",
        SIGNALS,
        "Largest share of the steps left out at random in training.",
        later=True,
    ),
    Parameter(
        "noise",
        0.0,
        number(0, math.inf, "left"),
        "deviation of noise on the standardised features in training (series and recordings).",
        SIGNALS,
        "Deviation of noise on the features in training.",
        later=True,
    ),
    Parameter(
        "time_mask",
        0.0,
        number(0, 1, "left"),
        "largest share of the steps, in one run, set to the features' mean in training (series and recordings).",
        SIGNALS,
        "Largest share of the steps blanked at random in training.",
        later=True,
    ),
    Parameter(
        "audio_features",
        "log-mel",
        choice("log-mel", "mfcc"),
        'what a recording becomes, each 10 ms: "log-mel" (decibels of mel bands) or "mfcc" (20 coefficients).',
        SIGNALS,
        "Of recordings: log-mel or mfcc.",
        later=True,
    ),
    Parameter(
        "mel_bands",
        40,
        integer(1),
        "mel bands of a recording's spectra.",
        SIGNALS,
        "Mel bands of recordings.",
        later=True,
    ),
    Parameter(
        "sample_rate",
        None,
        optional(integer(1)),
        "samples a second that recordings are brought to. None: that of most training recordings, 16,000 at most.",
        SIGNALS,
        "Of recordings. Default: that of most of them, 16000 at most.",
        kind=int | None,
        later=True,
    ),
    Parameter(
        "gain_invariant",
        True,
        flag,
        "each recording is brought to full scale, so that how loud it is makes no difference.",
        SIGNALS,
        "Bring each recording to full scale.",
        later=True,
    ),
    Parameter(
        "channel_invariant",
        False,
        flag,
        "the mean of each band over a recording is taken off, so that microphone, room and voice say less, and a "
        "steady sound nothing: for words of speakers that training does not have.",
        SIGNALS,
        "Take off each band's mean over a recording: for unknown speakers.",
        later=True,
    ),
    Parameter(
        "max_words",
        10000,
        integer(1),
        "most frequent words (or characters) of the training texts that get a vector.",
        MODEL,
        "Largest vocabulary.",
    ),
    Parameter(
        "level",
        "word",
        choice("word", "char"),
        'what a token is: "word" (words and punctuation marks) or "char".',
        MODEL,
        "Tokens: word or char.",
    ),
    Parameter(
        "characters",
        None,
        choice(None, "cnn", "lstm"),
        'beside each word\'s vector 50 numbers from its characters, known word or not: "cnn" (filters of three, the '
        'largest answer of each) or "lstm" (25 units each way). Texts by words only.',
        MODEL,
        "Beside each word's vector one of its characters: cnn or lstm.",
        kind=str | None,
        later=True,
    ),
    Parameter(
        "vectors",
        "texts",
        vectors,
        "word vectors that the embedding starts from: a source of `unspool.encode.vectors`, a list of them, "
        'side by side, "texts" (those of the training texts themselves, by which words stand near which, '
        "embedding_dim wide, of more than 1,000 words) or None (at random). Training adds a change "
        "to them. Texts only.",
        VECTORS,
        "A file (GloVe, word2vec, fastText .vec, .npy), a folder with word pieces, or a name of docs/recipe.md; "
        "NAME:50 for 50 dimensions; repeat it. Default: texts, from the training texts themselves. none: at random.",
        kind=list[str] | None,
        option_default=None,
        later=True,
        before=None,
        read=read_vectors,
    ),
    Parameter(
        "vector_words",
        50000,
        integer(0),
        "words of the sources, beyond those of the training texts, that are known at prediction.",
        VECTORS,
        "Words of the vectors beyond the training texts'.",
        later=True,
    ),
    Parameter(
        "vectors_rate",
        None,
        optional(number(0, math.inf, "left")),
        'the vectors\' share of the learning rate; 0: as given. None: 0.3, and 1 for "texts".',
        VECTORS,
        "Their share of the learning rate; 0: as given. Default: 0.3, 1 of the texts' own.",
        kind=float | None,
        later=True,
    ),
    Parameter(
        "blend",
        None,
        optional(flag),
        "mix in a linear model on TF-IDF, by a weight found on the held-back rows. None: for texts where held-back "
        "rows are 20 or more, and the loss is squared or huber, or cross-entropy.",
        MODEL,
        "Mix in a linear model on TF-IDF. Default: for texts.",
        kind=bool | None,
        later=True,
        before=False,
    ),
    Parameter(
        "text_column",
        None,
        text_column,
        "the column of X that holds the sequences, where X is a DataFrame or a dict of columns.",
        instead="`--input`",
        later=True,
    ),
    Parameter(
        "numeric",
        (),
        column_names,
        "columns of X with a number a row, beside the sequences: brought to mean 0 and variance 1 over the training "
        "part, a missing one to the mean, and where training has missing ones these are told apart.",
        MODEL,
        "A column of numbers beside the text; repeat it.",
        repeat=str,
        later=True,
    ),
    Parameter(
        "categorical",
        (),
        column_names,
        "columns of X with a category a row, beside the sequences: a 1 at the row's own; missing, unknown and single "
        "ones share a place.",
        MODEL,
        "A column of categories beside the text; repeat it.",
        repeat=str,
        later=True,
    ),
)
