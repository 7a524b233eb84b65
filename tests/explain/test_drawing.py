"""The diagram: its arrows are the data flow, and nothing lies on anything else."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from itertools import combinations, pairwise

import pytest
from matplotlib.image import imread

from unspool import cells
from unspool.explain.drawing import _Boxes
from unspool.explain.layered import crossings, lay_out
from unspool.explain.step import read_step
from unspool.explain.symbols import Names
from unspool.study import diagram

from .test_step import MAKERS, make


def arrows(name: str) -> set[tuple[str, str]]:
    """(from, to) by label; a gate is called by its name."""
    boxes = _Boxes(Names(read_step(make(name), 5))).boxes
    label = {key: box.note or box.label.replace("\\,", " ") for key, box in boxes.items()}
    return {(label[a], label[key]) for key, box in boxes.items() for a in box.needs}


def test_the_arrows_of_the_lstm() -> None:
    """Drawn by hand from its equations."""
    linear = {gate: f"W_{{{gate}}} x_t + U_{{{gate}}} h_{{t-1}} + b_{{{gate}}}" for gate in "ifgo"}
    expected = {(source, linear[gate]) for source in ("x_t", "h_{t-1}") for gate in "ifgo"}
    expected |= {(linear[gate], gate) for gate in "ifgo"}
    expected |= {("i", r"\odot"), ("g", r"\odot"), ("f", r"\odot"), ("c_{t-1}", r"\odot"), ("o", r"\odot")}
    expected |= {(r"\odot", "+"), ("+", r"\mathrm{tanh}"), ("+", "c_t"), (r"\mathrm{tanh}", r"\odot")}
    assert arrows("lstm") == expected | {(r"\odot", "h_t")}


def test_the_arrows_of_the_gru() -> None:
    both = {gate: f"W_{{{gate}}} x_t + U_{{{gate}}} h_{{t-1}} + b_{{{gate}}}" for gate in "rz"}
    x_n, h_n = "W_{n} x_t + b_{n}", "U_{n} h_{t-1} + b_{n2}"
    expected = {(source, both[gate]) for source in ("x_t", "h_{t-1}") for gate in "rz"}
    expected |= {(both[gate], gate) for gate in "rz"} | {("x_t", x_n), ("h_{t-1}", h_n)}
    expected |= {("r", r"\odot"), (h_n, r"\odot"), (x_n, "+"), (r"\odot", "+"), ("+", "n"), ("n", r"\odot")}
    expected |= {("z", "1 -"), ("1 -", r"\odot"), ("z", r"\odot"), ("h_{t-1}", r"\odot"), ("+", "h_t")}
    assert arrows("gru") == expected


@pytest.mark.parametrize("name", MAKERS)
def test_boxes_stand_apart_and_arrows_lead_right(name: str) -> None:
    boxes = _Boxes(Names(read_step(make(name), 5))).boxes
    ends = [key for key in boxes if key.startswith("new ")]
    layout = lay_out({key: box.needs for key, box in boxes.items()}, ends)
    for key, box in boxes.items():
        assert all(layout.column[a] < layout.column[key] for a in box.needs)
    assert len({layout.column[end] for end in ends}) == 1 and len(ends) == len(
        read_step(make(name), 5).states
    )
    for column in set(layout.column.values()):
        heights = sorted(layout.height[key] for key in boxes if layout.column[key] == column)
        assert all(b - a > 0.999 for a, b in pairwise(heights))
    for (a, b), bends in layout.bends.items():
        assert len(bends) == layout.column[b] - layout.column[a] - 1


def test_crossings_that_can_be_avoided_are() -> None:
    """Four sources to four sinks in the opposite order: six pairs cross as written, none needs to."""
    names = "abcd"
    needs: dict[str, list[str]] = {n: [] for n in names} | {n.upper(): [n] for n in reversed(names)}
    right = {n: [n.upper()] for n in names}
    assert crossings([list("abcd"), list("DCBA")], right) == 6
    layout = lay_out(needs)
    for one, other in combinations(names, 2):
        assert (layout.height[one] < layout.height[other]) == (
            layout.height[one.upper()] < layout.height[other.upper()]
        )
        assert abs(layout.height[one] - layout.height[one.upper()]) < 1e-6


def test_files(tmp_path) -> None:
    cell = cells.LSTMCell(3, 4)
    diagram(cell, tmp_path / "cell.svg")
    diagram(cell, tmp_path / "cell.png")
    root = ElementTree.parse(tmp_path / "cell.svg").getroot()
    assert root.tag.endswith("svg") and float(root.attrib["width"].removesuffix("pt")) > 300
    picture = imread(tmp_path / "cell.png")[..., :3]
    assert (picture.min(axis=2) < 0.5).mean() > 0.01
    border = [picture[0], picture[-1], picture[:, 0], picture[:, -1]]
    assert all((edge == 1).all() for edge in border)  # nothing is cut off
