#!/usr/bin/env python3
"""Writes the golden values that the Rust tests compare with: PyTorch computes them, in float64.

    python3 -m venv /tmp/golden
    /tmp/golden/bin/pip install torch numpy
    /tmp/golden/bin/python tests/golden/make.py

It writes ops.json and optim.json beside itself. Nobody needs to run it to run the tests: the files are
committed. On the same torch version and the same kind of machine it writes them byte for byte again;
elsewhere the last digit of a number may differ (another exp, another order of a sum).

Every case seeds the generator from its own name, so a new case leaves all others as they were. Random
inputs are odd multiples of 1/32: exact in f32, short in decimal, and never zero, where relu has no derivative.
"""
import os

# Before torch is loaded: one thread, and the plain code path rather than the one for this very processor.
os.environ.update(ATEN_CPU_CAPABILITY="default", MKL_CBWR="COMPATIBLE", OMP_NUM_THREADS="1")

import json
import math
import pathlib
import zlib

import numpy
import torch
import torch.nn.functional as F
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
torch.use_deterministic_algorithms(True)
HERE = pathlib.Path(__file__).resolve().parent


def seed(*names):
    torch.manual_seed(zlib.crc32("/".join(names).encode()))


def draw(rows, cols, scale=1.0):
    """A random matrix of odd multiples of 1/32."""
    return ((torch.randn(rows, cols) * scale * 16).round() * 2 + 1) / 32


def number(value):
    """A Python float that prints as short as the number's own type allows."""
    if value.dtype == torch.float32:
        return float(str(numpy.float32(value.item())))
    return value.item()


def matrix(tensor):
    assert tensor.dim() == 2 and tensor.isfinite().all()
    return {"rows": tensor.shape[0], "cols": tensor.shape[1], "data": [number(v) for v in tensor.detach().flatten()]}


def matrices(tensors):
    return {name: matrix(tensor) for name, tensor in tensors.items()}


def write(name, cases):
    assert len({(c.get("op", c.get("algorithm")), c["name"]) for c in cases}) == len(cases), "two cases of one name"
    lines = ",\n".join(json.dumps(case, separators=(",", ":"), allow_nan=False) for case in cases)
    version = torch.__version__.split("+")[0]
    (HERE / name).write_text(f'{{"torch":"{version}","cases":[\n{lines}\n]}}\n', encoding="ascii", newline="\n")


# Operations ----------------------------------------------------------------------------------------------------

OPS = []


def op(kind, name, compute, shapes, settings=None, constants=None):
    """Adds a case. `shapes`: name -> (rows, cols), or a tensor given. `constants` have no gradient."""
    seed(kind, name)
    inputs = {key: (s if torch.is_tensor(s) else draw(*s)).clone().requires_grad_() for key, s in shapes.items()}
    constants = constants or {}
    output = compute(**inputs, **constants)
    upstream = draw(*output.shape)
    grads = torch.autograd.grad(output, list(inputs.values()), upstream)
    OPS.append({
        "op": kind, "name": name, "settings": settings or {}, "inputs": matrices(inputs | constants),
        "output": matrix(output), "upstream": matrix(upstream), "grads": matrices(dict(zip(inputs, grads))),
    })


