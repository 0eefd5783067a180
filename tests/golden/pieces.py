"""Writes pieces.json: a small vocabulary of pieces with scores, as SentencePiece has them, and the tokens of some lines.

    python3 -m venv /tmp/golden
    /tmp/golden/bin/pip install tokenizers
    /tmp/golden/bin/python tests/golden/pieces.py

The tokens are those of the rule, followed word for word as llama2.c does: look at all neighbours, merge those whose piece has
the highest score, begin again. Hugging Face's `tokenizers` must find the same.

    PIECES=DIR cargo test --test pieces tokenizer_json
    /tmp/golden/bin/python tests/golden/pieces.py --check DIR

opens the `tokenizer.json` that ours wrote, and compares tokens and texts with those of `ours.json` beside it.
"""

import argparse
import json
import random
from collections import Counter
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers

ROOT = Path(__file__).resolve().parents[2]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def trained(lines, count):
    """Pieces by plain BPE over words that begin with a blank: characters, then the most frequent pairs."""
    words = Counter(word for line in lines for word in (" " + line).replace(" ", "\0 ").split("\0") if word)
    words = {word: (list(word), n) for word, n in words.items()}
    pieces = []
    while len(pieces) < count:
        pairs = Counter()
        for symbols, n in words.values():
            for pair in zip(symbols, symbols[1:]):
                pairs[pair] += n
        (left, right), _ = min(pairs.items(), key=lambda item: (-item[1], item[0]))
        if left + right not in pieces:
            pieces.append(left + right)
        for symbols, _ in words.values():
            at = 0
            while at + 1 < len(symbols):
                if (symbols[at], symbols[at + 1]) == (left, right):
                    symbols[at : at + 2] = [left + right]
                at += 1
    characters = Counter(c for line in lines for c in " " + line)
    return pieces + [c for c, n in sorted(characters.items(), key=lambda item: (-item[1], item[0])) if n > 2]


def by_the_rule(text, tokens, scores):
    """The tokens of a text, as the comment at the top says. `tokens` and `scores` are those of pieces that are text."""
    if not text:
        return []
    ids = []
    for c in " " + text:
        ids += [tokens[c]] if c in tokens else [3 + byte for byte in c.encode()]
    names = {id: piece for piece, id in tokens.items()}
    while True:
        best = None
        for at, (left, right) in enumerate(zip(ids, ids[1:])):
            made = names.get(left, "\0") + names.get(right, "\0")
            if made in tokens and (best is None or scores[made] > best[0]):
                best = scores[made], at, tokens[made]
        if best is None:
            return ids
        _, at, made = best
        ids[at : at + 2] = [made]


def of_tokenizers(tokens, scores):
    """The same as BPE of `tokenizers`: merges in the order of scores."""
    mark = lambda piece: piece.replace(" ", "\u2581")
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2} | {byte: 3 + at for at, byte in enumerate(BYTES)}
    vocab |= {mark(piece): id for piece, id in tokens.items()}
    merges = [
        (mark(piece[:at]), mark(piece[at:]))
        for piece in sorted(tokens, key=lambda piece: -scores[piece])
        for at in range(1, len(piece))
        if piece[:at] in tokens and piece[at:] in tokens
    ]
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def texts():
    """Lines of the project's own data, and some that are hard."""
    dialog = (ROOT / "datasets/dialog.txt").read_text().splitlines()
    phrases = [part for line in (ROOT / "datasets/phrases.tsv").read_text().splitlines() for part in line.split("\t")]
    korean = (ROOT / "datasets/korean.txt").read_text().splitlines()
    corpus = [line for line in dialog if line] + phrases + korean
    draw = random.Random(5)
    lines = draw.sample([line for line in dialog if line], 40) + draw.sample(phrases, 20) + draw.sample(korean, 10)
    lines += [
        "", " ", "  ", "   a", "a   ", "\n", "\n\n", "\t", "\r\n", "a", "aaaaaaaaaaaaaaaa", "the the  the   the",
        "<s>", "</s>", "<unk>", "a<s>b", "<0x41>", "\u00e9\u00e8\u00ea \u00e7a", "e\u0301", "\U0001f980", "\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "\uac00\ub098 \ub2e4", "\u4e2d\u6587", "\u0000", "\ufeff", "\u00a0", "1234567890 12,345.67", "def f(x):\n    return x + 1",
        "http://a.b/c?d=e&f=g", "''''", '"""', "THE END", "tHe EnD", "  leading and trailing  ",
    ]  # fmt: skip
    letters = "ethaosn \n.,'\u00e9\uac00\U0001f980"
    lines += ["".join(draw.choice(letters) for _ in range(draw.randrange(1, 60))) for _ in range(20)]
    return corpus, lines


def write():
    corpus, lines = texts()
    pieces = trained(corpus, 240)
    tokens = {piece: 259 + at for at, piece in enumerate(pieces)}
    scores = {piece: -float(at) for at, piece in enumerate(pieces)}
    theirs = of_tokenizers(tokens, scores)
    cases = []
    for line in lines:
        ids = by_the_rule(line, tokens, scores)
        assert ids == theirs.encode(line, add_special_tokens=False).ids, line
        assert theirs.decode(ids, skip_special_tokens=False) == line, line
        cases.append({"text": line, "ids": ids})
    print(f"{len(lines)} lines: tokenizers finds the same tokens, and the same texts from them")
    text = json.dumps({"pieces": pieces, "cases": cases}, separators=(",", ":"))
    Path(__file__).with_name("pieces.json").write_text(text.replace("},{", "},\n{") + "\n")


def check(folder):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ours = json.loads((folder / "ours.json").read_text())
    for text, ids in zip(ours["texts"], ours["ids"]):
        assert tokenizer.encode(text, add_special_tokens=False).ids == ids, text
        if "\u2581" not in text:
            assert tokenizer.decode(ids, skip_special_tokens=False) == text, text
    print(f"{len(ours['texts'])} texts have the same tokens in {folder}, and become the same texts")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", type=Path, metavar="DIR")
    args = parser.parse_args()
    check(args.check) if args.check else write()
