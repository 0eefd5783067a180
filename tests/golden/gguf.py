"""Writes gguf/tiny.gguf with the `gguf` package, and gguf/tiny.json: its numbers in our order, and its logits.

    python3 -m venv /tmp/golden
    /tmp/golden/bin/pip install gguf numpy
    /tmp/golden/bin/python tests/golden/gguf.py

It also opens what ours wrote with llama.cpp (`pip install llama-cpp-python`, which compiles it), and compares logits, the tokens
of a thousand lines, and, for stories260K, the text that it writes:

    GGUF=/tmp/gguf cargo test --test gguf what_was_exported
    STORIES=/tmp/gguf cargo test --test stories a_gguf
    /tmp/golden/bin/python tests/golden/gguf.py --check /tmp/gguf
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

# The package, not this file.
sys.path = [path for path in sys.path if Path(path or ".").resolve() != Path(__file__).resolve().parent]

HERE = Path(__file__).with_name("gguf")
VOCAB, WIDTH, HEADS, KV_HEADS, INNER, BASE, EPS = 264, 8, 2, 1, 32, 20_000.0, 1e-5
DIM = WIDTH // HEADS


def weights():
    """All weights under Hugging Face's names: numbers that 16 and 8 bits hold exactly."""
    draw = np.random.default_rng(3)
    some = lambda *shape: draw.integers(-31, 32, shape).astype(np.float32) / 32
    layer = "model.layers.0."
    down = draw.integers(-127, 128, (WIDTH, INNER)).astype(np.float32)
    down[:, 5] = 127  # so that each block's scale is 1/64
    return {
        "model.embed_tokens.weight": some(VOCAB, WIDTH),
        layer + "input_layernorm.weight": 1 + some(WIDTH) / 4,
        layer + "self_attn.q_proj.weight": some(HEADS * DIM, WIDTH),
        layer + "self_attn.k_proj.weight": some(KV_HEADS * DIM, WIDTH),
        layer + "self_attn.v_proj.weight": some(KV_HEADS * DIM, WIDTH),
        layer + "self_attn.o_proj.weight": some(WIDTH, HEADS * DIM),
        layer + "post_attention_layernorm.weight": 1 + some(WIDTH) / 4,
        layer + "mlp.gate_proj.weight": some(INNER, WIDTH),
        layer + "mlp.up_proj.weight": some(INNER, WIDTH),
        layer + "mlp.down_proj.weight": down / 64,
        "model.norm.weight": 1 + some(WIDTH) / 4,
        "lm_head.weight": some(VOCAB, WIDTH),
    }


