"""Sends a thousand requests to `chat -- serve`, most of which are broken off, and prints the server's memory before and after. A
thousand others come first: an allocator keeps what it once had.

    cargo build --release -p gradus-examples --features chat --example chat
    python3 tests/golden/serve_memory.py target/release/examples/chat MODEL

MODEL is any folder or file that `chat -- serve` opens. It needs Linux, where /proc says how much memory a process has.
"""

import json
import random
import socket
import subprocess
import sys
import threading


def resident(pid):
    """Bytes in memory."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))


def request(address, rng):
    """One request: answered, broken off while it is written or read, half sent, or wrong."""
    kind = rng.choice(["whole", "gone at once", "gone in the middle", "half", "wrong"])
    body = {"prompt": "Hello " * rng.randrange(1, 20), "max_tokens": rng.randrange(1, 200), "stream": rng.random() < 0.7}
    body = json.dumps(body if kind != "wrong" else {"prompt": 1, "nonsense": "x" * rng.randrange(100_000)}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {address[0]}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(address, timeout=120) as connection:
        connection.sendall(head + body if kind != "half" else (head + body)[: rng.randrange(1, len(head) + len(body))])
        if kind == "gone in the middle":
            connection.recv(100)
        while kind in ("whole", "wrong") and connection.recv(65536):
            pass
    return kind


def many(address, count, seed):
    """Four clients at a time."""
    kinds = []
    def client(nth):
        rng = random.Random(1000 * seed + nth)
        kinds.extend(request(address, rng) for _ in range(count // 4))
    clients = [threading.Thread(target=client, args=[nth]) for nth in range(4)]
    [client.start() for client in clients]
    [client.join() for client in clients]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def health(address):
    with socket.create_connection(address, timeout=120) as connection:
        connection.sendall(f"GET /health HTTP/1.1\r\nHost: {address[0]}\r\n\r\n".encode())
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
    return json.loads(answer.split(b"\r\n\r\n")[1])


server = subprocess.Popen([sys.argv[1], "serve", "--port", "0", "--model", sys.argv[2], *sys.argv[3:]], stdout=subprocess.PIPE, text=True)
try:
    url = next(line.split()[-1] for line in server.stdout if line.startswith("listening on "))
    host, port = url.removeprefix("http://").rsplit(":", 1)
    address = (host, int(port))
    print(f"at the beginning: {resident(server.pid) / 1e6:.2f} MB", flush=True)
    many(address, 1000, 0)
    before = resident(server.pid)
    for hundreds in range(1, 11):
        kinds = many(address, 100, hundreds)
        print(f"{100 * hundreds:5} requests, {resident(server.pid) / 1e6:.2f} MB; the last hundred: {kinds}", flush=True)
    after = resident(server.pid)
    while (state := health(address))["running"] + state["waiting"] > 0:
        pass
    print(f"before {before / 1e6:.2f} MB, after {after / 1e6:.2f} MB, {(after - before) / 1e6:+.2f} MB; {state}")
finally:
    server.terminate()
    server.wait(timeout=60)
