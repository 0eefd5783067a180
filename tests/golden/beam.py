"""Beam searches by transformers, for tests/beam_golden.rs to compare ours with.

    pip install torch transformers==5.24.0
    python tests/golden/beam.py                          writes tests/golden/beam.json
    python tests/golden/beam.py --random 2000 FILE       random settings, for BEAMS=FILE cargo test --test beam_golden

The model is a table: the logits of the next token follow from the last token and its position. The test makes the same table.
"""

import itertools
import json
import pathlib
import random
import sys

import torch
import transformers
from transformers import GenerationConfig, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

VOCAB, CONTEXT = 11, 12


def table(seed, peak):
    """Logits of [position, last token, next token], from a linear congruential generator."""
    state, numbers = seed, []
    for _ in range(CONTEXT * VOCAB * VOCAB):
        state = (state * 1664525 + 1013904223) % 2**32
        numbers.append(peak * state / 2**32)
    return torch.tensor(numbers, dtype=torch.float64).view(CONTEXT, VOCAB, VOCAB)


class TableConfig(PretrainedConfig):
    model_type = "table"

    def __init__(self, **more):
        super().__init__(**more)
        self.vocab_size = VOCAB


class Table(PreTrainedModel, GenerationMixin):
    config_class = TableConfig

    def __init__(self, numbers):
        super().__init__(TableConfig())
        self.numbers = torch.nn.Parameter(numbers)

    def forward(self, input_ids, return_dict=True):
        positions = torch.arange(input_ids.shape[1])
        return CausalLMOutput(logits=self.numbers[positions, input_ids])

    def prepare_inputs_for_generation(self, input_ids, attention_mask=None, **_):
        return {"input_ids": input_ids}


def search(case):
    model = Table(table(case["seed"], case["peak"]))
    penalty = case["length_penalty"]
    settings = GenerationConfig(
        do_sample=False,
        num_beams=case["width"],
        num_return_sequences=case["width"],
        max_new_tokens=case["max_tokens"],
        length_penalty=penalty,
        early_stopping={"First": True, "Likely": False, "Certain": "never"}[case["stopping"]],
        eos_token_id=case["end"] or None,
        pad_token_id=VOCAB + 1,
        forced_eos_token_id=case["forced_end"],
        no_repeat_ngram_size=case["no_repeat_ngram"] or 0,
        bad_words_ids=[[token] for token in case["suppress"]] or None,
        renormalize_logits=True,
        use_cache=False,
        output_scores=True,
        return_dict_in_generate=True,
    )
    prompt = torch.tensor([case["prompt"]])
    out = model.generate(prompt, attention_mask=torch.ones_like(prompt), generation_config=settings)
    found = []
    for tokens, score in zip(out.sequences.tolist(), out.sequences_scores.tolist()):
        tokens = [token for token in tokens[len(case["prompt"]):] if token != VOCAB + 1]
        if score > -1e8:  # else it fills a place that nothing came for
            found.append({"tokens": tokens, "score": score})
    return found


def random_case(draw):
    peak = draw.choice([2.0, 6.0, 12.0])
    width = draw.choice([2, 3, 4, 5])
    end = draw.choice([[0], [0], [0], [0, 3], []])
    return {
        "seed": draw.randrange(2**32),
        "peak": peak,
        "prompt": [draw.randrange(VOCAB) for _ in range(draw.choice([1, 1, 3]))],
        "width": width,
        "length_penalty": draw.choice([0.0, 0.6, 1.0, 1.0, 2.0, -0.5]),
        "stopping": draw.choice(["First", "Likely", "Certain"]),
        "max_tokens": draw.choice([1, 2, 4, 6, 8, 9]),
        "end": end,
        "forced_end": draw.choice([None, None, 0]) if end else None,
        "no_repeat_ngram": draw.choice([None, None, 2, 3]),
        "suppress": draw.choice([[], [], [5], [5, 7]]),
    }


def main():
    transformers.logging.set_verbosity_error()
    if "--random" in sys.argv:
        count, path = int(sys.argv[-2]), pathlib.Path(sys.argv[-1])
    else:
        count, path = 60, pathlib.Path(__file__).with_name("beam.json")
    draw = random.Random(7 if path.name == "beam.json" else None)
    cases = []
    for case in itertools.islice(iter(lambda: random_case(draw), None), count):
        cases.append({**case, "found": search(case)})
    golden = {"transformers": transformers.__version__, "vocab": VOCAB, "context": CONTEXT}
    lines = ",\n".join(json.dumps(case) for case in cases)
    path.write_text(json.dumps(golden)[:-1] + f', "cases": [\n{lines}\n]}}\n')


main()
