"""LoRA of Hugging Face's peft beside ours, for tests/peft.rs and by hand.

    python3 -m venv /tmp/golden
    /tmp/golden/bin/pip install torch transformers==5.24.0 peft==0.21.2

Without arguments it writes lora/: a small random Llama as transformers saves it, a random adapter of it as peft saves it, and in
numbers.json what they say of some texts, with the gradients of the adapter:

    /tmp/golden/bin/python tests/golden/lora.py

Opens folders that ours wrote. No key may be missing or left over. The logits of base and adapter have to be ours within 1e-4,
have to differ from those of the base, and have to be those of the merged folder:

    LORA=/tmp/lora cargo test --test peft exported
    /tmp/golden/bin/python tests/golden/lora.py check /tmp/lora/base /tmp/lora/adapter /tmp/lora/merged

What `chat train --use-lora` writes is checked in the same way, after

    LORA=/tmp/lora cargo test --features chat --test chat_train_cli an_adapter_is_trained
"""

import json
import logging
import pathlib
import sys
import warnings

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers.utils import logging as hf_logging

HERE = pathlib.Path(__file__).parent
LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
hf_logging.disable_progress_bar()


def logits(model, texts):
    """The logits after every token of every text, one text at a time."""
    with torch.no_grad():
        return torch.cat([model(input_ids=torch.tensor([text])).logits[0] for text in texts])


def rounded(x):
    return [round(value, 10) for value in x.flatten().tolist()]


def write_golden():
    torch.manual_seed(1848)
    config = LlamaConfig(
        vocab_size=20, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=16, rms_norm_eps=1e-6, tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.randn_like(p) * 0.3 + ("norm.weight" in name))
    folder = HERE / "lora"
    model.save_pretrained(folder / "base")
    (folder / "base/generation_config.json").unlink()
    lora = LoraConfig(r=3, lora_alpha=5, lora_dropout=0.1, target_modules=LAYERS, task_type="CAUSAL_LM")
    texts = [torch.randint(0, 20, (length,)).tolist() for length in (9, 2, 5)]
    base = rounded(logits(model.double(), texts))
    adapted = get_peft_model(model.float(), lora).eval()
    with torch.no_grad():
        for name, p in adapted.named_parameters():
            if "lora_" in name:
                p.copy_(torch.randn_like(p) * 0.3)
    adapted.save_pretrained(folder / "adapter")
    (folder / "adapter/README.md").unlink()
    config = json.loads((folder / "adapter/adapter_config.json").read_text())
    config["target_modules"].sort()  # a set, which Python orders by chance
    (folder / "adapter/adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
    adapted = adapted.double()
    with_adapter = rounded(logits(adapted, texts))
    # The mean loss of the next token over all texts.
    rows = torch.cat([adapted(input_ids=torch.tensor([text])).logits[0, :-1] for text in texts])
    targets = torch.tensor([token for text in texts for token in text[1:]])
    loss = torch.nn.functional.cross_entropy(rows, targets)
    loss.backward()
    gradients = {
        name.replace("base_model.model.", "").replace(".default", ""): rounded(p.grad)
        for name, p in adapted.named_parameters()
        if p.grad is not None
    }
    merged = rounded(logits(adapted.merge_and_unload(), texts))
    numbers = {"texts": texts, "base": base, "adapted": with_adapter, "merged": merged, "loss": loss.item(), "gradients": gradients}
    (folder / "numbers.json").write_text(json.dumps(numbers) + "\n")


class Heard(logging.Handler):
    """Remembers what transformers warns of."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


def load(folder, adapter=None):
    """The model of a folder, perhaps with an adapter; fails if a key is missing or left over, or if anything is warned of."""
    heard = Heard()
    hf_logging.get_logger("transformers").addHandler(heard)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
        if adapter is not None:
            model = PeftModel.from_pretrained(model, adapter)
    hf_logging.get_logger("transformers").removeHandler(heard)
    problems = {key: found for key, found in info.items() if found}
    # peft calls what transformers is about to rename, which says nothing about a folder.
    said = heard.messages + [str(w.message) for w in warned if not issubclass(w.category, FutureWarning)]
    if problems or said:
        raise SystemExit(f"{folder}, {adapter}: {problems} {said}")
    return model.eval()


def check(base, adapter, merged):
    ours = json.loads((pathlib.Path(adapter) / "ours.json").read_text())
    texts = ours["texts"]
    alone, adapted, whole = (logits(model, texts) for model in (load(base), load(base, adapter), load(merged)))
    expected = torch.tensor(ours["logits"]).view_as(adapted)
    size = float(expected.abs().max())

    def gap(other):
        return float((adapted - other).abs().max()) / size

    print(
        f"{len(texts)} texts, {adapted.shape[0]} rows of logits up to {size:.2f}. Of the largest, peft with our adapter is\n"
        f"{gap(expected):.1e} from ours, {gap(whole):.1e} from our merged folder, and {gap(alone):.1e} from the base"
    )
    assert gap(expected) < 1e-4 and gap(whole) < 1e-4 and gap(alone) > 1e-2


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            write_golden()
        case ["check", base, adapter, merged]:
            check(base, adapter, merged)
        case _:
            raise SystemExit(__doc__)
