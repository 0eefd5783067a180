"""How many tokens a second `chat -- serve` gives one client and four together, in turn with `chat -- talk`, which has no server.

    cargo build --release -p gradus-examples --features chat --example chat
    python3 tests/golden/serve_speed.py target/release/examples/chat MODEL [--dtype int8]

MODEL is any model without a chat template that writes 400 tokens without an end, such as one that `chat -- create` has just made.
It prints the medians of five rounds. What follows MODEL goes to both `serve` and `talk`.
"""

import json
import re
import statistics
import subprocess
import sys
import threading
import time
import urllib.request

TOKENS, CLIENTS, ROUNDS = 400, 4, 5
PROMPT = "The history of the town begins with"
program, model, *options = sys.argv[1:]
common = ["--model", model, "--threads", "2", *options]


def reply(url):
    """The tokens of one request, which is answered whole."""
    body = {"prompt": PROMPT, "max_tokens": TOKENS, "temperature": 0}
    request = urllib.request.Request(f"{url}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["usage"]["completion_tokens"]


def served(url, clients):
    """Tokens a second that so many clients have together."""
    counts = []
    threads = [threading.Thread(target=lambda: counts.append(reply(url))) for _ in range(clients)]
    begin = time.perf_counter()
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert counts == clients * [TOKENS], f"the model ended its replies: {counts}"
    return clients * TOKENS / (time.perf_counter() - begin)


def talked():
    """Tokens a second of a program that only writes."""
    command = [program, "talk", *common, "--prompt", PROMPT, "--tokens", str(TOKENS), "--greedy"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    return float(re.search(r"reply: .* ([\d,.]+) a second", said).group(1).replace(",", ""))


server = subprocess.Popen([program, "serve", "--port", "0", "--parallel", str(CLIENTS), *common], stdout=subprocess.PIPE, text=True)
try:
    url = next(line.split()[-1] for line in server.stdout if line.startswith("listening on "))
    served(url, CLIENTS)
    rounds = [(talked(), served(url, 1), served(url, CLIENTS)) for _ in range(ROUNDS)]
    talk, one, four = map(statistics.median, zip(*rounds))
    for nth, row in enumerate(rounds, 1):
        print(f"round {nth}: talk {row[0]:.0f}, one client {row[1]:.0f}, four {row[2]:.0f} tokens a second")
    print(f"medians: talk {talk:.0f}, one client {one:.0f} ({one / talk:.3f} of it), four {four:.0f} ({four / one:.2f} times one)")
finally:
    server.terminate()
    server.wait(timeout=60)
