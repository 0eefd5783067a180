#!/usr/bin/env python3
"""Computes the golden values of the normalized transformer (Loshchilov et al. 2024) again, with PyTorch in float64.

    python3 -m venv golden
    golden/bin/pip install torch numpy
    golden/bin/python tests/golden/ngpt.py

It reads the parameters and inputs of a block and of a model from ngpt.json, says how far the outputs and gradients in it
are from those that it finds, and writes its own in their place. The parameters are exact in f32. They were drawn once:
matrices from a normal distribution, then brought to length 1 along the axis of the hidden state; factors at their first
value times 1 + 0.3 of a normal number, every third alpha times -4 as well, so that its absolute value is tested.
"""
import json
import math
import pathlib

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
FILE = pathlib.Path(__file__).resolve().parent / "ngpt.json"
LAYER = "model.layers.0."


def tensor(m):
    return torch.tensor(m["data"]).view(m["rows"], m["cols"])


def matrix(t):
    return {"rows": t.shape[0], "cols": t.shape[1], "data": t.detach().flatten().tolist()}


def unit(x):
    return x / x.norm(dim=-1, keepdim=True)


def rope(x, base):
    """Rotates the two halves of each head of (heads, tokens, head_dim); positions count from 0."""
    half = x.shape[-1] // 2
    angle = torch.outer(torch.arange(x.shape[-2]).double(), base ** (-torch.arange(half).double() / half))
    a, b = x.chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)


def attend(p, h, heads, base):
    """What attention answers. s_qk is stored at 1/sqrt(d) and used at 1; the softmax scale is sqrt(head_dim)."""
    n, d = h.shape
    split = lambda x: x.view(n, heads, d // heads).transpose(0, 1)
    q, k, v = (split(h @ p[f"{LAYER}self_attn.{x}_proj.weight"].T) for x in "qkv")
    s = (p[f"{LAYER}self_attn.s_qk"] * math.sqrt(d)).view(heads, 1, d // heads)
    q, k = s * unit(rope(q, base)), s * unit(rope(k, base))
    scores = q @ k.transpose(1, 2) * math.sqrt(d // heads)
    mixed = scores.masked_fill(torch.ones(n, n).triu(1).bool(), -math.inf).softmax(-1) @ v
    return mixed.transpose(0, 1).reshape(n, d) @ p[f"{LAYER}self_attn.o_proj.weight"].T


def feed(p, h):
    """What the feed-forward network answers. s_u and s_v are stored and used at 1, then times sqrt(d)."""
    root = math.sqrt(h.shape[1])
    u = p[f"{LAYER}mlp.s_u"] * root * (h @ p[f"{LAYER}mlp.up_proj.weight"].T)
    v = p[f"{LAYER}mlp.s_v"] * root * (h @ p[f"{LAYER}mlp.gate_proj.weight"].T)
    return (u * F.silu(v)) @ p[f"{LAYER}mlp.down_proj.weight"].T


def block(p, h, heads, base):
    """alpha is stored at 1/sqrt(d) and used at 0.05."""
    alpha = lambda part: (p[f"{LAYER}{part}.alpha"] * 0.05 * math.sqrt(h.shape[1])).abs()
    h = unit(h + alpha("self_attn") * (unit(attend(p, h, heads, base)) - h))
    return unit(h + alpha("mlp") * (unit(feed(p, h)) - h))


def logits(p, ids, heads, base):
    h = block(p, p["model.embed_tokens.weight"][ids], heads, base)
    return p["lm_head.s_z"] * math.sqrt(h.shape[1]) * (h @ p["lm_head.weight"].T)


def normalize(p):
    """Matrices that write to the hidden state by columns, all others by rows."""
    with torch.no_grad():
        for name, x in p.items():
            if x.shape[0] > 1:
                along = 0 if name.endswith(("o_proj.weight", "down_proj.weight")) else 1
                x /= x.norm(dim=along, keepdim=True)


def sequence(step, vocab):
    """Six tokens with a rule that can be learned, different in every step."""
    ids = [step % vocab]
    for at in range(5):
        ids.append((3 * ids[-1] + 1 + at % 2) % vocab)
    return ids


def train(p, heads, base, steps, rate):
    """AdamW without decay, as in the paper: a cosine to zero, lengths restored at the start and after each step."""
    vocab, losses = p["lm_head.weight"].shape[0], []
    normalize(p)
    optimizer = torch.optim.AdamW(p.values(), lr=rate, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
    for step in range(steps):
        ids = sequence(step, vocab)
        loss = F.cross_entropy(logits(p, ids[:-1], heads, base), torch.tensor(ids[1:]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * step / steps)) / 2
        optimizer.step()
        normalize(p)
        losses.append(loss.item())
    return losses


def main():
    golden = json.loads(FILE.read_text())
    heads, base, furthest = golden["heads"], golden["rope_base"], 0.0

    def put(where, name, value):
        nonlocal furthest
        new = value.item() if value.dim() == 0 else matrix(value)
        old = torch.tensor(where[name] if value.dim() == 0 else where[name]["data"])
        furthest = max(furthest, ((value.detach().flatten() - old.flatten()).abs().max() / old.abs().max()).item())
        where[name] = new

    def put_grads(where, p):
        for name, x in p.items():
            put(where, name, x.grad)

    leaves = lambda ms: {name: tensor(m).requires_grad_() for name, m in ms.items()}
    b = golden["block"]
    p, h = leaves(b["params"]), tensor(b["input"]).requires_grad_()
    out = block(p, h, heads, base)
    (out * tensor(b["upstream"])).sum().backward()
    put(b, "attention", attend(p, h, heads, base))
    put(b, "output", out)
    put(b, "input_grad", h.grad)
    put_grads(b["grads"], p)

    m = golden["model"]
    p = leaves(m["params"])
    z = logits(p, m["ids"], heads, base)
    loss = F.cross_entropy(z, torch.tensor(m["targets"]))
    loss.backward()
    put(m, "logits", z)
    put(m, "loss", loss)
    put_grads(m["grads"], p)

    t = {"steps": 200, "learning_rate": 0.01}
    t["losses"] = train(leaves(m["params"]), heads, base, t["steps"], t["learning_rate"])
    golden["training"] = t
    FILE.write_text(json.dumps(golden, separators=(",", ":")) + "\n")
    print(f"wrote {FILE.name}: what was in it is within {furthest:.1e} of what is in it now")


if __name__ == "__main__":
    main()