def logits(w, tokens):
    """The Llama of Hugging Face in float64: pairs of RoPE are (i, i + half)."""
    w = {name: x.astype(np.float64) for name, x in w.items()}
    norm = lambda x, gain: x / np.sqrt((x * x).mean(-1, keepdims=True) + EPS) * gain
    n, half = len(tokens), DIM // 2
    angles = np.arange(n)[:, None] * BASE ** (-np.arange(half) / half)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]

    def rotate(x):
        a, b = x[..., :half], x[..., half:]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    layer = "model.layers.0."
    x = w["model.embed_tokens.weight"][tokens]
    h = norm(x, w[layer + "input_layernorm.weight"])
    heads = lambda part, count: (h @ w[f"{layer}self_attn.{part}_proj.weight"].T).reshape(n, count, DIM)
    q, k, v = rotate(heads("q", HEADS)), rotate(heads("k", KV_HEADS)), heads("v", KV_HEADS)
    k, v = (np.repeat(t, HEADS // KV_HEADS, 1) for t in (k, v))
    scores = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(DIM) + np.triu(np.full((n, n), -np.inf), 1)
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    scores /= scores.sum(-1, keepdims=True)
    x = x + np.einsum("hij,jhd->ihd", scores, v).reshape(n, -1) @ w[layer + "self_attn.o_proj.weight"].T
    h = norm(x, w[layer + "post_attention_layernorm.weight"])
    gate, up = (h @ w[f"{layer}mlp.{part}_proj.weight"].T for part in ("gate", "up"))
    x = x + (gate / (1 + np.exp(-gate)) * up) @ w[layer + "mlp.down_proj.weight"].T
    return norm(x, w["model.norm.weight"]) @ w["lm_head.weight"].T


def interleaved(x, heads):
    """Rows as llama.cpp's converter stores those of queries and keys."""
    return x.reshape(heads, 2, DIM // 2, WIDTH).swapaxes(1, 2).reshape(x.shape)


def write():
    import gguf
    from gguf import GGMLQuantizationType as Type

    HERE.mkdir(exist_ok=True)
    w = weights()
    file = gguf.GGUFWriter(HERE / "tiny.gguf", "llama")
    file.add_context_length(32)
    file.add_embedding_length(WIDTH)
    file.add_block_count(1)
    file.add_feed_forward_length(INNER)
    file.add_head_count(HEADS)
    file.add_head_count_kv(KV_HEADS)
    file.add_rope_dimension_count(DIM)
    file.add_rope_freq_base(BASE)
    file.add_layer_norm_rms_eps(EPS)
    pieces = ["\u2581a", "b", "\u2581ab", "\u2581", "a"]
    file.add_tokenizer_model("llama")
    file.add_token_list(["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)] + pieces)
    file.add_token_scores([0.0] * 259 + [-1.0, -9.0, -2.0, -9.5, -9.75])
    file.add_token_types([2, 3, 3] + [6] * 256 + [1] * len(pieces))
    file.add_bos_token_id(1)
    file.add_eos_token_id(2)
    file.add_chat_template("{{ messages }}")
    layer = "model.layers.0."
    for theirs, ours, kind in [
        ("output", "lm_head", Type.F16),
        ("token_embd", "model.embed_tokens", Type.BF16),
        ("output_norm", "model.norm", Type.F32),
        ("blk.0.attn_norm", layer + "input_layernorm", Type.F32),
        ("blk.0.attn_q", layer + "self_attn.q_proj", Type.F32),
        ("blk.0.attn_k", layer + "self_attn.k_proj", Type.F16),
        ("blk.0.attn_v", layer + "self_attn.v_proj", Type.F32),
        ("blk.0.attn_output", layer + "self_attn.o_proj", Type.F32),
        ("blk.0.ffn_norm", layer + "post_attention_layernorm", Type.F32),
        ("blk.0.ffn_gate", layer + "mlp.gate_proj", Type.F32),
        ("blk.0.ffn_up", layer + "mlp.up_proj", Type.BF16),
        ("blk.0.ffn_down", layer + "mlp.down_proj", Type.Q8_0),
    ]:
        x = w[ours + ".weight"]
        if theirs in ("blk.0.attn_q", "blk.0.attn_k"):
            x = interleaved(x, x.shape[0] // DIM)
        stored = gguf.quants.quantize(x, kind)
        assert (gguf.quants.dequantize(stored, kind).reshape(x.shape) == x).all(), theirs
        file.add_tensor(theirs + ".weight", stored, raw_dtype=kind)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    tokens = [1, 261, 5, 260]
    golden = {
        "tensors": {name: [float(x) for x in numbers.flatten()] for name, numbers in w.items()},
        "tokens": tokens,
        "logits": [float(f"{x:.7g}") for x in logits(w, tokens).flatten()],
    }
    (HERE / "tiny.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")


def llama(path):
    import llama_cpp

    # Keys and values in f32, as ours has them.
    settings = {"n_ctx": 0, "logits_all": True, "n_threads": 1, "type_k": 0, "type_v": 0, "flash_attn": False}
    model = llama_cpp.Llama(str(path), verbose=False, **settings)
    return model


def furthest(model, prompts, ours):
    worst = 0.0
    for prompt, expected in zip(prompts, ours):
        model.reset()
        model.eval(prompt)
        theirs = np.array(model.scores[len(prompt) - 1])
        worst = max(worst, np.abs(theirs - expected).max() / np.abs(theirs).max())
    return worst


def check(folder):
    for file in sorted(folder.glob("*/ours.json")):
        ours = json.loads(file.read_text())
        for kind, of_kind in ours["ours"].items():
            expected = of_kind["logits"]
            model = llama(file.with_name(f"{kind}.gguf"))
            worst = furthest(model, ours["prompts"], [np.array(x) for x in expected])
            print(f"{file.parent.name:12} {kind:5} logits of {len(expected)} prompts: furthest {worst:.1e} of the largest")
            if kind == "f32":
                tokenize = lambda text: model.tokenize(text.encode(), add_bos=False, special=False)
                wrong = [(text, ids, tokenize(text)) for text, ids in zip(ours["lines"], ours["ids"]) if tokenize(text) != ids]
                print(f"{file.parent.name:12}       {len(ours['lines'])} lines: {len(wrong)} with other tokens {wrong[:3]}")
            if "greedy" in of_kind:
                bos = model.token_bos()
                model.reset()
                ids = []
                for token in model.generate([bos], temp=0.0, top_k=1, repeat_penalty=1.0):
                    if len(ids) == 200 or token in (1, 2):
                        break
                    ids.append(token)
                text = model.detokenize(ids, prev_tokens=[bos]).decode()
                same = text.lstrip(" ") == of_kind["greedy"]
                print(f"{file.parent.name:12} {kind:5} greedy text of 200 tokens: {'the same' if same else repr(text)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", type=Path, metavar="DIR")
    args = parser.parse_args()
    check(args.check) if args.check else write()
