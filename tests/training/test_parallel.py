"""Two ranks against one process: the same weights up to rounding, decisions, checkpoints, faults."""

from __future__ import annotations

import gc
import os
import re
import socket
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.rank_cases import CASES, found, kept, message, texts

import unspool
from unspool.cli import main
from unspool.ranks import ParallelError, under_torchrun
from unspool.training import parallel

ROOT = Path(__file__).parents[2]
TOLERANCE = 1e-5  # of the largest weight of a tensor


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def environment(rank: int, port: int) -> dict[str, str]:
    of_rank = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    return {**os.environ, **{k: str(v) for k, v in of_rank.items()}, "MASTER_ADDR": "127.0.0.1"}


pytestmark = pytest.mark.xdist_group("ranks")  # one run of the ranks for all


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(what each of two ranks found of the cases, what else, what they printed, the folder of all files)."""
    folder, port = tmp_path_factory.mktemp("ranks"), free_port()
    rows = "".join(f"{text},{len(text) / 10}\n" for text in texts(30))
    (folder / "table.csv").write_text("text,y\n" + rows)
    assert message(lambda: kept(str(folder / "one"), 7)) == "Terminated: 143"
    command = [sys.executable, "-m", "tests.training.rank_cases", str(folder), str(free_port())]
    ranks = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(rank, port),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [rank.communicate(timeout=300)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [2, 3], said  # of the fault at the end

    def results(name: str) -> list[Any]:
        return [torch.load(folder / f"{name}.{rank}", weights_only=False) for rank in range(2)]

    return results("cases"), results("more"), said, folder


def assert_near(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert list(a) == list(b)
    for name, tensor in a.items():
        limit = TOLERANCE * max(1e-3, float(tensor.abs().max()))
        torch.testing.assert_close(
            b[name], tensor, rtol=0, atol=limit, msg=lambda text, n=name: f"{n}: {text}"
        )


@pytest.mark.parametrize("name", list(CASES))
def test_the_weights_of_one_process(two: Any, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alone = found(name)
    first, second = (rank[name] for rank in two[0])
    assert_near(alone["weights"], first["weights"])
    assert all(torch.equal(t, second["weights"][n]) for n, t in first["weights"].items())
    assert first["history"] == second["history"]
    assert first["best"] == second["best"] == alone["best"]
    for ours, theirs in zip(alone["history"], first["history"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)


def test_a_checkpoint_of_one_process_goes_on_with_two(two: Any) -> None:
    cases, more, said, _ = two
    for ours, whole in zip(more, cases):
        assert_near(whole["generator"]["weights"], ours["resumed"]["weights"])
        for row, other in zip(ours["resumed"]["history"], whole["generator"]["history"], strict=True):
            assert row == pytest.approx(other, rel=1e-4)
    assert re.search("What differs: .*ranks, there 1, here 2", said[0])


def test_a_checkpoint_of_two_ranks_goes_on_with_one(two: Any) -> None:
    cases, more, said, folder = two
    assert [rank["terminated"] for rank in more] == ["Terminated: 143"] * 2
    assert "Terminated: the training so far is kept" in said[0] and "Terminated: the" not in said[1]
    with pytest.warns(UserWarning, match="What differs: .*ranks, there 2, here 1"):
        alone = kept(str(folder / "two"))
    assert_near(cases[0]["generator"]["weights"], alone["weights"])


def test_without_a_seed_all_ranks_draw_that_of_the_first(two: Any) -> None:
    first, second = (rank["unseeded"] for rank in two[1])
    assert all(torch.equal(t, second[name]) for name, t in first.items())


def test_what_one_rank_decides_holds_for_all(two: Any) -> None:
    for rank in two[1]:
        assert len(rank["stopped"]["history"]) == 1
        assert rank["interrupted"]["interrupted"] and not rank["interrupted"]["history"]


def test_a_fault_is_told(two: Any) -> None:
    for rank in two[1]:
        expected = "DataError: The 2 ranks must train the same network on the same data. What differs: training rows."
        assert rank["other data"].startswith(expected)
        assert rank["diverged"].startswith("DivergenceError: The loss became ")
        assert "epoch 1, batch" in rank["diverged"]
        assert rank["diverged"] == two[1][0]["diverged"]
    told = (two[3] / "fault.0").read_text().splitlines()[-1]
    assert told.startswith(
        "error: Rank 0 of 2 cannot reach another rank, which has ended or does not answer;"
    )


def test_the_command_ends_at_once_where_a_rank_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by torch's end of the group, which may abort."""
    ends: list[Any] = []
    monkeypatch.setattr(os, "_exit", ends.append)
    monkeypatch.setattr(sys, "argv", ["unspool", "fit", "absent.csv"])
    monkeypatch.setattr(gc, "freeze", lambda: None)  # nor is this process made another by the command
    monkeypatch.setattr(gc, "set_threshold", lambda *_: None)
    monkeypatch.setenv("GOMP_SPINCOUNT", "1000")
    for lost, codes in ((False, []), (True, [2])):
        monkeypatch.setattr(parallel, "lost", lost)
        with pytest.raises(SystemExit):
            main()
        assert ends == codes


def test_the_command_prints_and_writes_once(two: Any) -> None:
    _, more, _, folder = two
    assert [rank["fitted"] for rank in more] == ["SystemExit: 0"] * 2
    assert (
        "Metrics, plot and test predictions" in (folder / "fit.0").read_text()
        and not (folder / "fit.1").read_text()
    )
    assert unspool.load(folder / "model").predict(["a tiny set"]).shape == (1,)
    assert [rank["refused"] for rank in more] == ["SystemExit: 2"] * 2
    assert (
        (folder / "compare.1")
        .read_text()
        .startswith("rank 1: error: Under torchrun only fit runs in several")
    )


def test_the_page_runs() -> None:
    (block,) = re.findall(
        r"^```python\n(.*?)^```$", (ROOT / "docs" / "distributed.md").read_text(), re.M | re.S
    )
    space: dict[str, Any] = {}
    exec(compile(block, "docs/distributed.md", "exec"), space)
    assert len(space["model"].history_) == 2


def test_variables_that_are_no_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(0, 1).items():
        monkeypatch.setenv(name, value)
    assert under_torchrun() == (0, 2)
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(ParallelError, match=r"must be numbers, as torchrun sets them. Got 'first' and '2'"):
        under_torchrun()
