"""Compare icsd's client of an LLM endpoint with the original's batches, on the same server in one run.

The server is tests/support/chat_server.py, a process of its own. Its log-normal latencies are a function of each
request, so that every method waits for the same ones. The table has the speed as a share of the best possible with that
many requests at once, and the ratio of the methods. The benchmark fails only if the answers differ.
"""

import argparse
import asyncio
import heapq
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import openai

from icsd.core.text import markdown_table
from icsd.llm import throttle
from icsd.llm.budget import Budget, Prices, Reservation
from icsd.llm.cache import ResponseCache
from icsd.llm.client import complete_requests, request_body
from icsd.llm.endpoint import NO_KEY, Endpoint
from icsd.llm.parameters import Parameters
from icsd.llm.request import Outcome, Request, Response, Sampling

TESTS = Path(__file__).parents[1] / "tests" / "support"
BATCH, PAUSE_S = 100, 1.0  # of the original
TIMEOUT_S = 60
WARM_UP = 64  # requests before the clock starts: imports, first connections
CAPTIONS = 30  # a request, as in the default run
WORDS = "red blue small big dog kite ball boat beach field house tree runs lies under near".split()
ORDER = "Choose sentences that could be true of one scene, and write one summary. Answer with JSON alone. " * 8
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["index", "summary"],
    "properties": {"index": {"type": "array", "items": {"type": "integer"}}, "summary": {"type": "string"}},
}
# requests, the server's URL, an empty folder -> the answers
Method = Callable[[Sequence[Request], str, Path], list[str]]


@dataclass(frozen=True)
class Timed:
    """The answers of a method, its seconds and its CPU seconds."""

    answers: list[str]
    seconds: float
    cpu_s: float


def icsd_method(concurrency: int, first: int) -> Method:
    """Return icsd's online provider with an empty store. `first` requests start at once; elsewhere this is fixed."""

    def method(requests: Sequence[Request], url: str, folder: Path) -> list[str]:
        throttle.FIRST = first
        endpoint = Endpoint(url, None, TIMEOUT_S, retries=0, concurrency=concurrency, structured_output=True)
        outcomes: dict[str, Outcome] = {}
        reservation = Reservation(Budget(folder / "budget", None))
        with (
            ResponseCache(folder / "replies").writer(run="benchmark", provider="openai", model="m") as segment,
            reservation,
        ):
            complete_requests(
                requests, endpoint, Prices(0.15, 0.60), reservation, segment,
                receive=lambda request, outcome: outcomes.update({request.key: outcome}),
            )  # fmt: skip
        return [_content(outcomes[request.key]) for request in requests]

    return method


def original_method(requests: Sequence[Request], url: str, folder: Path) -> list[str]:
    """Send batches; after the slowest request of each, pause and rewrite the whole answer file."""
    return asyncio.run(_in_batches(requests, url, folder / "answers.json"))


async def _in_batches(requests: Sequence[Request], url: str, file: Path) -> list[str]:
    answers: list[str] = []
    async with openai.AsyncOpenAI(api_key=NO_KEY, base_url=url, timeout=TIMEOUT_S, max_retries=0) as client:
        for start in range(0, len(requests), BATCH):
            bodies = [request_body(request, Parameters()) for request in requests[start : start + BATCH]]
            completions = await asyncio.gather(*(client.chat.completions.create(**body) for body in bodies))
            answers += [completion.choices[0].message.content or "" for completion in completions]
            await asyncio.sleep(PAUSE_S)
            file.write_text(json.dumps(answers))
    return answers


def _content(outcome: Outcome) -> str:
    if not isinstance(outcome, Response):
        raise SystemExit(f"A request failed: {outcome}")
    return outcome.content


def requests_of(numbers: range) -> list[Request]:
    """Return a different request for each number, each with the captions of a group."""
    return [Request(Sampling("m", 0.0, 500), ({"role": "user", "content": _prompt(n)},), SCHEMA) for n in numbers]


