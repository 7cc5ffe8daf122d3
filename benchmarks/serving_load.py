"""Load test of a server with the plug-in and the middleware: is the time to the first token held?

    python benchmarks/serving_checkpoint.py /tmp/llava
    python benchmarks/serving_load.py --target 400 1500 6000 --serve /tmp/llava  # starts vLLM, ends it
    python benchmarks/serving_load.py --target 800 --clients 4 --url http://host:8000 --model NAME

1, 4 and 16 clients, each with a target of its own, ask one request after the other, each with a picture
of its own, so that nothing is cached. Blocks of requests take turns: "unreduced" ones ask for a budget
that keeps all and "least" ones for the lowest share, which the middleware honours, and "held" ones leave
it the choice. Times are a client's, from sending to the first piece of the answer. To
results/serving.json, key "load", with each request of one client alone, for
`serving_simulation.py --law load`.
"""

import argparse
import base64
import http.client
import io
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from foveate.records.conditions import conditions
from foveate.serving.budget.controller import LADDER
from foveate.serving.budget.settings import METHOD

ROOT = Path(__file__).parent.parent
CONDITIONS: dict[str, dict[str, Any]] = {
    "unreduced": {"mm_processor_kwargs": {"foveate": None}},
    "least": {"mm_processor_kwargs": {"foveate": {"method": METHOD, "keep": LADDER[-1]}}},
    "held": {},
}
ENGINE = ("--enforce-eager", "--gpu-memory-utilization", "0.3")  # a small engine on a CPU
OFFLINE = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
NUMBERS = itertools.count(1)


