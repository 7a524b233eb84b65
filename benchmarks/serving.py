"""A server under load: streams over WebSockets, and predictions of short texts. Server and clients share the machine.

    python benchmarks/serving.py                       # all, three minutes; benchmarks/results/serving_*.json
    python benchmarks/serving.py sockets --clients 1000 --seconds 60 --rate 1
    python benchmarks/serving.py texts --seconds 10

sockets: each client steps a stream of its own (LSTM 64, 8 features) `rate` times a second; none may be dropped, and
every last answer must be the model's. The marks: 1,000 clients for 60 s, none dropped.
texts: 16 connections, each with a request at a time, of 1, 8, 32 and 128 texts of 8 words on average (bidirectional
LSTM 64, mean and maximum). The mark: 5,000 predictions a second.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from layers import versions
from peers.record import save, setting
from websockets.asyncio.client import connect

import unspool

WORDS = [f"word{k}" for k in range(3000)]
CONNECTIONS = 16


def texts(n: int, seed: int) -> list[str]:
    """Texts of 1 to 15 words, the frequent ones as in a language (Zipf)."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, len(WORDS) + 1)
    return [" ".join(rng.choice(WORDS, rng.integers(1, 16), p=share / share.sum())) for _ in range(n)]


def series(n: int, seed: int, steps: int = 20) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(steps, 8)) for _ in range(n)]


def models(folder: Path) -> dict[str, Any]:
    """A model of texts and one of series, saved."""
    x = texts(2000, 0)
    text = unspool.SequenceClassifier(epochs=1, verbose=0, random_state=0, blend=False)
    text.fit(x, [int("word7" in t) for t in x]).save(folder / "text")
    s = series(300, 0)
    wave = unspool.SequenceRegressor(
        bidirectional=False, pooling="last", epochs=1, verbose=0, random_state=0
    ).fit(s, [v.mean() for v in s])
    wave.save(folder / "wave")
    return {"text": text, "wave": wave}


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """The address of `unspool serve` in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "unspool",
        "serve",
        str(folder / "text"),
        str(folder / "wave"),
        "--port",
        "0",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            lines = [process.stdout.readline() for _ in range(3)]
            yield lines[2].split()[2]
        finally:
            process.terminate()
            process.wait()


def percentiles(seconds: list[float]) -> dict[str, float]:
    """In milliseconds."""
    found = np.percentile(seconds, [50, 95, 99, 100]) * 1000
    return {name: round(float(v), 2) for name, v in zip(("p50", "p95", "p99", "max"), found)}


# --- streams


async def stream(url: str, x: np.ndarray, rate: float, start: float, end: float, took: list[float]) -> Any:
    """One client: (the steps it made, its last answer); `took` gets the seconds of each step."""
    count, answer = 0, None
    async with connect(f"ws{url[4:]}/v2/models/wave/stream", proxy=None, compression=None) as socket:
        await socket.recv()
        while (due := start + count / rate) < end:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            before = time.perf_counter()
            await socket.send(json.dumps({"series": [x[count % len(x)].tolist()]}))
            answer = json.loads(await socket.recv())
            took.append(time.perf_counter() - before)
            count += 1
    return count, answer


async def sockets(url: str, made: Any, clients: int, seconds: float, rate: float) -> dict[str, Any]:
    x = series(clients, 1)
    took: list[float] = []
    begin = time.perf_counter() + 0.01 * clients  # all are connected by then
    starts = begin + np.arange(clients) / clients / rate
    jobs = (stream(url, x[k], rate, starts[k], begin + seconds, took) for k in range(clients))
    found = await asyncio.gather(*jobs, return_exceptions=True)
    dropped = [f for f in found if isinstance(f, BaseException)]
    good = [(k, f) for k, f in enumerate(found) if not isinstance(f, BaseException)]
    whole = [np.concatenate([x[k]] * (f[0] // len(x[k]) + 1))[: f[0]] for k, f in good]
    expected = made["wave"].predict(whole)
    error = max(abs(f[1]["outputs"]["prediction"] - e) for (_, f), e in zip(good, expected))
    row = {
        "clients": clients,
        "seconds": seconds,
        "rate": rate,
        "dropped": len(dropped),
        "steps": len(took),
        "steps_a_second": round(len(took) / seconds, 1),
        "milliseconds": percentiles(took),
        "largest_error": float(error),
        "reasons": sorted({repr(d)[:100] for d in dropped}),
    }
    print(row, flush=True)
    return row


# --- predictions


async def asker(url: str, bodies: list[bytes], end: float, took: list[float]) -> int:
    """One connection: the requests that it made."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    count = 0
    while time.perf_counter() < end:
        before = time.perf_counter()
        writer.write(bodies[count % len(bodies)])
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(size)
        took.append(time.perf_counter() - before)
        count += 1
    writer.close()
    return count


def body(part: list[str]) -> bytes:
    one = {"name": "text", "datatype": "BYTES", "shape": [len(part)], "data": part}
    content = json.dumps({"inputs": [one], "outputs": [{"name": "label"}]}).encode()
    head = f"POST /v2/models/text/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


async def predictions(url: str, size: int, seconds: float) -> dict[str, Any]:
    x = texts(20 * size, 2)
    bodies = [body(x[k : k + size]) for k in range(0, len(x), size)]
    took: list[float] = []
    end = time.perf_counter() + seconds
    counts = await asyncio.gather(*(asker(url, bodies, end, took) for _ in range(CONNECTIONS)))
    row = {
        "texts_a_request": size,
        "predictions_a_second": round(sum(counts) * size / seconds),
        "requests_a_second": round(sum(counts) / seconds),
        "milliseconds": percentiles(took),
    }
    print(row, flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=["sockets", "texts", []], default=[], metavar="PART")
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--rate", type=float, default=1.0)
    args = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
    with tempfile.TemporaryDirectory() as name:
        made = models(Path(name))
        for part in args.parts or ("sockets", "texts"):
            before = setting()
            with server(Path(name)) as url:
                if part == "sockets":
                    rows = [asyncio.run(sockets(url, made, args.clients, args.seconds or 60.0, args.rate))]
                else:
                    sizes = (1, 8, 32, 128)
                    rows = [asyncio.run(predictions(url, size, args.seconds or 10.0)) for size in sizes]
            save(f"serving_{part}", {"versions": versions(), "rows": rows}, before)


if __name__ == "__main__":
    main()
