"""Llama, Mistral, Qwen 2 and Qwen 3 of Hugging Face's transformers beside the decoder of ours, for tests/llama.rs and by hand.

    python3 -m venv /tmp/golden
    /tmp/golden/bin/pip install torch transformers==5.24.0

Without arguments it writes llama/: small random models as transformers saves them, and in golden.json there what each says of
some prompts, what its tokenizer makes of some lines, and the frequencies of its rotary embeddings:

    /tmp/golden/bin/python tests/golden/llama.py

Opens folders that ours wrote. No key may be missing or left over. In ours.json of each folder, if it is there, are prompts with
our logits after the last token, our greedy continuations, and lines with our tokens; it prints how far they are apart:

    LLAMA=/tmp/llama cargo test --test llama exported
    /tmp/golden/bin/python tests/golden/llama.py check /tmp/llama/*
"""

import json
import logging
import pathlib
import sys
import warnings

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import AddedToken
from transformers import (AutoModelForCausalLM, AutoTokenizer, LlamaConfig, MistralConfig, PreTrainedTokenizerFast,
                          Qwen2Config, Qwen3Config)
from transformers.utils import logging as hf_logging

HERE = pathlib.Path(__file__).parent
OUT = HERE / "llama"
hf_logging.disable_progress_bar()

WORDS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
REST = "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
PATTERNS = {"llama3": WORDS + "|\\p{N}{1,3}" + REST, "qwen2": WORDS + "|\\p{N}" + REST}
CORPUS = ["the cat and the dog, the cats and the dogs; it's 1234 and 123, c'est l'\u00e9t\u00e9\n"] * 3
LINES = ["the cat and 12345 dogs", "L'\u00e9te\u0301 c'est fini\u202f!", "  two  blanks\n\n\tIT'S", "\uac00\ub098 \U0001f980 e\u0301",
         "<think>the</think> <thin", "caf\u00e9 <think><think>\r\n"]
TEMPLATE = "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"


def tokenizer(pattern, special, added, normalizer):
    """A byte-level BPE of 300 tokens: special ones, bytes and merges, and `added` behind them, which are not special."""
    made = Tokenizer(models.BPE())
    if pattern in PATTERNS:
        split = pre_tokenizers.Split(Regex(PATTERNS[pattern]), "isolated")
        made.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    else:
        made.pre_tokenizer = pre_tokenizers.ByteLevel(False)
    made.normalizer = normalizer
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=300 - len(added), min_frequency=2, special_tokens=special, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    made.train_from_iterator(CORPUS, trainer)
    made.add_tokens([AddedToken(text, normalized=False) for text in added])
    return made


def first(made, name):
    """Puts a special token before every text, as Llama 3 does."""
    template = processors.TemplateProcessing(f"{name} $A", f"{name} $A {name} $B", [(name, made.token_to_id(name))])
    made.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return made


SIZES = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=32)


def cases():
    """Name, configuration, type of the numbers, the largest file, tokenizer."""
    three = dict(rope_type="llama3", rope_theta=100.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                 original_max_position_embeddings=8)
    linear = dict(rope_type="linear", rope_theta=1000.0, factor=2.5)
    llama_tokens = first(tokenizer("llama3", ["<unk>", "<s>", "</s>", "<pad>"], [], None), "<s>")
    qwen_tokens = tokenizer("qwen2", ["<s>", "</s>"], ["<think>", "</think>"], normalizers.NFC())
    return [
        ("llama", LlamaConfig(vocab_size=64, rope_parameters=linear, **SIZES), torch.bfloat16, "4KB", None),
        ("llama3", LlamaConfig(vocab_size=300, rope_parameters=three, tie_word_embeddings=True, attention_bias=True,
                               mlp_bias=True, pad_token_id=3, **SIZES), torch.float16, "1GB", llama_tokens),
        ("mistral", MistralConfig(vocab_size=64, sliding_window=5, head_dim=6, **SIZES), torch.bfloat16, "1GB", None),
        ("qwen2", Qwen2Config(vocab_size=304, tie_word_embeddings=True, bos_token_id=0, eos_token_id=[1, 0], **SIZES),
         torch.bfloat16, "8KB", qwen_tokens),
        ("qwen3", Qwen3Config(vocab_size=64, head_dim=8, rope_parameters=dict(rope_type="default", rope_theta=1e6),
                              **SIZES), torch.float32, "1GB", None),
    ]


