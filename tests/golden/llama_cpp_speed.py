"""How fast llama.cpp generates with a GGUF, to be run in turn with `cargo bench --bench generate`.

    pip install llama-cpp-python numpy
    python tests/golden/llama_cpp_speed.py MODEL.gguf THREADS SECONDS

It writes 512 tokens from the first on, and reads a prompt of 512: medians of as many rounds as fit into the time, at least three.
"""

import ctypes
import statistics
import sys
import time

import llama_cpp as lib
import numpy as np


@lib.llama_log_callback
def quiet(*_):
    pass


def main(path, threads, seconds):
    lib.llama_backend_init()
    lib.llama_log_set(quiet, ctypes.c_void_p(0))
    model = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
    params = lib.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch = 1024, 512, 512
    params.n_threads = params.n_threads_batch = int(threads)
    context = lib.llama_init_from_model(model, params)
    memory = lib.llama_get_memory(context)
    vocab = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))

    def feed(tokens):
        array = (lib.llama_token * len(tokens))(*tokens)
        assert lib.llama_decode(context, lib.llama_batch_get_one(array, len(tokens))) == 0
        return int(np.ctypeslib.as_array(lib.llama_get_logits_ith(context, -1), (vocab,)).argmax())

    def decode():
        lib.llama_memory_clear(memory, True)
        token = feed([1])
        start = time.perf_counter()
        for _ in range(512):
            token = feed([token])
        return 512 / (time.perf_counter() - start)

    def prompt():
        lib.llama_memory_clear(memory, True)
        tokens = [int(token) for token in np.random.default_rng(0).integers(0, vocab, 512)]
        start = time.perf_counter()
        feed(tokens)
        return 512 / (time.perf_counter() - start)

    decode(), prompt()
    rounds, end = [], time.time() + float(seconds)
    while time.time() < end or len(rounds) < 3:
        rounds.append((decode(), prompt()))
    written, read = (statistics.median(column) for column in zip(*rounds))
    print(f"{threads} threads: decode {written:.1f} tokens a second, prompt {read:.1f}")


main(*sys.argv[1:])
