"""MarianMTModel of Hugging Face's transformers beside the encoder-decoder of ours, for tests/marian.rs and by hand.

    python3 -m venv /tmp/golden
    /tmp/golden/bin/pip install torch transformers==5.24.0 ctranslate2==4.8.5

Without arguments it writes marian/, a small random model as transformers saves it, and in logits.json there what that model
says of some pairs:

    /tmp/golden/bin/python tests/golden/marian.py

Opens folders that ours wrote. No key may be missing or left over, and the logits have to be ours within 1e-4 (of the largest):

    MARIAN=/tmp/marian cargo test --test marian exported
    /tmp/golden/bin/python tests/golden/marian.py check /tmp/marian/*

Translates with transformers, greedily and with four beams. SOURCES is a JSON file: lists of tokens, EOS at the end of each. OUT
is another, {"greedy": [[…], …], "beam": [[…], …], "scores": […]}: tokens without BOS, up to EOS, and the score of each beam
(the sum of the logarithms of its probabilities, EOS included, divided by the number of its tokens). Nothing is forced: a
translation that reaches the largest length ends there, without EOS:

    /tmp/golden/bin/python tests/golden/marian.py generate FOLDER SOURCES OUT

Converts a folder for CTranslate2 into OUT and compares its translations with those of transformers; with --time it also prints
tokens a second for batches of 1 and 32, greedy and with four beams, on two threads in f32:

    /tmp/golden/bin/python tests/golden/marian.py ctranslate2 FOLDER SOURCES OUT [--time]
"""

import json
import logging
import pathlib
import sys
import time
import warnings

import torch
from transformers import AutoTokenizer, MarianConfig, MarianMTModel, PreTrainedTokenizerFast
from transformers.utils import logging as hf_logging

HERE = pathlib.Path(__file__).parent
hf_logging.disable_progress_bar()


def logits(model, pairs):
    """The logits after every target token of every pair, one pair at a time."""
    with torch.no_grad():
        rows = [model(input_ids=torch.tensor([s]), decoder_input_ids=torch.tensor([t])).logits[0] for s, t in pairs]
    return torch.cat(rows)


def padded_logits(model, pairs):
    """The same with all pairs in one batch, filled up with the token for padding."""
    pad = model.config.pad_token_id

    def batch(rows):
        longest = max(map(len, rows))
        return torch.tensor([row + [pad] * (longest - len(row)) for row in rows])

    sources, targets = [s for s, _ in pairs], [t for _, t in pairs]
    mask = torch.tensor([[int(at < len(s)) for at in range(max(map(len, sources)))] for s in sources])
    with torch.no_grad():
        out = model(input_ids=batch(sources), attention_mask=mask, decoder_input_ids=batch(targets)).logits
    return torch.cat([row[: len(t)] for row, t in zip(out, targets)])


def write_golden():
    torch.manual_seed(1776)
    config = MarianConfig(
        vocab_size=20, d_model=8, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=12, decoder_ffn_dim=12, max_position_embeddings=16, activation_function="gelu", scale_embedding=True,
        decoder_start_token_id=1, eos_token_id=2, forced_eos_token_id=2, pad_token_id=0, dropout=0.2, init_std=0.4,
    )
    model = MarianMTModel(config).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "embed_positions" not in name:  # every number random: biases and the row of the padding, too
                p.copy_(torch.randn_like(p) * 0.4 + ("norm.weight" in name))
        model.final_logits_bias.copy_(torch.randn(1, 20))
    pairs = []
    for _ in range(5):
        source, target = (torch.randint(0, 20, (int(torch.randint(1, 9, ())),)).tolist() for _ in range(2))
        pairs.append((source + [2], [1] + target))
    folder = HERE / "marian"
    model.save_pretrained(folder)
    rows = logits(model.double(), pairs)
    (folder / "logits.json").write_text(json.dumps({"pairs": pairs, "logits": [round(x, 10) for x in rows.flatten().tolist()]}) + "\n")


