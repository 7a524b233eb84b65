"""`unspool compare` of series and recordings, and `--task tagging`, `generation`, `seq2seq` and `forecasting`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from unspool.cli.forecasting import SeriesSource
from unspool.cli.options import Debug, setting_options, settings_of, source_options, with_options
from unspool.cli.pair_data import PairSource
from unspool.cli.signal_data import SignalSource
from unspool.cli.signals import LEFT_OUT
from unspool.cli.studying import (
    ARRANGEMENTS,
    Cells,
    EqualParameters,
    Names,
    Out,
    Quiet,
    Studying,
    joined,
    names,
    run,
)
from unspool.cli.tag_data import TaggedSource
from unspool.cli.text_data import TextSource
from unspool.forecasting.parameters import TABLE as FORECASTING
from unspool.generation.settings import SETTINGS as GENERATION
from unspool.seq2seq.settings import SETTINGS as SEQ2SEQ
from unspool.tagging.parameters import TABLE as TAGGING

CELLS = "rnn,gru,lstm"
ONE_WAY = "one,stacked"
Layouts = Annotated[
    str, typer.Option(help="stacked: two layers.", metavar="NAMES", rich_help_panel=ARRANGEMENTS)
]
# What an arrangement sets itself.
VARIED = ("cell", "num_layers")


@with_options(
    source_options(TaggedSource),
    source_options(Studying),
    setting_options((*VARIED, "bidirectional"), TAGGING),
)
def tagging(
    ctx: typer.Context,
    out: Out,
    task: Annotated[str, typer.Option(help="tagging.")] = "tagging",
    arrangements: Names = None,
    cells: Cells = CELLS,
    layouts: Layouts = "one,stacked,bidirectional",
    equal_parameters: EqualParameters = False,
    quiet: Quiet = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Train many arrangements of cell and layers on tagged sentences, and say which to use.

    unspool compare train.conll --task tagging --test test.conll --repeats 3 --out study
    """
    from unspool import SequenceTagger

    settings = settings_of(options, (*VARIED, "bidirectional"), TAGGING)
    source, studying = TaggedSource.of(options), Studying.of(options)
    parts = source.parts(settings["random_state"])
    labelled = source.label is not None
    train, held, tested = (
        None if p is None else [p.tokens, p.tags, *([p.labels] if labelled else [])] for p in parts
    )
    assert train is not None and tested is not None
    (X, y, *labels), validation = joined(train, held, studying["cv"])
    run(
        ctx,
        out,
        quiet,
        settings,
        X,
        y,
        labels=labels[0] if labelled else None,
        estimator=SequenceTagger(**settings),
        cells=names(cells),
        layouts=names(layouts),
        arrangements=names(arrangements),
        equal_parameters=equal_parameters,
        validation=validation,
        test=tuple(tested),
        **studying,
    )