def _prompt(number: int) -> str:
    captions = [
        " ".join(WORDS[(number // 16**place + line * place) % 16] for place in range(6)) for line in range(CAPTIONS)
    ]
    return ORDER + "\n".join(f"<{line}> a {caption}" for line, caption in enumerate(captions, start=1))


def latencies_s(requests: Sequence[Request], seed: int, latency_ms: float) -> list[float]:
    """Return the seconds that the server waits before each answer."""
    sys.path.insert(0, str(TESTS))
    from chat_server import ChatServer, digest

    server = ChatServer(seed=seed, latency_ms=latency_ms)
    return [server._latency(digest(request_body(request, Parameters()))) for request in requests]


def best_s(latencies: Sequence[float], slots: int, first: int | None = None) -> float:
    """Return the seconds with `slots` requests at once: the next starts when one ends (greedy list scheduling).

    With `first`, so many start, and each reply adds one more, as in icsd.llm.throttle.
    """
    limit, now = min(first or slots, slots), 0.0
    ends: list[float] = []  # of the running requests
    for latency in latencies:
        while len(ends) >= limit:
            now, limit = heapq.heappop(ends), min(slots, limit + 1)
        heapq.heappush(ends, now + latency)
    return max(ends)


def timed(method: Method, requests: Sequence[Request], url: str) -> Timed:
    """Time the method, starting with an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        start, cpu_start = time.perf_counter(), time.process_time()
        answers = method(requests, url, Path(folder))
        return Timed(answers, time.perf_counter() - start, time.process_time() - cpu_start)


@contextmanager
def chat_server(seed: int, latency_ms: float) -> Iterator[str]:
    """Yield the URL of a server in its own process."""
    with tempfile.TemporaryDirectory() as folder:
        port_file = Path(folder) / "port"
        options = {"--port-file": port_file, "--seed": seed, "--latency-ms": latency_ms, "--seconds": 3600}
        command = [sys.executable, TESTS / "chat_server.py", *(word for option in options.items() for word in option)]
        process = subprocess.Popen([str(word) for word in command])
        try:
            while not port_file.exists():
                if process.poll() is not None:
                    raise SystemExit("The server did not start.")
                time.sleep(0.02)
            yield f"http://127.0.0.1:{port_file.read_text()}/v1"
        finally:
            process.kill()
            process.wait()


def bounds(latencies: Sequence[float], concurrency: int, first: int) -> str:
    """Describe the best times that follow from the latencies alone, without a clock."""
    best, slow = best_s(latencies, concurrency), best_s(latencies, concurrency, first)
    return (
        f"{len(latencies):,} requests, latency {statistics.mean(latencies):.3f} s on average and "
        f"{max(latencies):.2f} s at most.\n"
        f"Their sum over {concurrency}: {sum(latencies) / concurrency:.1f} s. Best with {concurrency} at once: "
        f"{best:.1f} s; with {BATCH}: {best_s(latencies, BATCH):.1f} s.\n"
        f"Slow start from {first}: {slow:.1f} s, at most {best / slow:.3f} of the best."
    )


def table(results: dict[str, Timed], latencies: Sequence[float], concurrency: int) -> list[str]:
    """Return a row for each method: its share of the best at icsd's concurrency and at the original's batch size."""
    header = ["method", "seconds", "requests/s", f"share of {concurrency}", f"share of {BATCH}", "CPU ms a request"]
    count, bests = len(latencies), [best_s(latencies, slots) for slots in (concurrency, BATCH)]
    rows = [
        [name, f"{took.seconds:.1f}", f"{count / took.seconds:.1f}"]
        + [f"{best / took.seconds:.3f}" for best in bests]
        + [f"{1000 * took.cpu_s / count:.2f}"]
        for name, took in results.items()
    ]
    return markdown_table(header, rows)


def main(words: Sequence[str] | None = None) -> None:
    """Send the requests by all methods; print the table and the ratios."""
    args = _arguments(words)
    numbers, first, most = range(args.groups), min(throttle.FIRST, args.concurrency), args.concurrency
    latencies = latencies_s(requests_of(numbers), args.seed, args.latency_ms)
    print(bounds(latencies, most, first))
    methods = {
        f"icsd, from {first} to {most} at once": icsd_method(most, first),
        f"icsd, {most} from the start": icsd_method(most, most),
        f"original, batches of {BATCH}": original_method,
    }
    with chat_server(args.seed, args.latency_ms) as url:
        timed(icsd_method(most, most), requests_of(range(args.groups, args.groups + WARM_UP)), url)
        results = {name: timed(method, requests_of(numbers), url) for name, method in methods.items()}
    print("\n".join(["", *table(results, latencies, most), ""]))
    icsd, *_, original = results.values()
    print(f"icsd is {original.seconds / icsd.seconds:.2f} times as fast as the original.")
    print(f"Load of the machine at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.")
    if any(took.answers != original.answers for took in results.values()):
        raise SystemExit("The answers differ.")
    print("The answers are the same.")


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=3000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--latency-ms", type=float, default=1760.0, help="the median; the mean is 1.13 times as much")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
