#!/usr/bin/env python3
"""Writes blocks.json: torch's own encoder layers, pre-norm and post-norm, in float64.

    /tmp/golden/bin/python tests/golden/blocks.py

One case each of torch.nn.TransformerEncoderLayer, with a mask and without: parameters under the names that our blocks give
them, the input, the output, the gradient from above, and the gradients of the input and of all parameters. Two sequences of
different length, one after the other. Like make.py, which it uses, it seeds each case from its name.
"""
import json

import torch

from make import HERE, draw, matrices, matrix, seed

WIDTH, HEADS, INNER, LENGTHS, EPS = 8, 2, 12, [4, 3], 1e-5


def ours(layer, pre):
    """Their parameters as matrices, by our names."""
    attention = layer.self_attn
    names = {"o_proj": attention.out_proj, "fc1": layer.linear1, "fc2": layer.linear2}
    norms = ["input_layernorm", "post_attention_layernorm"] if pre else ["self_attn_layer_norm", "final_layer_norm"]
    params = {}
    for part, weight, bias in zip("qkv", attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)):
        params |= {f"self_attn.{part}_proj.weight": weight, f"self_attn.{part}_proj.bias": bias}
    for part, linear in names.items():
        owner = "mlp" if part.startswith("fc") else "self_attn"
        params |= {f"{owner}.{part}.weight": linear.weight, f"{owner}.{part}.bias": linear.bias}
    for part, norm in zip(norms, [layer.norm1, layer.norm2]):
        params |= {f"{part}.weight": norm.weight, f"{part}.bias": norm.bias}
    return {f"model.layers.0.{name}": p if p.dim() == 2 else p[None] for name, p in params.items()}


def case(name, activation, pre, causal):
    seed("blocks", name)
    layer = torch.nn.TransformerEncoderLayer(WIDTH, HEADS, INNER, 0.0, activation, EPS, batch_first=True, norm_first=pre)
    for p in layer.parameters():
        with torch.no_grad():
            p.copy_(draw(1, p.numel(), 0.5).view(p.shape))
    x = draw(sum(LENGTHS), WIDTH).requires_grad_()
    outputs = []
    for part in x.split(LENGTHS):
        mask = torch.nn.Transformer.generate_square_subsequent_mask(len(part)) if causal else None
        outputs.append(layer(part[None], src_mask=mask, is_causal=causal)[0])
    output, upstream = torch.cat(outputs), draw(sum(LENGTHS), WIDTH)
    output.backward(upstream)
    gradients = {id(p): p.grad for p in layer.parameters()}
    twin = torch.nn.TransformerEncoderLayer(WIDTH, HEADS, INNER, norm_first=pre)  # holds the gradients as parameters
    with torch.no_grad():
        for p, q in zip(layer.parameters(), twin.parameters()):
            q.copy_(gradients[id(p)])
    return {
        "name": name, "pre_norm": pre, "causal": causal, "activation": activation, "n_embd": WIDTH, "n_head": HEADS,
        "n_ffn": INNER, "eps": EPS, "lengths": LENGTHS, "params": matrices(ours(layer, pre)), "x": matrix(x),
        "output": matrix(output), "upstream": matrix(upstream), "x_grad": matrix(x.grad),
        "grads": matrices(ours(twin, pre)),
    }


def main():
    cases = [
        case("post_norm", "relu", False, False),
        case("post_norm_causal", "gelu", False, True),
        case("pre_norm", "gelu", True, False),
        case("pre_norm_causal", "relu", True, True),
    ]
    lines = ",\n".join(json.dumps(case, separators=(",", ":"), allow_nan=False) for case in cases)
    version = torch.__version__.split("+")[0]
    text = f'{{"torch":"{version}","cases":[\n{lines}\n]}}\n'
    (HERE / "blocks.json").write_text(text, encoding="ascii", newline="\n")


if __name__ == "__main__":
    main()
