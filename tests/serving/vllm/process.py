"""A server of vLLM's own, in processes of its own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.client import Client
from serving.vllm import engine

# not the command `vllm`: in the build for CPUs it does not find its own name
MODULE = (sys.executable, "-m", "vllm.entrypoints.openai.api_server")
ON_A_CPU = (
    "--host", "127.0.0.1", "--dtype", "float32", "--max-model-len", "1024", "--enforce-eager",
    "--block-size", "32", "--gpu-memory-utilization", "0.3",
)  # fmt: skip
SECONDS = 500  # for a start


@contextmanager
def running(*command: str, **variables: str) -> Iterator[tuple[Client, int]]:
    """A client of a server, and the number of its process.

    Args:
        command: that starts it; the arguments of a CPU and a free port are added.
        **variables: of its environment.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = {**os.environ, **engine.OFFLINE, **variables}
    del given["VLLM_ENABLE_V1_MULTIPROCESSING"]  # of engines inside a test
    server = subprocess.Popen([*command, *ON_A_CPU, "--port", str(port)], env=given)
    client = Client(port)
    try:
        _wait_for(server, client)
        yield client, server.pid
    finally:
        server.terminate()
        server.wait(60)


def _wait_for(server: subprocess.Popen[bytes], client: Client) -> None:
    for _ in range(SECONDS):
        assert server.poll() is None, "the server ended"
        try:
            client.send("GET", "/health")
        except OSError:
            time.sleep(1)
        else:
            return
    raise AssertionError("the server does not answer")


def memory(first: int) -> int:
    """Bytes that a process and all that it began hold, what they share counted once."""
    children: dict[int, list[int]] = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = place.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        children.setdefault(int(fields[1]), []).append(int(place.parent.name))
    found, left = 0, [first]
    while left:
        one = left.pop()
        left += children.get(one, [])
        lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        found += next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return found
