"""The report of a study: a page that needs no other, its figures, the summary."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest

from unspool.study import charts
from unspool.study.layout import number
from unspool.study.report import page as page_of


class Page(HTMLParser):
    """Checks that every tag is closed, and keeps what is looked at."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.text = ""

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data


def test_the_report_is_one_page_that_needs_no_other(result, tmp_path):
    result.report(tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(html)
    assert page.open == []
    names = [tag for tag, _ in page.tags]
    assert not set(names) & {"script", "link", "iframe", "b"} and "@import" not in html and "url(" not in html
    links = [a[key] for _, a in page.tags for key in ("src", "href") if key in a]
    assert len(links) == 3 and all(link.startswith("data:image/svg+xml;base64,") for link in links)
    for link in links:
        picture = ET.fromstring(base64.b64decode(link.split(",", 1)[1]))
        assert picture.tag.endswith("svg") and len(list(picture.iter())) > 50
    assert names.count("tr") == 1 + 2 + 2 + 1 + 3  # all arrangements, then every metric of the best
    for line in result.verdict:
        assert line in page.text
    assert "<b>up & away</b>" in page.text and "<b>up" not in html


def test_the_report_tells_every_metric_of_the_best_and_the_baselines(result):
    page = Page()
    page.feed(page_of(result))
    told = page.text[page.text.index("Every metric, test part") :]
    for name in [result.best, *(b.name for b in result.baselines)]:
        runs = result.runs.filter(pl.col("name") == name)
        told = told[told.index(name) + len(name) :]
        for metric in ("accuracy", "macro_f1", "log_loss"):
            figure = number(runs[f"test_{metric}"].mean())
            assert told.startswith(figure)
            told = told[len(figure) :]


def test_the_figure_has_the_test_means_of_arrangements_and_baseline(result):
    axes = charts.intervals(result).axes[0]
    shown = result.table.filter(pl.col("arrangement") != "majority")
    assert [tick.get_text() for tick in axes.get_yticklabels()] == shown["arrangement"].to_list()
    diamonds = [dots for dots in axes.collections if dots.get_facecolor().tolist() == [[1, 1, 1, 1]]]
    places = np.array([dots.get_offsets()[0] for dots in diamonds])
    assert places[:, 1].tolist() == [0, 1, 2] and places[:, 0] == pytest.approx(shown["test_mean"].to_numpy())
    low, high = axes.get_xlim()
    assert low < places[:, 0].min() and places[:, 0].max() < high


def test_times_are_medians(result):
    for name, seconds in result.table.select("arrangement", "train_seconds").rows()[:2]:
        assert seconds == result.runs.filter(pl.col("name") == name)["train_seconds"].median()


def test_the_same_study_gives_the_same_page_of(result):
    assert page_of(result) == page_of(result)


def test_the_summary_has_the_numbers_of_the_table(result):
    lines = result.summary().splitlines()
    for name, mean in result.table.select("arrangement", "mean").rows():
        line = next(line for line in lines if line.startswith(name))
        assert line[len(name) :].split()[1] == f"{mean:#.4g}"
    assert max(len(line) for line in lines[: len(result.table) + 1]) <= 110
