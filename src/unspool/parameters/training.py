"""How it is learnt: passes, rates, stopping, device."""

from __future__ import annotations

import math

from unspool.parameters.checks import choice, clip, flag, integer, number, random_state, verbosity
from unspool.parameters.parameter import SPLIT, TRAINING, Parameter
from unspool.parameters.search import between, one_of, whole

LEARNING: tuple[Parameter, ...] = (
    Parameter(
        "epochs",
        20,
        integer(1),
        "passes over the training part, at most.",
        TRAINING,
        "At most.",
        search=whole(5, 100, log=True, asked=True),
    ),
    Parameter(
        "batch_size",
        32,
        integer(1),
        "sequences a step; those of similar length go together.",
        TRAINING,
        "Texts a step.",
        search=whole(8, 128, log=True),
    ),
    Parameter(
        "learning_rate",
        2e-3,
        number(0, math.inf, "neither"),
        "of Adam.",
        TRAINING,
        "Of Adam.",
        search=between(5e-4, 1e-2, log=True),
    ),
    Parameter(
        "schedule",
        "constant",
        choice("constant", "linear", "cosine", "one_cycle"),
        'of the learning rate over all epochs: "constant", "linear", "cosine" or "one_cycle".',
        TRAINING,
        "Of the learning rate: constant, linear, cosine or one_cycle.",
        later=True,
        search=one_of("constant", "linear", "cosine", "one_cycle", asked=True),
    ),
    Parameter(
        "warmup",
        0,
        integer(0),
        "steps over which the learning rate rises at first.",
        TRAINING,
        "Steps over which the rate rises at first.",
        later=True,
        search=whole(0, 500, asked=True),
    ),
    Parameter(
        "averaging",
        0.99,
        number(0, 1, "left"),
        "decay of a moving average of the weights, which is what is validated and kept; 0: none.",
        TRAINING,
        "Decay of the weights' moving average; 0: none.",
        later=True,
        before=0.0,
        search=one_of(0.99, 0.999, 0.9, 0.0, asked=True),
    ),
    Parameter(
        "weight_decay",
        1e-4,
        number(0, math.inf, "left"),
        "decoupled, as in AdamW.",
        TRAINING,
        "Of Adam.",
        search=between(1e-6, 1e-1, log=True),
    ),
    Parameter(
        "gradient_clip",
        1.0,
        clip,
        "largest joint norm of the gradients; None for no limit.",
        TRAINING,
        "Largest norm of the gradient.",
        search=between(0.1, 10.0, log=True, asked=True),
    ),
    Parameter(
        "gradient_clip_value",
        None,
        clip,
        "largest size of any number in a gradient, applied before gradient_clip; None for no limit.",
        TRAINING,
        "Largest size of a number in the gradient. Default: any.",
        kind=float | None,
        later=True,
    ),
    Parameter(
        "early_stopping",
        True,
        flag,
        "hold back a validation part and stop once its loss has not fallen for `patience` epochs. False: no part is "
        "held back, and all epochs run.",
        TRAINING,
        "Stop on the validation loss.",
    ),
    Parameter(
        "patience",
        4,
        integer(1),
        "see early_stopping.",
        TRAINING,
        "Epochs without a better validation loss.",
        search=whole(2, 20, log=True, asked=True),
    ),
    Parameter(
        "monitor",
        "loss",
        choice("loss", "metric"),
        'what tells the best epoch, and `patience` waits for: "loss", or "metric", the task\'s first measure of the '
        "validation part: accuracy of classes, R2 of numbers, kappa of classes in an order, micro F1 of several "
        "labels, the deviance of counts and positive numbers.",
        TRAINING,
        "loss or metric (such as accuracy): what tells the best epoch.",
        later=True,
    ),
    Parameter(
        "validation_fraction",
        0.1,
        number(0, 1, "neither"),
        "size of the validation part, where `fit` is given no validation_data.",
        SPLIT,
        "Share of the training rows for early stopping.",
    ),
    Parameter(
        "embedding_update",
        "dense",
        choice("sparse", "dense"),
        '"dense" (default): every token vector at every step, as Adam is defined (momentum goes on moving a token '
        "after its batch). A large table is worked on by the rows of each batch, and gets the same numbers up to "
        'rounding. "sparse": a step updates only the token vectors that its batch has, and the momentum of the others '
        "stands still; a little faster than that, and on EmoBank a little worse (test r .450 against .464).",
        TRAINING,
        "dense, or sparse: only the tokens of the batch, faster with many words.",
    ),
    Parameter(
        "precision",
        "float32",
        choice("float32", "bfloat16"),
        '"float32" (default), or "bfloat16": what the recurrent layers multiply in training is rounded to 8 '
        "significant bits; states, sums and weights are not, nor is anything in prediction. Faster where `unspool "
        "doctor` says so.",
        TRAINING,
        "float32, or bfloat16 products in training.",
        later=True,
    ),
    Parameter(
        "device",
        "cpu",
        choice("auto", "cpu", "cuda", "mps"),
        '"cpu" (default: there the native engine runs), "cuda", "mps", or "auto": a GPU if torch can use one, else the '
        "CPU, which is printed. The network is trained and asked there, and kept on the CPU.",
        TRAINING,
        "cpu, cuda, mps or auto: a GPU where torch has one.",
        later=True,
    ),
    Parameter(
        "random_state",
        None,
        random_state,
        "int for the same numbers at each fit on the same machine; None; or a RandomState or Generator of NumPy.",
        TRAINING,
        "Of split, weights and batches.",
        kind=int,
        option="seed",
        option_default=0,
    ),
    Parameter(
        "warm_start",
        False,
        flag,
        "`fit` goes on from the weights of the last fit; vocabulary, scales, columns and classes stay as they are.",
        later=True,
    ),
    Parameter("verbose", 1, verbosity, "0 silent, 1 a line an epoch.", instead="`--quiet`"),
)