@with_options(source_options(TextSource), source_options(Studying), setting_options(VARIED, GENERATION))
def generation(
    ctx: typer.Context,
    out: Out,
    task: Annotated[str, typer.Option(help="generation.")] = "generation",
    arrangements: Names = None,
    cells: Cells = CELLS,
    layouts: Layouts = ONE_WAY,
    equal_parameters: EqualParameters = False,
    quiet: Quiet = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Train many arrangements of cell and layers on a text or on many, and say which to use.

    unspool compare shakespeare.txt --task generation --cells gru,lstm,min-lstm --repeats 3 --out study
    """
    from unspool import SequenceGenerator

    settings = settings_of(options, VARIED, GENERATION)
    studying = Studying.of(options)
    rest, _, held, _ = TextSource.of(options).parts(settings["random_state"])
    run(
        ctx,
        out,
        quiet,
        settings,
        rest,
        estimator=SequenceGenerator(**settings),
        cells=names(cells),
        layouts=names(layouts),
        arrangements=names(arrangements),
        equal_parameters=equal_parameters,
        test=held,
        **studying,
    )


@with_options(
    source_options(PairSource), source_options(Studying), setting_options((*VARIED, "attention"), SEQ2SEQ)
)
def seq2seq(
    ctx: typer.Context,
    out: Out,
    task: Annotated[str, typer.Option(help="seq2seq.")] = "seq2seq",
    arrangements: Names = None,
    cells: Cells = CELLS,
    attentions: Annotated[
        str, typer.Option(metavar="NAMES", help="Joined by commas.", rich_help_panel=ARRANGEMENTS)
    ] = "multiplicative,additive",
    layouts: Layouts = ONE_WAY,
    equal_parameters: EqualParameters = False,
    quiet: Quiet = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Train many arrangements of cell, attention and layers on pairs of texts, and say which to use.

    unspool compare words.csv --task seq2seq --input spelling --target phones --repeats 3 --out study
    """
    from unspool import Seq2Seq

    settings = settings_of(options, (*VARIED, "attention"), SEQ2SEQ)
    studying = Studying.of(options)
    parts = PairSource.of(options).parts(settings["random_state"])
    train, held, tested = (None if p is None else [p.sources, p.targets] for p in parts[:3])
    assert train is not None and tested is not None
    (X, y), validation = joined(train, held, studying["cv"])
    run(
        ctx,
        out,
        quiet,
        settings,
        X,
        y,
        estimator=Seq2Seq(**settings),
        cells=names(cells),
        attentions=names(attentions),
        layouts=names(layouts),
        arrangements=names(arrangements),
        equal_parameters=equal_parameters,
        validation=validation,
        test=tuple(tested),
        **studying,
    )


@with_options(
    source_options(SeriesSource), source_options(Studying), setting_options((*VARIED, "model"), FORECASTING)
)
def forecasting(
    ctx: typer.Context,
    out: Out,
    task: Annotated[str, typer.Option(help="forecasting.")] = "forecasting",
    validation_windows: Annotated[
        int,
        typer.Option(min=1, help="Horizons before those of the test that rank the arrangements."),
    ] = 1,
    arrangements: Names = None,
    cells: Cells = CELLS,
    models: Annotated[
        str, typer.Option(metavar="NAMES", help="Joined by commas.", rich_help_panel=ARRANGEMENTS)
    ] = "segments,recurrent,seq2seq",
    layouts: Layouts = ONE_WAY,
    equal_parameters: EqualParameters = False,
    quiet: Quiet = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Train many arrangements of cell, model and layers on the series of a long table, and say which to use.

    unspool compare sales.csv --task forecasting --id shop --time day --target sold --horizon 14 --out study
    """
    from unspool import Forecaster

    settings = settings_of(options, (*VARIED, "model"), FORECASTING)
    source, studying = SeriesSource.of(options), Studying.of(options)
    estimator = Forecaster(**settings, **source.columns_named())
    run(
        ctx,
        out,
        quiet,
        settings,
        source.series(source.table, estimator.columns_needed),
        estimator=estimator,
        cells=names(cells),
        models=names(models),
        layouts=names(layouts),
        arrangements=names(arrangements),
        equal_parameters=equal_parameters,
        validation=validation_windows,
        test=source.test_windows or None,
        **studying,
    )


@with_options(
    source_options(SignalSource),
    source_options(Studying),
    setting_options((*LEFT_OUT, *VARIED, "pooling", "bidirectional")),
)
def signals(
    ctx: typer.Context,
    out: Out,
    arrangements: Names = None,
    cells: Cells = CELLS,
    poolings: Annotated[
        str, typer.Option(metavar="NAMES", help="Joined by commas.", rich_help_panel=ARRANGEMENTS)
    ] = "last,mean,max,attention",
    layouts: Layouts = "one,stacked,bidirectional",
    equal_parameters: EqualParameters = False,
    quiet: Quiet = False,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Train many arrangements of cell, pooling and layers on series or recordings, and say which to use.

    unspool compare JapaneseVowels_TRAIN.ts --test JapaneseVowels_TEST.ts --budget 15m --out study
    """
    from unspool.estimators import for_task

    source, studying = SignalSource.of(options), Studying.of(options)
    source.check()
    settings = settings_of(options, (*LEFT_OUT, *VARIED, "pooling", "bidirectional"))
    data = source.parts(settings)
    settings |= data.settings
    run(
        ctx,
        out,
        quiet,
        settings,
        data.train.X,
        data.train.y,
        estimator=for_task(data.task.name)(**settings),
        cells=names(cells),
        poolings=names(poolings),
        layouts=names(layouts),
        arrangements=names(arrangements),
        equal_parameters=equal_parameters,
        test=(data.tested.X, data.tested.y),
        **studying,
    )