def picture(number: int, side: int) -> str:
    """A picture of noise, as a data URL; another one for each number."""
    rng, buffer = np.random.default_rng(number), io.BytesIO()
    noise = rng.integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((side, side), Image.Resampling.NEAREST).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def body(condition: str, number: int, arguments: argparse.Namespace) -> bytes:
    """One request."""
    content = [
        {"type": "image_url", "image_url": {"url": picture(number, arguments.side)}},
        {"type": "text", "text": "what is in the picture?"},
    ]
    fields = {
        "model": arguments.model,
        "messages": [{"role": "user", "content": content}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": arguments.answer,
        "temperature": 0,
        "ignore_eos": True,
        **CONDITIONS[condition],
    }
    return json.dumps(fields).encode()


def asked(condition: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Ask once: what the header said, how long it took, and how many tokens the prompt had."""
    text, place = body(condition, next(NUMBERS), arguments), urlsplit(arguments.url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=600)
    headers = {"content-type": "application/json"}
    began, first, usage = time.perf_counter(), 0.0, {}
    connection.request("POST", "/v1/chat/completions", text, headers)
    response = connection.getresponse()
    if response.status != 200:
        raise SystemExit(f"{response.status}: {response.read(2000).decode()}")
    for line in response:
        first = first or time.perf_counter() - began
        if line.startswith(b"data: {"):
            usage = json.loads(line[6:]).get("usage") or usage
    connection.close()
    return {
        "budget": response.getheader("x-foveate-budget"),
        "first_token_ms": 1000 * first,
        "seconds": time.perf_counter() - began,
        "pictures": 1,
        "tokens": usage.get("prompt_tokens"),
    }


def block(condition: str, clients: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """A block of requests by so many clients."""
    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        rows = list(pool.map(lambda _: asked(condition, arguments), range(arguments.requests)))
    return {"requests": rows, "seconds": time.perf_counter() - began}


def summary(
    condition: str, clients: int, blocks: list[dict[str, Any]], target: float
) -> dict[str, Any]:
    """Of all blocks of a condition; requests a second are the median block's."""
    rows = [row for one in blocks for row in one["requests"]]
    first = np.array([row["first_token_ms"] for row in rows])
    said = [str(row["budget"]) for row in rows]
    budgets = {text: said.count(text) for text in sorted(set(said))}
    return {
        "condition": condition,
        "clients": clients,
        "target_ms": target,
        "requests": len(rows),
        "p50_ms": float(np.percentile(first, 50)),
        "p95_ms": float(np.percentile(first, 95)),
        "held": float((first <= target).mean()),
        "requests_a_second": median(len(one["requests"]) / one["seconds"] for one in blocks),
        "prompt_tokens": float(np.mean([row["tokens"] for row in rows])),
        "budgets": budgets,
    }


def measure(clients: int, target: float, arguments: argparse.Namespace) -> dict[str, Any]:
    """All conditions, in turns, after a block of each that teaches the controller."""
    for condition in CONDITIONS:
        block(condition, clients, arguments)
    blocks: dict[str, list[dict[str, Any]]] = {name: [] for name in CONDITIONS}
    for _ in range(arguments.rounds):
        for condition in CONDITIONS:
            blocks[condition].append(block(condition, clients, arguments))
    rows = [summary(name, clients, found, target) for name, found in blocks.items()]
    for row in rows:
        sys.stderr.write(f"{json.dumps(row)}\n")
    alone = [row for found in blocks.values() for one in found for row in one["requests"]]
    return {"rows": rows, "requests": alone if clients == 1 else []}


@contextmanager
def served(folder: Path, url: str, target: float) -> Iterator[None]:
    """A vLLM with the plug-in and the middleware, until it is no longer needed."""
    place = urlsplit(url)
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", folder,
        "--served-model-name", "llava", "--host", place.hostname or "", "--port", str(place.port),
        "--dtype", "float32", "--max-model-len", "2048", "--max-num-seqs", "32",
        "--hf-overrides", '{"foveate": {}}', "--trust-request-mm-kwargs",
        "--middleware", "foveate.serving.budget.Budget", *ENGINE,
    ]  # fmt: skip
    settings = {"FOVEATE_TTFT_MS": str(target), "FOVEATE_MODEL": str(folder), **OFFLINE}
    process = subprocess.Popen(command, env={**os.environ, **settings}, stdout=sys.stderr)
    try:
        while not healthy(place.hostname or "", place.port or 80):
            if process.poll() is not None:
                raise SystemExit(f"the server ended with {process.returncode}")
            time.sleep(2)
        yield
    finally:
        process.terminate()
        process.wait()


def healthy(host: str, port: int) -> bool:
    """Whether a server answers."""
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="where it is, or will be")
    parser.add_argument("--serve", type=Path, help="a checkpoint that vLLM is started with")
    parser.add_argument("--model", default="llava", help="as the server calls it")
    parser.add_argument(
        "--target",
        type=float,
        nargs="+",
        required=True,
        help="FOVEATE_TTFT_MS, one for each of --clients",
    )
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--requests", type=int, default=32, help="of a block")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--answer", type=int, default=4, help="tokens")
    parser.add_argument("--side", type=int, default=336, help="of a picture, in pixels")
    parser.add_argument("--server", default="", help="what serves, for the record")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "serving.json")
    return parser.parse_args()


def main() -> None:
    """Ask, and write."""
    arguments = parsed()
    if len(arguments.target) != len(arguments.clients):
        raise SystemExit(
            f"--target takes {len(arguments.clients)} numbers, one for each of --clients"
        )
    before = os.getloadavg()[0]
    rows, requests = [], []
    for clients, target in zip(arguments.clients, arguments.target, strict=True):
        started = (
            served(arguments.serve, arguments.url, target) if arguments.serve else nullcontext()
        )
        with started:
            found = measure(clients, target, arguments)
        rows, requests = rows + found["rows"], requests + found["requests"]
    record = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    record["load"] = {
        "conditions": conditions(
            server=arguments.server, side=arguments.side, answer=arguments.answer,
            rounds=arguments.rounds, load_average_before=before,
        ),
        "rows": rows,
        "requests": requests,
    }  # fmt: skip
    arguments.out.write_text(json.dumps(record, indent=1) + "\n")
    for row in rows:
        sys.stdout.write(
            f"{row['clients']} clients, {row['condition']}: first token p50 {row['p50_ms']:,.0f}, "
            f"p95 {row['p95_ms']:,.0f} ms of {row['target_ms']:,.0f}, "
            f"{row['requests_a_second']:.2f} requests a second\n"
        )


if __name__ == "__main__":
    main()
