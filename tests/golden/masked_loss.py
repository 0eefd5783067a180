"""The loss of conversations in which only some tokens are learned, as PyTorch computes it, for tests/conversation_tokens.rs.

    python3 -m venv /tmp/golden
    /tmp/golden/bin/pip install torch transformers==5.24.0
    /tmp/golden/bin/python tests/golden/masked_loss.py

It writes masked_loss.json: sequences of tokens and which of them are learned; the mean loss over the learned ones of all
sequences, with the model in llama/llama, each sequence by itself; and the sum and the length of the gradient of each parameter.
"""

import json
import pathlib
import random

import torch
from transformers import AutoModelForCausalLM

HERE = pathlib.Path(__file__).parent
LENGTHS = [7, 3, 12]


def main():
    model = AutoModelForCausalLM.from_pretrained(HERE / "llama" / "llama", dtype=torch.float64)
    draw = random.Random(7)
    sequences = [[draw.randrange(model.config.vocab_size) for _ in range(length)] for length in LENGTHS]
    learned = [[draw.random() < 0.4 for _ in tokens] for tokens in sequences]
    learned[1][2] = True
    total, count = 0.0, 0
    for tokens, says in zip(sequences, learned):
        ids = torch.tensor([tokens])
        logits = model(input_ids=ids).logits[0, :-1]
        # A token is learned where it is the target: labels are shifted, those that are not learned are -100.
        labels = torch.tensor([token if says else -100 for token, says in zip(tokens, says)])[1:]
        total = total + torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum")
        count += int((labels != -100).sum())
    loss = total / count
    loss.backward()
    gradients = {name: [p.grad.sum().item(), p.grad.norm().item()] for name, p in model.named_parameters()}
    rows = [("sequences", sequences), ("learned", learned), ("loss", loss.item()), ("gradients", gradients)]
    lines = ",\n".join(f' "{name}": {json.dumps(value)}' for name, value in rows)
    (HERE / "masked_loss.json").write_text("{\n" + lines + "\n}\n")


main()