class Heard(logging.Handler):
    """Remembers what transformers warns of."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


def load(folder):
    """The model of a folder; fails if a key is missing or left over, or if anything is warned of."""
    heard = Heard()
    hf_logging.get_logger("transformers").addHandler(heard)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        model, info = MarianMTModel.from_pretrained(folder, output_loading_info=True)
    hf_logging.get_logger("transformers").removeHandler(heard)
    problems = {key: found for key, found in info.items() if found}
    said = heard.messages + [str(w.message) for w in warned]
    if problems or said:
        raise SystemExit(f"{folder}: {problems} {said}")
    return model.eval()


def check(folder):
    model = load(folder)
    ours = json.loads((pathlib.Path(folder) / "ours.json").read_text())
    expected = torch.tensor(ours["logits"]).view(-1, model.config.vocab_size)
    size = float(expected.abs().max())
    gaps = [float((rows - expected).abs().max()) / size for rows in (logits(model, ours["pairs"]), padded_logits(model, ours["pairs"]))]
    for tokenizer in (AutoTokenizer.from_pretrained(folder), PreTrainedTokenizerFast(tokenizer_file=f"{folder}/tokenizer.json")):
        for text, ids in ours["texts"]:
            found = tokenizer(text)["input_ids"]
            assert found == ids, f"{folder}: {text!r} is {found}, not {ids}"
            assert tokenizer.decode(ids, skip_special_tokens=True) == text
    pad = float(model.model.shared.weight.detach()[model.config.pad_token_id].abs().max())
    print(f"{folder}: {len(ours['pairs'])} pairs, largest gap {gaps[0]:.1e}, padded {gaps[1]:.1e} (of {size:.2f}); pad row up to {pad:.2f}")
    assert max(gaps) < 1e-4 and pad > 0


def translate(model, sources, beams, batch=8):
    """The best translation of each source, without BOS and up to EOS, and its score (None where it is greedy)."""
    config = model.config
    out, scores = [], []
    for start in range(0, len(sources), batch):
        part = sources[start : start + batch]
        longest = max(map(len, part))
        ids = torch.tensor([s + [config.pad_token_id] * (longest - len(s)) for s in part])
        mask = torch.tensor([[int(at < len(s)) for at in range(longest)] for s in part])
        with torch.no_grad():
            got = model.generate(
                input_ids=ids, attention_mask=mask, num_beams=beams, do_sample=False, forced_eos_token_id=None,
                output_scores=True, return_dict_in_generate=True,
            )
        for row in got.sequences.tolist():
            row = row[1:]
            out.append(row[: row.index(config.eos_token_id) + 1] if config.eos_token_id in row else row)
        scores += got.sequences_scores.tolist() if beams > 1 else [None] * len(part)
    return out, scores


def generate(folder, sources, out):
    model, sources = load(folder), json.loads(pathlib.Path(sources).read_text())
    greedy, _ = translate(model, sources, 1)
    beam, scores = translate(model, sources, 4)
    result = json.dumps({"greedy": greedy, "beam": beam, "scores": scores})
    pathlib.Path(out).write_text(result + "\n")
    print(f"{len(sources)} sources; greedy and beam differ in {sum(g != b for g, b in zip(greedy, beam))}")


def convert(model, out):
    """The model for CTranslate2. Its vocabulary is the numbers of the tokens, as texts."""
    from ctranslate2.converters import utils
    from ctranslate2.specs import TransformerSpec, common_spec

    config = model.config
    activations = {
        "relu": common_spec.Activation.RELU, "gelu": common_spec.Activation.GELU, "gelu_new": common_spec.Activation.GELUTanh,
    }
    spec = TransformerSpec.from_config(
        (config.encoder_layers, config.decoder_layers), config.encoder_attention_heads, pre_norm=False,
        activation=activations[config.activation_function],
    )

    def linear(to, layer):
        to.weight, to.bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()

    def norm(to, layer):
        to.gamma, to.beta = layer.weight.detach().numpy(), layer.bias.detach().numpy()

    def attention(to, layer, groups):
        """Queries, keys and values stand one below another: all three, or the queries by themselves."""
        for place, group in enumerate(groups):
            parts = [common_spec.LinearSpec() for _ in group]
            for part, letter in zip(parts, group):
                linear(part, getattr(layer, f"{letter}_proj"))
            utils.fuse_linear(to.linear[place], parts)
        linear(to.linear[len(groups)], layer.out_proj)

    table = model.model.shared.weight.detach().numpy()
    sides = [(spec.encoder, spec.encoder.embeddings[0], model.model.encoder), (spec.decoder, spec.decoder.embeddings, model.model.decoder)]
    for to, embeddings, side in sides:
        embeddings.weight = table
        to.scale_embeddings = side.embed_scale
        to.position_encodings.encodings = side.embed_positions.weight.detach().numpy()
        for block, layer in zip(to.layer, side.layers):
            attention(block.self_attention, layer.self_attn, ["qkv"])
            norm(block.self_attention.layer_norm, layer.self_attn_layer_norm)
            if hasattr(layer, "encoder_attn"):
                attention(block.attention, layer.encoder_attn, ["q", "kv"])
                norm(block.attention.layer_norm, layer.encoder_attn_layer_norm)
            linear(block.ffn.linear_0, layer.fc1)
            linear(block.ffn.linear_1, layer.fc2)
            norm(block.ffn.layer_norm, layer.final_layer_norm)
    spec.decoder.projection.weight = table
    spec.decoder.projection.bias = model.final_logits_bias[0].detach().numpy()
    vocabulary = [str(token) for token in range(config.vocab_size)]
    spec.register_source_vocabulary(vocabulary)
    spec.register_target_vocabulary(vocabulary)
    spec.config.decoder_start_token = str(config.decoder_start_token_id)
    spec.config.bos_token = str(config.decoder_start_token_id)
    spec.config.eos_token = str(config.eos_token_id)
    spec.config.unk_token = str(config.pad_token_id)  # no text needs one
    spec.validate()
    pathlib.Path(out).mkdir(parents=True, exist_ok=True)
    spec.save(out)


def ctranslate2(folder, sources, out, *options):
    import ctranslate2

    model, sources = load(folder), json.loads(pathlib.Path(sources).read_text())
    convert(model, out)
    translator = ctranslate2.Translator(out, device="cpu", compute_type="float32", inter_threads=1, intra_threads=2)
    texts = [[str(token) for token in source] for source in sources]
    never = [[str(token) for token in word] for word in model.generation_config.bad_words_ids]

    def run(beams, batch):
        found = translator.translate_batch(
            texts, max_batch_size=batch, beam_size=beams, max_decoding_length=model.generation_config.max_length - 1,
            suppress_sequences=never, return_end_token=True, max_input_length=0,
        )
        return [[int(token) for token in result.hypotheses[0]] for result in found]

    for beams in (1, 4):
        theirs, _ = translate(model, sources, beams)
        equal = sum(a == b for a, b in zip(run(beams, 32), theirs))
        print(f"beams {beams}: {equal} of {len(sources)} translations as with transformers")
        if "--time" in options:
            for batch in (1, 32):
                start = time.perf_counter()
                tokens = sum(map(len, run(beams, batch)))
                seconds = time.perf_counter() - start
                print(f"beams {beams}, batches of {batch}: {tokens / seconds:.0f} tokens a second")


def main(command="golden", *rest):
    if command == "golden":
        write_golden()
    elif command == "check":
        for folder in rest:
            check(folder)
    elif command == "generate":
        generate(*rest)
    elif command == "ctranslate2":
        ctranslate2(*rest)
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