def tensor(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def elementwise():
    functions = {
        "silu": F.silu,
        "relu": F.relu,
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "gelu": F.gelu,
        "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    }
    far = tensor(*[[v] for v in (-100.0, -20.0, -5.5, -(2**-10), 2**-10, 5.5, 20.0, 100.0)])
    for kind, f in functions.items():
        op(kind, "rows_and_columns", lambda x: f(x), {"x": (3, 4)})
        op(kind, "one_row", lambda x: f(x), {"x": (1, 5)})
        op(kind, "one_column_far_from_zero", lambda x: f(x), {"x": far})
    swiglu = lambda gate, up: F.silu(gate) * up
    op("swiglu", "rows_and_columns", swiglu, {"gate": (3, 4), "up": (3, 4)})
    op("swiglu", "one_row", swiglu, {"gate": (1, 5), "up": (1, 5)})
    op("swiglu", "one_column_far_from_zero", swiglu, {"gate": far, "up": (8, 1)})
    # torch's GLU takes both as one: the first half is let through, the second is the gate.
    glu = lambda gate, up: F.glu(torch.cat([up, gate], -1))
    geglu = lambda gate, up: F.gelu(gate) * up
    for kind, f in {"glu": glu, "geglu": geglu}.items():
        op(kind, "rows_and_columns", f, {"gate": (3, 4), "up": (3, 4)})
        op(kind, "one_row", f, {"gate": (1, 5), "up": (1, 5)})


def rows():
    softmax = lambda x: F.softmax(x, dim=-1)
    op("softmax", "rows_and_columns", softmax, {"x": (3, 4)})
    op("softmax", "one_row", softmax, {"x": (1, 7)})
    op("softmax", "one_column", softmax, {"x": (3, 1)})
    # exp of these overflows, unless the row's greatest is subtracted first; the second row is all ties.
    large = tensor([1000.0, 998.5, -1000.0], [800.0, 800.0, 800.0], [-900.0, -901.0, -899.5])
    op("softmax", "large", softmax, {"x": large})

    eps = {"eps": 1e-5}
    rms_norm = lambda x, gain=None: F.rms_norm(x, (x.shape[1],), None if gain is None else gain[0], 1e-5)
    tiny = tensor([1, -2, 3], [4, 0.5, -1]) / 1024  # eps outweighs the mean square
    for name, x in {"rows_and_columns": (3, 4), "one_row": (1, 7), "one_column": (3, 1), "tiny": tiny}.items():
        cols = tiny.shape[1] if name == "tiny" else x[1]
        op("rms_norm", name, rms_norm, {"x": x}, eps)
        op("rms_norm", f"{name}_gain", rms_norm, {"x": x, "gain": (1, cols)}, eps)

    first = lambda row: None if row is None else row[0]
    layer_norm = lambda x, gain=None, bias=None: F.layer_norm(x, (x.shape[1],), first(gain), first(bias), 1e-5)
    for name, x in {"rows_and_columns": (3, 4), "one_row": (1, 7), "tiny": tiny, "far_from_zero": 64 * tiny + 8}.items():
        cols = x.shape[1] if torch.is_tensor(x) else x[1]
        op("layer_norm", name, layer_norm, {"x": x}, eps)
        op("layer_norm", f"{name}_gain_bias", layer_norm, {"x": x, "gain": (1, cols), "bias": (1, cols)}, eps)

    linear = lambda x, weight: F.linear(x, weight)
    op("linear", "rows_and_columns", linear, {"x": (3, 4), "weight": (5, 4)})
    op("linear", "one_row", linear, {"x": (1, 3), "weight": (2, 3)})
    op("linear", "one_column", linear, {"x": (4, 1), "weight": (3, 1)})
    op("linear", "one_output", linear, {"x": (3, 5), "weight": (1, 5)})


def rope(x, heads, base, positions):
    """As Hugging Face's Llama: in every head column i and column i + head_dim/2 are one point of the plane, which
    turns by position / base^(2i/head_dim) radians. (Hugging Face has its angles in f32, we in f64.)"""
    head_dim = x.shape[1] // heads
    frequency = base ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angle = torch.outer(torch.tensor(positions, dtype=torch.float64), frequency)
    cos, sin = (torch.cat([f(angle)] * 2, -1)[:, None] for f in (torch.cos, torch.sin))
    x = x.view(len(positions), heads, head_dim)
    first, second = x.chunk(2, -1)
    return (x * cos + torch.cat([-second, first], -1) * sin).flatten(1)


def rotations():
    for name, heads, head_dim, base, positions in [
        ("one_head", 1, 4, 10000.0, [0, 1, 2, 3]),
        ("two_heads", 2, 6, 10000.0, [0, 1, 2]),
        ("packed", 2, 4, 500000.0, [0, 1, 2, 0, 0, 1]),
        ("one_row_far", 3, 2, 10000.0, [1000]),
    ]:
        op("rope", name, lambda x: rope(x, heads, base, positions), {"x": (len(positions), heads * head_dim)},
           {"heads": heads, "head_dim": head_dim, "base": base, "positions": positions})


def sinusoids(positions, width):
    """As Hugging Face's MarianSinusoidalPositionalEmbedding: sines in the first half of the columns, cosines in the second."""
    encoding = [[position / 10000.0 ** (2 * (col // 2) / width) for col in range(width)] for position in positions]
    encoding = torch.tensor(encoding, dtype=torch.float64)
    return torch.cat([torch.sin(encoding[:, 0::2]), torch.cos(encoding[:, 1::2])], -1)


def encodings():
    for name, width, positions in [("packed", 6, [0, 1, 2, 3, 0, 1]), ("one_row_far", 2, [1000]), ("wide", 16, [5, 511])]:
        op("sinusoids", name, lambda x: x + sinusoids(positions, width), {"x": (len(positions), width)},
           {"positions": positions})


def bucket(distance, count, max_distance, bidirectional):
    """T5's, with powers in place of logarithms: bucket exact + j begins at exact * (max_distance / exact)**(j / n)."""
    first = count // 2 if bidirectional and distance < 0 else 0
    count = count // 2 if bidirectional else count
    far = abs(distance) if bidirectional else max(distance, 0)
    exact = count // 2
    if far < exact:
        return first + far
    n = count - exact
    return first + exact + max(j for j in range(n) if far**n * exact**j >= max_distance**j * exact**n)


def attention(q, k, v, q_lengths, kv_lengths, heads, kv_heads, head_dim, causal, scale, table=None, window=0, slopes=(),
              buckets=0, max_distance=0, bidirectional=False):
    """Sequences are packed one after the other, and each meets only its own keys. Causal: the queries are the last
    of the keys' positions, so query i of a sequence sees keys 0 ..= kv_length - q_length + i, or the last `window` of
    those. ALiBi's slopes, or a table of relative positions [buckets, heads], add a bias to the scores."""
    outputs = []
    for q, k, v in zip(q.split(q_lengths), k.split(kv_lengths), v.split(kv_lengths)):
        split = lambda x, n: x.view(len(x), n, head_dim).transpose(0, 1)[None]  # [1, heads, tokens, head_dim]
        seen = torch.ones(len(q), len(k), dtype=torch.bool)
        if causal:
            seen = seen.tril(len(k) - len(q))
        if window:
            seen = seen.triu(len(k) - len(q) - window + 1)
        if slopes or table is not None:
            distance = torch.arange(len(q))[:, None] + len(k) - len(q) - torch.arange(len(k))
            if slopes:
                bias = -torch.tensor(slopes)[:, None, None] * distance.abs()  # [heads, queries, keys]
            else:
                of = lambda d: bucket(d, buckets, max_distance, bidirectional)
                bias = table[torch.tensor([[of(d) for d in row] for row in distance.tolist()])].permute(2, 0, 1)
            seen = bias[None].masked_fill(~seen, -math.inf)
        out = F.scaled_dot_product_attention(split(q, heads), split(k, kv_heads), split(v, kv_heads), attn_mask=seen,
                                             scale=scale, enable_gqa=True)
        outputs.append(out[0].transpose(0, 1).flatten(1))
    return torch.cat(outputs)


def attentions():
    for name, q_lengths, kv_lengths, heads, kv_heads, head_dim, causal in [
        ("causal_one_head", [4], [4], 1, 1, 4, True),
        ("causal_one_row", [1], [1], 2, 2, 3, True),
        ("causal_packed", [3, 1, 4], [3, 1, 4], 2, 2, 2, True),
        ("causal_packed_one_column", [2, 3], [2, 3], 1, 1, 1, True),
        ("causal_grouped", [4], [4], 4, 2, 2, True),
        ("causal_grouped_packed", [2, 3], [2, 3], 3, 1, 2, True),
        ("encoder_packed", [3, 2], [3, 2], 2, 2, 2, False),
        ("cross_packed", [2, 3], [4, 1], 2, 2, 2, False),
        ("cross_grouped_one_query", [1, 2], [3, 2], 4, 2, 1, False),
        ("cached_one_query", [1], [5], 2, 2, 2, True),
        ("cached_grouped_packed", [2, 1, 2], [4, 2, 2], 4, 2, 1, True),
    ]:
        settings = dict(q_lengths=q_lengths, kv_lengths=kv_lengths, heads=heads, kv_heads=kv_heads, head_dim=head_dim,
                        causal=causal, scale=1 / math.sqrt(head_dim))
        op("attention", name, lambda q, k, v: attention(q, k, v, **settings), {
            "q": (sum(q_lengths), heads * head_dim),
            "k": (sum(kv_lengths), kv_heads * head_dim),
            "v": (sum(kv_lengths), kv_heads * head_dim),
        }, settings)

    one_way = dict(buckets=6, max_distance=5, bidirectional=False)
    both_ways = dict(buckets=8, max_distance=5, bidirectional=True)
    quarters = [0.25, 0.0625, 0.015625, 0.00390625]  # of ALiBi for four heads: 2^(-8/4) and its powers
    for name, q_lengths, kv_lengths, heads, kv_heads, head_dim, causal, variant in [
        ("window_packed", [5, 1], [5, 1], 2, 2, 2, True, dict(window=2)),
        ("window_cached_grouped", [2, 1], [5, 4], 4, 2, 2, True, dict(window=3)),
        ("alibi_packed", [4, 2], [4, 2], 4, 4, 2, True, dict(slopes=quarters)),
        ("alibi_cached_grouped_window", [2, 1], [5, 3], 4, 2, 1, True, dict(slopes=quarters, window=3)),
        ("table_packed", [7, 2], [7, 2], 2, 2, 2, True, one_way),
        ("table_cached_grouped", [2, 1], [8, 3], 4, 2, 1, True, one_way),
        ("table_encoder_packed", [7, 3], [7, 3], 2, 2, 2, False, both_ways),
        ("table_cross", [2, 3], [6, 1], 2, 1, 2, False, both_ways),
    ]:
        settings = dict(q_lengths=q_lengths, kv_lengths=kv_lengths, heads=heads, kv_heads=kv_heads, head_dim=head_dim,
                        causal=causal, scale=1 / math.sqrt(head_dim), **variant)
        op("attention", name, lambda q, k, v, table=None: attention(q, k, v, table=table, **settings), {
            "q": (sum(q_lengths), heads * head_dim),
            "k": (sum(kv_lengths), kv_heads * head_dim),
            "v": (sum(kv_lengths), kv_heads * head_dim),
        } | ({"table": (settings["buckets"], heads)} if "buckets" in settings else {}), settings)


def cross_entropies():
    """One number: sum of weight * loss over sum of weight, smoothing as torch defines it: the target's share is
    1 - smoothing + smoothing/classes, every other class's smoothing/classes."""
    large = tensor([1000.0, 990.0, -1000.0], [-500.0, 500.0, 499.0])
    for name, x, targets, weights in [
        ("plain", (4, 5), [0, 4, 2, 2], None),
        ("weighted", (4, 5), [3, 1, 0, 4], [1.0, 0.25, 3.5, 0.125]),
        ("weight_zero", (3, 4), [3, 0, 1], [0.0, 2.0, 0.5]),
        ("one_row", (1, 7), [6], [0.75]),
        ("one_column", (3, 1), [0, 0, 0], None),
        ("large", large, [1, 0], None),
    ]:
        for smoothing in (0.0, 0.1):
            def compute(x, weights=None):
                loss = F.cross_entropy(x, torch.tensor(targets), reduction="none", label_smoothing=smoothing)
                w = torch.ones(len(targets)) if weights is None else weights[:, 0]
                return ((w * loss).sum() / w.sum()).view(1, 1)

            constants = {} if weights is None else {"weights": tensor(*[[w] for w in weights])}
            op("cross_entropy", f"{name}_smoothing" if smoothing else name, compute, {"x": x},
               {"targets": targets, "smoothing": smoothing}, constants)


# Optimizers ----------------------------------------------------------------------------------------------------

OPTIM = []


def trajectory(optimizer, params, gradients, scheduler=None):
    """The parameters after each step."""
    after = []
    for gradient in gradients:
        for name, p in params.items():
            p.grad = gradient[name].to(p.dtype, copy=True)
        optimizer.step()
        if scheduler:
            scheduler.step()
        after.append(matrices(params))
    return after


def setting_out(shapes, steps, scale=1.0):
    """Initial parameters, and a gradient for each step."""
    initial = {name: draw(*shape) for name, shape in shapes.items()}
    return initial, [{name: draw(*shape, scale) for name, shape in shapes.items()} for _ in range(steps)]


def copies(tensors, dtype=torch.float64):
    return {name: t.to(dtype, copy=True).requires_grad_() for name, t in tensors.items()}


def adams():
    shapes, steps = {"matrix": (2, 3), "row": (1, 2)}, 10
    seed("adam")
    initial, gradients = setting_out(shapes, steps, 0.5)

    # microgpt: no decay of weights, and a learning rate that falls linearly to 0.
    lr, betas, eps = 0.01, (0.85, 0.99), 1e-8
    params = copies(initial)
    adam = torch.optim.Adam(params.values(), lr, betas, eps)
    after = trajectory(adam, params, gradients, LambdaLR(adam, lambda step: 1 - step / steps))
    lrs = [lr * (1 - step / steps) for step in range(steps)]
    OPTIM.append({
        "algorithm": "adam", "name": "microgpt",
        "settings": {"beta1": betas[0], "beta2": betas[1], "eps": eps, "weight_decay": 0.0, "lrs": lrs},
        "initial": matrices(initial), "gradients": [matrices(g) for g in gradients], "params": after,
    })
    for name in shapes:  # microgpt's own lines come to the same
        p = initial[name].clone()
        m = v = torch.zeros_like(p)
        for step, gradient in enumerate(gradients):
            m = betas[0] * m + (1 - betas[0]) * gradient[name]
            v = betas[1] * v + (1 - betas[1]) * gradient[name] ** 2
            m_hat, v_hat = m / (1 - betas[0] ** (step + 1)), v / (1 - betas[1] ** (step + 1))
            p = p - lrs[step] * m_hat / (v_hat**0.5 + eps)
            assert torch.allclose(p.flatten(), torch.tensor(after[step][name]["data"]), rtol=1e-13, atol=1e-15)

    lr, betas, decay = 0.02, (0.9, 0.95), 0.1
    params = copies(initial)
    after = trajectory(torch.optim.AdamW(params.values(), lr, betas, eps, decay), params, gradients)
    OPTIM.append({
        "algorithm": "adamw", "name": "decay",
        "settings": {"beta1": betas[0], "beta2": betas[1], "eps": eps, "weight_decay": decay, "lrs": [lr] * steps},
        "initial": matrices(initial), "gradients": [matrices(g) for g in gradients], "params": after,
    })

    # Parameter groups: gains, biases and scales never decay, embeddings only if asked for.
    shapes = {"matrix": (2, 3), "embedding": (3, 2), "gain": (1, 3), "bias": (1, 2), "scale": (1, 2)}
    for name, decaying in [("all", ["matrix", "embedding"]), ("no_embeddings", ["matrix"])]:
        seed("adamw_groups")
        initial, gradients = setting_out(shapes, steps, 0.5)
        params = copies(initial)
        groups = [
            {"params": [params[key] for key in decaying], "weight_decay": decay},
            {"params": [params[key] for key in shapes if key not in decaying], "weight_decay": 0.0},
        ]
        after = trajectory(torch.optim.AdamW(groups, lr, betas, eps), params, gradients)
        OPTIM.append({
            "algorithm": "adamw_groups", "name": name,
            "settings": {"beta1": betas[0], "beta2": betas[1], "eps": eps, "weight_decay": decay,
                         "decay_embeddings": "embedding" in decaying, "lrs": [lr] * steps},
            "initial": matrices(initial), "gradients": [matrices(g) for g in gradients], "params": after,
        })


NS_COEFFICIENTS, NS_EPS = (3.4445, -4.7750, 2.0315), 1e-7


def newton_schulz(g, steps):
    """torch.optim._muon._zeropower_via_newtonschulz line by line, without its cast to bfloat16."""
    a, b, c = NS_COEFFICIENTS
    x = g.clone()
    if g.size(0) > g.size(1):
        x = x.T
    x = x / x.norm().clamp(min=NS_EPS)
    for _ in range(steps):
        gram = x @ x.T
        update = b * gram + c * gram @ gram
        x = a * x + update @ x
    if g.size(0) > g.size(1):
        x = x.T
    return x


def adjusted(lr, adjust_lr_fn, rows, cols):
    if adjust_lr_fn == "original":
        return lr * math.sqrt(max(1, rows / cols))
    assert adjust_lr_fn == "match_rms_adamw"
    return lr * 0.2 * math.sqrt(max(rows, cols))


def muon64(initial, gradients, lr, weight_decay, momentum, nesterov, ns_steps, adjust_lr_fn):
    """torch.optim._muon._single_tensor_muon line by line, in float64 throughout."""
    params = {name: p.clone() for name, p in initial.items()}
    buffers = {name: torch.zeros_like(p) for name, p in initial.items()}
    after = []
    for gradient in gradients:
        for name, p in params.items():
            g, buffer = gradient[name], buffers[name]
            buffer.lerp_(g, 1 - momentum)
            update = g.lerp(buffer, momentum) if nesterov else buffer
            update = newton_schulz(update, ns_steps)
            p.mul_(1 - lr * weight_decay)
            p.add_(update, alpha=-adjusted(lr, adjust_lr_fn, *p.shape))
        after.append(matrices(params))
    return after


def furthest(a, b):
    return max(abs(x - y) for s, t in zip(a, b) for n in s for x, y in zip(s[n]["data"], t[n]["data"]))


def muons():
    shapes = {"tall": (6, 4), "wide": (4, 6), "square": (5, 5)}
    note = ("params: torch.optim.Muon on float32 parameters; its Newton-Schulz works in bfloat16. params64: the same "
            "lines in float64 throughout. furthest: the greatest difference of the two.")
    seed("muon")
    initial, gradients = setting_out(shapes, 5)
    runs = []
    for nesterov, weight_decay, adjust_lr_fn in [  # every pair of settings occurs
        (True, 0.1, "original"),
        (True, 0.0, "match_rms_adamw"),
        (False, 0.0, "original"),
        (False, 0.1, "match_rms_adamw"),
    ]:
        settings = dict(lr=0.02, weight_decay=weight_decay, momentum=0.95, nesterov=nesterov, ns_steps=5,
                        adjust_lr_fn=adjust_lr_fn)
        params = copies(initial, torch.float32)
        muon = torch.optim.Muon(params.values(), ns_coefficients=NS_COEFFICIENTS, eps=NS_EPS, **settings)
        after, after64 = trajectory(muon, params, gradients), muon64(initial, gradients, **settings)
        runs.append({
            "settings": settings | {"ns_coefficients": NS_COEFFICIENTS, "ns_eps": NS_EPS},
            "furthest": furthest(after, after64), "params": after, "params64": after64,
        })
    OPTIM.append({
        "algorithm": "muon", "name": "three_shapes", "note": note, "initial": matrices(initial),
        "gradients": [matrices(g) for g in gradients], "runs": runs,
    })
    for name, shape in (shapes | {"one_row": (1, 4), "one_column": (3, 1)}).items():
        seed("newton_schulz", name)
        x = draw(*shape)
        OPTIM.append({
            "algorithm": "newton_schulz", "name": name,
            "settings": {"ns_steps": 5, "ns_coefficients": NS_COEFFICIENTS, "ns_eps": NS_EPS},
            "input": matrix(x), "output64": matrix(newton_schulz(x, 5)),
        })


def clips():
    """torch multiplies by min(1, max_norm / (norm + 1e-6)), so it shrinks a little what lies at the bound."""
    for name, max_norm, gradients in [
        ("above", 1.0, None),
        ("below", 100.0, None),
        ("at_the_bound", 5.0, {"a": tensor([3.0, 0.0]), "b": tensor([4.0])}),
        ("zero", 1.0, {"a": torch.zeros(2, 2), "b": torch.zeros(1, 3)}),
    ]:
        seed("clip_grad_norm")
        gradients = gradients or {"a": draw(2, 3), "b": draw(1, 4), "c": draw(3, 1)}
        params = copies(gradients)
        for key, p in params.items():
            p.grad = gradients[key].clone()
        norm = torch.nn.utils.clip_grad_norm_(params.values(), max_norm)
        OPTIM.append({
            "algorithm": "clip_grad_norm", "name": name, "settings": {"max_norm": max_norm, "eps": 1e-6},
            "gradients": matrices(gradients), "norm": norm.item(),
            "clipped": matrices({key: p.grad for key, p in params.items()}),
        })


def averages():
    """The average starts as the initial weights themselves, then average = decay * average + (1 - decay) * weights."""
    decay = 0.99
    seed("ema")
    initial, weights = setting_out({"matrix": (2, 3), "row": (1, 2)}, 10)
    model = torch.nn.ParameterDict(copies(initial))
    ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
    ema.update_parameters(model)  # the first only copies
    after = []
    with torch.no_grad():
        for step in weights:
            for name, p in model.items():
                p.copy_(step[name])
            ema.update_parameters(model)
            after.append(matrices(dict(ema.module.items())))
    OPTIM.append({
        "algorithm": "ema", "name": "decay", "settings": {"decay": decay}, "initial": matrices(initial),
        "weights": [matrices(w) for w in weights], "averages": after,
    })


def schedules():
    """Linear warmup, then half a cosine from lr to min_lr, then min_lr. The two conventions differ in the warmup:
    Hugging Face's first step has rate 0, nanoGPT's the first of warmup_steps + 1 equal stairs."""
    for name, convention, lr, min_lr, warmup_steps, total_steps in [
        ("hugging_face", "hugging_face", 0.003, 0.0, 4, 20),
        ("hugging_face_floor", "hugging_face", 0.003, 0.0003, 4, 20),
        ("nanogpt", "nanogpt", 0.003, 0.0003, 4, 20),
        ("no_warmup", "hugging_face", 0.01, 0.0, 0, 10),
        ("one_step", "nanogpt", 0.01, 0.001, 0, 1),
    ]:
        def factor(step):
            if step < warmup_steps:
                return step / warmup_steps if convention == "hugging_face" else (step + 1) / (warmup_steps + 1)
            progress = min(1.0, (step - warmup_steps) / (total_steps - warmup_steps))
            floor = min_lr / lr
            return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))

        sgd = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr)
        scheduler, lrs = LambdaLR(sgd, factor), []
        for _ in range(total_steps + 3):  # three steps past the end
            lrs.append(scheduler.get_last_lr()[0])
            sgd.step()
            scheduler.step()
        OPTIM.append({
            "algorithm": "cosine_schedule", "name": name,
            "settings": {"convention": convention, "lr": lr, "min_lr": min_lr, "warmup_steps": warmup_steps,
                         "total_steps": total_steps},
            "lrs": lrs,
        })


def main():
    for part in (elementwise, rows, rotations, encodings, attentions, cross_entropies):
        part()
    for part in (adams, muons, clips, averages, schedules):
        part()
    write("ops.json", OPS)
    write("optim.json", OPTIM)


if __name__ == "__main__":
    main()
