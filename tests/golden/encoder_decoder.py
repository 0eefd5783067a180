#!/usr/bin/env python3
"""Writes encoder_decoder.json: torch.nn.Transformer as a translator, pre-norm and post-norm, in float64.

    /tmp/golden/bin/python tests/golden/encoder_decoder.py

A case each: parameters under our names, pairs of sentences, the loss of every target token (padding left out), and the gradients
of their mean. One table of tokens for both sides and the head, times the root of the width, with sines and cosines in halves.
nn.Transformer normalises the output of encoder and decoder once more in either case. Like make.py, which it uses, it seeds each
case from its name.
"""
import json
import math

import torch
import torch.nn.functional as F

from make import HERE, draw, matrices, seed

VOCAB, WIDTH, HEADS, INNER, LAYERS, EPS = 7, 8, 2, 12, [1, 2], 1e-5
PAIRS = [([3, 1, 4, 1, 5], [0, 2, 6, 5]), ([2], [0, 3, 5, 6, 4, 3]), ([6, 5, 3, 5], [0, 1]), ([4, 4, 2], [0, 5, 1, 2])]


def attention(name, theirs):
    params = {}
    for part, weight, bias in zip("qkv", theirs.in_proj_weight.chunk(3), theirs.in_proj_bias.chunk(3)):
        params |= {f"{name}.{part}_proj.weight": weight, f"{name}.{part}_proj.bias": bias}
    return params | plain(f"{name}.o_proj", theirs.out_proj)


def plain(name, theirs):
    return {f"{name}.weight": theirs.weight, f"{name}.bias": theirs.bias}


def ours(table, core, pre):
    """Their parameters as matrices, by our names."""
    params = {"model.shared.weight": table}
    before = ["input_layernorm", "post_attention_layernorm"] if pre else ["self_attn_layer_norm", "final_layer_norm"]
    for at, layer in enumerate(core.encoder.layers):
        name = f"model.encoder.layers.{at}"
        params |= attention(f"{name}.self_attn", layer.self_attn)
        params |= plain(f"{name}.mlp.fc1", layer.linear1) | plain(f"{name}.mlp.fc2", layer.linear2)
        params |= plain(f"{name}.{before[0]}", layer.norm1) | plain(f"{name}.{before[1]}", layer.norm2)
    for at, layer in enumerate(core.decoder.layers):
        name = f"model.decoder.layers.{at}"
        params |= attention(f"{name}.self_attn", layer.self_attn) | attention(f"{name}.encoder_attn", layer.multihead_attn)
        params |= plain(f"{name}.mlp.fc1", layer.linear1) | plain(f"{name}.mlp.fc2", layer.linear2)
        params |= plain(f"{name}.self_attn_layer_norm", layer.norm1) | plain(f"{name}.encoder_attn_layer_norm", layer.norm2)
        params |= plain(f"{name}.final_layer_norm", layer.norm3)
    params |= plain("model.encoder.layer_norm", core.encoder.norm) | plain("model.decoder.layer_norm", core.decoder.norm)
    return {name: p if p.dim() == 2 else p[None] for name, p in params.items()}


def transformer(pre, activation):
    return torch.nn.Transformer(WIDTH, HEADS, *LAYERS, INNER, 0.0, activation, batch_first=True, norm_first=pre, layer_norm_eps=EPS)


def case(name, pre, activation):
    seed("encoder_decoder", name)
    core = transformer(pre, activation)
    for p in core.parameters():
        with torch.no_grad():
            p.copy_(draw(1, p.numel(), 0.5).view(p.shape))
    table = draw(VOCAB, WIDTH, 0.5).requires_grad_()
    angle = torch.outer(torch.arange(8).double(), 10000.0 ** (-torch.arange(0, WIDTH, 2).double() / WIDTH))
    positions = torch.cat([angle.sin(), angle.cos()], -1)

    def embed(ids):
        return table[ids] * math.sqrt(WIDTH) + positions[: ids.shape[1]]

    losses = []
    for source, target in PAIRS:
        source, target = torch.tensor([source]), torch.tensor([target])
        mask = torch.nn.Transformer.generate_square_subsequent_mask(target.shape[1] - 1)
        x = core(embed(source), embed(target[:, :-1]), tgt_mask=mask, tgt_is_causal=True)
        losses.append(F.cross_entropy(F.linear(x[0], table), target[0, 1:], reduction="none"))
    losses = torch.cat(losses)
    losses.mean().backward()
    twin = transformer(pre, activation)  # holds the gradients as parameters
    with torch.no_grad():
        for p, q in zip(core.parameters(), twin.parameters()):
            q.copy_(p.grad)
    return {
        "name": name, "pre_norm": pre, "activation": activation, "vocab_size": VOCAB, "n_embd": WIDTH, "n_head": HEADS,
        "n_ffn": INNER, "layers": LAYERS, "eps": EPS, "pairs": PAIRS, "losses": losses.tolist(),
        "params": matrices(ours(table, core, pre)), "grads": matrices(ours(table.grad, twin, pre)),
    }


def main():
    cases = [case("post_norm", False, "relu"), case("pre_norm", True, "gelu")]
    lines = ",\n".join(json.dumps(case, separators=(",", ":"), allow_nan=False) for case in cases)
    version = torch.__version__.split("+")[0]
    text = f'{{"torch":"{version}","cases":[\n{lines}\n]}}\n'
    (HERE / "encoder_decoder.json").write_text(text, encoding="ascii", newline="\n")


if __name__ == "__main__":
    main()