def logits(model, prompt):
    """The logits after the last token."""
    with torch.no_grad():
        return model(torch.tensor([prompt])).logits[0, -1]


def make():
    golden = {"transformers": __import__("transformers").__version__, "cases": []}
    for seed, (name, config, dtype, largest, tokens) in enumerate(cases()):
        generator = torch.Generator().manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config).to(dtype)
        with torch.no_grad():
            for key, weight in model.named_parameters():
                start = 1.0 if "norm" in key else 0.0
                weight.copy_(start + 0.4 * torch.randn(weight.shape, generator=generator))
        folder = OUT / name
        model.save_pretrained(folder, max_shard_size=largest)
        if tokens is not None:
            fast = PreTrainedTokenizerFast(tokenizer_object=tokens, bos_token="<s>", eos_token="</s>")
            fast.chat_template = TEMPLATE
            fast.save_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        prompts = [torch.randint(64, (length,), generator=generator).tolist() for length in (1, 7, 32)]
        case = {"name": name, "prompts": prompts, "frequencies": model.model.rotary_emb.inv_freq.tolist(),
                "logits": [[float(f"{x:.7g}") for x in logits(model, prompt).tolist()] for prompt in prompts]}
        if tokens is not None:
            case["lines"] = [[line, AutoTokenizer.from_pretrained(folder)(line)["input_ids"]] for line in LINES]
        golden["cases"].append(case)
    (OUT / "golden.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")


def greedy(model, prompt, count):
    """A greedy continuation, whatever token ends a text."""
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(logits(model, tokens).argmax()))
    return tokens[len(prompt):]


def check(folder):
    """Opens a folder and compares what it says with ours.json in it. Returns whether all is well."""
    folder = pathlib.Path(folder)
    model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    model.eval()
    keys = {kind: sorted(info[kind]) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    tokens = AutoTokenizer.from_pretrained(folder)
    print(f"{folder}: {type(model).__name__}, {type(tokens).__name__}, {keys}")
    well = not any(keys.values())
    ours = folder / "ours.json"
    if not ours.exists():
        return well
    ours = json.loads(ours.read_text())
    apart = 0.0
    for prompt, row in ours["logits"]:
        theirs = logits(model, prompt)
        apart = max(apart, float((torch.tensor(row) - theirs).abs().max() / theirs.abs().max()))
    print(f"  logits after {len(ours['logits'])} prompts: {apart:.2e} of the largest apart")
    equal = sum(greedy(model, prompt, len(rest)) == rest for prompt, rest in ours["greedy"])
    print(f"  greedy continuations: {equal} of {len(ours['greedy'])} equal")
    same = sum(tokens(line)["input_ids"] == ids for line, ids in ours["lines"])
    print(f"  lines with the same tokens: {same} of {len(ours['lines'])}")
    back = sum(tokens.decode(ids, skip_special_tokens=True) == text for ids, text in ours["decoded"])
    print(f"  tokens with the same text: {back} of {len(ours['decoded'])}")
    return well and apart < 1e-4 and equal == len(ours["greedy"]) and same == len(ours["lines"]) and back == len(ours["decoded"])


class Warnings(logging.Handler):
    """Keeps what transformers warns of."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.said = []

    def emit(self, record):
        self.said.append(record.getMessage())


def main():
    torch.set_num_threads(1)
    match sys.argv[1:]:
        case []:
            make()
        case ["check", *folders]:
            heard = Warnings()
            logging.getLogger("transformers").addHandler(heard)
            hf_logging.set_verbosity_warning()
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                well = [check(folder) for folder in folders]
            said = heard.said + [str(warning.message) for warning in caught]
            print(f"warnings: {len(said)}", *sorted(set(said)), sep="\n  ")
            sys.exit(not all(well))
        case _:
            sys.exit(__doc__)


main()
