"""Writes bpe.json: vocabularies that Hugging Face's `tokenizers` trains, and what it encodes with them.

    python3 -m venv /tmp/golden
    /tmp/golden/bin/pip install tokenizers
    /tmp/golden/bin/python tests/golden/bpe.py

Beside it, it measures and compares, and writes nothing. In turn with the program of ours that writes DIR:

    cargo run --release --example bpe -- --out DIR FILE...
    /tmp/golden/bin/python tests/golden/bpe.py --compare DIR FILE...

trains both on the same files, encodes them, and looks for merges and tokens that differ.
"""

import argparse
import json
import os
import random
import time
from array import array
from pathlib import Path

import tokenizers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def pre_tokenizer(pattern):
    if pattern == "gpt-2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    split = pre_tokenizers.Split(Regex(LLAMA_3), behavior="isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def untrained(pattern):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer(pattern)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def trained(texts, pattern, vocab_size, min_frequency, special):
    tokenizer = untrained(pattern)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def plain(model, pattern):
    """The same model without added tokens, which `tokenizers` would find in a text."""
    tokenizer = untrained(pattern)
    tokenizer.model = model
    return tokenizer


# The corpora. All of it was written for this file.

ENGLISH = """\
The old mill stood where the river turned. It had ground the valley's wheat for two hundred years, and it hadn't
stopped for floods, for wars, or for the railway. "We'll see it out," said the miller; "it's older than we're ever
going to be." His daughter wasn't so sure. She'd counted the cracks in the wheel: there were 1,024 of them.

In the morning they walked along the river. The water was low, the stones were dry, and the heron that stood there
every day stood there again. "They've sold the upper meadow," she said. "I'd heard," said he. "And the lower?" "The
lower, too." They walked on, and the heron didn't move. Nothing in the valley moved, except the wheel, the water, and
the two of them; and in the year 1987 not even the wheel.
"""

KOREAN = """\
강가에 오래된 물레방아가 서 있었다. 물레방아는 이백 년 동안 밀을 빻았고, 홍수에도 전쟁에도 멈추지 않았다.
방앗간 주인은 아침마다 강가를 걸었다. "올해는 물이 적구나." 딸이 말했다. "작년에도 적었어요, 아버지."
두 사람은 강을 따라 걸었다. 강은 낮았고, 돌은 말라 있었고, 왜가리는 어제처럼 그 자리에 서 있었다.
2026년 11월에는 물레방아도 왜가리도 그 자리에 있었지만, 두 사람은 그 자리에 없었다.
"""

CODE = """\
fn mean(numbers: &[f64]) -> Option<f64> {
    if numbers.is_empty() {
        return None;
    }
    let sum: f64 = numbers.iter().sum();
    Some(sum / numbers.len() as f64)
}

def median(numbers):
\tordered = sorted(numbers)
\tmiddle = len(ordered) // 2
\tif len(ordered) % 2 == 1:
\t\treturn ordered[middle]
\treturn (ordered[middle - 1] + ordered[middle]) / 2

for (int i = 0; i < 1000; i++) {
    total += values[i] * weights[i];   // dot product
}
if (total != 0x7fff_ffff) { printf("%d\\n", total); }
"""

MIXED = """\
Élodie a dit : « L'été n'est pas fini, n'est-ce pas ? » Ça coûte 12,50 €, c'est-à-dire trop.
🦀 Rust 🚀🚀 to the moon! 👩‍🚀 says "hello" 👋🏽 and 👋🏿, 10³ times ½ = 500; Ⅷ ≠ Ⅸ.
Привет, мир! Καλημέρα κόσμε. مرحبا بالعالم ١٢٣ नमस्ते दुनिया १२३ 你好，世界！こんにちは世界。
Tabs\tand\u00a0hard\u00a0blanks\u3000and  two   three    four blanks, at the end too.   \r
Windows lines\r\nold Mac lines\runix lines\n\n\n   indented\n\t\tmore
naïve café — “quoted” … e\u0301 is not é; ﬁ is a ligature; İstanbul, ſ, K, ß, ẞ.
"""


def words():
    """Made-up words, many of which occur equally often."""
    draw = random.Random(15)
    syllables = ["ba", "be", "bi", "na", "ne", "ni", "ta", "te", "ti", "ab", "an", "at"]
    made = ["".join(draw.choice(syllables) for _ in range(draw.randint(1, 5))) for _ in range(120)]
    return " ".join(draw.choice(made) for _ in range(600))


# Runs of one letter, where a pair overlaps itself.
RUNS = " ".join("a" * n for n in range(1, 40)) + " " + "abab" * 9 + " " + "ab" * 7 + "a " + "aab" * 11 + " " + "b" * 33

CORPORA = {
    "english": [ENGLISH],
    "korean": [KOREAN],
    "code": [CODE],
    "mixed": [MIXED],
    "words": [words()],
    "runs": [RUNS],
    "all": [ENGLISH, KOREAN, CODE, MIXED, RUNS],
}

SPECIAL = ["<unk>", "<s>", "</s>", "<pad>", "<user>", "</user>"]

# Corpus, pattern, vocab_size, min_frequency, special tokens.
TRAININGS = [
    ("english", "gpt-2", 420, 0, []),
    ("english", "llama-bpe", 420, 2, SPECIAL),
    ("korean", "gpt-2", 400, 2, SPECIAL),
    ("korean", "llama-bpe", 5000, 1, []),
    ("code", "gpt-2", 400, 0, SPECIAL),
    ("code", "llama-bpe", 5000, 3, SPECIAL),
    ("mixed", "gpt-2", 5000, 2, []),
    ("mixed", "llama-bpe", 450, 0, []),
    ("words", "gpt-2", 500, 2, []),
    ("runs", "gpt-2", 5000, 0, []),
    ("runs", "llama-bpe", 280, 0, []),
    ("all", "gpt-2", 900, 2, SPECIAL),
    ("all", "llama-bpe", 900, 2, SPECIAL),
]


def strings():
    """Strings that are hard to cut or hard to merge."""
    draw = random.Random(16)
    hard = [
        "", " ", "  ", "\n", "\r\n", " \n ", "\t\t", "   x", "x   ", " \u00a0 ", "\u3000\u3000가", "\u0085\u2028\u2029",
        "it's IT'S It'S we'll WE'LL we'Ve I'm I'M 'tis 's's's '''s 'ſ x'ſy don't'll",
        "'", "''", "'l", "'r", " 's", "a's1's가's", "'S't'Re'D", "d'accord l'été qu'il",
        "1234567890 12 345 6789 ½¼ ²³ Ⅷ ١٢٣٤ १२३४ 1½2", "a1b2c3 x_y_z __init__ --flag=0x1F",
        "!!!???\n\n\n...\r\n\r\n ...  \n", "if x:\n\t\treturn  y\n\n    }", "a \n b\n \nc \r\n\r d",
        "🦀🦀 🚀👩‍🚀👋🏽 ❤️ 🇰🇷", "가나다라 마바사 강가에 물레방아", "e\u0301e\u0301 \u0301 a\u0301b", "\u200b\u200d\ufeff",
        "<s>hello</s><user> <unk>", "<s", "< s >", "\0\0\1\x7f", "\ufffd\uffff\U0010ffff",
        "abababababababab aabaabaab", "banana bananas nabat tabbenita",
        *("a" * n for n in (2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 63, 65, 95, 96, 97, 98, 127, 500)),
        *("ab" * n for n in (3, 8, 9, 48, 49, 200)), "aab" * 60, "ba" * 77 + "b",
        "supercalifragilisticexpialidocious", "the" * 50, "강가" * 40, "𝒳𝒴𝒵", "\n" * 120, " " * 120 + "x", "=" * 130,
    ]
    pool = ENGLISH + KOREAN + CODE + MIXED + MIXED
    for _ in range(40):
        length = draw.choice([3, 8, 20, 40, 120])
        if draw.random() < 0.5:
            start = draw.randrange(len(pool))
            hard.append(pool[start : start + length])
        else:
            hard.append("".join(draw.choice(pool) for _ in range(length)))
    for _ in range(8):
        hard.append("".join(draw.choice("ab") for _ in range(draw.choice([12, 90, 150]))))
    return hard


def write(path):
    texts = strings()
    cases = []
    for corpus, pattern, vocab_size, min_frequency, special in TRAININGS:
        tokenizer = trained(CORPORA[corpus], pattern, vocab_size, min_frequency, special)
        model = json.loads(tokenizer.to_str())["model"]
        names = sorted(model["vocab"], key=model["vocab"].get)
        assert [model["vocab"][name] for name in names] == list(range(len(names)))
        encode = plain(tokenizer.model, pattern)
        # The first tokens are special ones and bytes; each of the others is what one merge makes.
        first = len(names) - len(model["merges"])
        assert names[first:] == [left + right for left, right in model["merges"]]
        cases.append(
            {
                "corpus": corpus,
                "pattern": pattern,
                "vocab_size": vocab_size,
                "min_frequency": min_frequency,
                "special": special,
                "first": names[: len(special)] + ["".join(names[len(special) : first])],
                "merges": [" ".join(merge) for merge in model["merges"]],
                "ids": [encode.encode(text).ids for text in texts],
            }
        )
        for text, ids in zip(texts, cases[-1]["ids"]):
            assert encode.decode(ids) == text
    golden = {"tokenizers": tokenizers.__version__, "corpora": CORPORA, "strings": texts, "trainings": cases}
    path.write_text(json.dumps(golden, ensure_ascii=False, separators=(",", ":")) + "\n")
    print(f"{path}: {path.stat().st_size} bytes")


def documents(files):
    """Texts as the program of ours cuts them: a blank line ends a document."""
    return [text for file in files for text in Path(file).read_bytes().decode().split("\n\n") if text]


def compare(folder, files, vocab_size, min_frequency, threads):
    """Trains and encodes with several threads and with one, and compares with what is in the folder."""
    os.environ["RAYON_NUM_THREADS"] = str(threads)
    spec = json.loads((folder / "spec.json").read_text())
    pattern, tokens = spec["pattern"], spec["tokens"]
    texts = documents(files)
    size = sum(len(text.encode()) for text in texts) / 1e6
    if vocab_size:
        start = time.perf_counter()
        tokenizer = trained(texts, pattern, vocab_size, min_frequency, [])
        seconds = time.perf_counter() - start
        print(f"train  {size:.1f} MB to {tokenizer.get_vocab_size()} tokens: {seconds:.2f} s ({threads} threads)")
        model = json.loads(tokenizer.to_str())["model"]
        own = [[tokens[token] for token in merge] for merge in spec["merges"]]
        differing = sum(a != b for a, b in zip(own, model["merges"])) + abs(len(own) - len(model["merges"]))
        print(f"merges: {len(own)}, of which {differing} differ")
    else:
        tokenizer = untrained(pattern)
        merges = [tuple(tokens[token] for token in merge) for merge in spec["merges"]]
        tokenizer.model = models.BPE({text: token for token, text in enumerate(tokens)}, merges)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    own = array("I", (folder / "tokens.bin").read_bytes())
    at, differing, seconds, processor = 0, [], 0.0, 0.0
    for first in range(0, len(texts), 1000):
        part = texts[first : first + 1000]
        start, started = time.perf_counter(), time.process_time()
        # The fastest way that there is in Python: many texts at a time, without offsets.
        encoded = [encoding.ids for encoding in tokenizer.encode_batch_fast(part)]
        seconds, processor = seconds + time.perf_counter() - start, processor + time.process_time() - started
        for text, ids in zip(part, encoded):
            length = own[at]
            if own[at + 1 : at + 1 + length].tolist() != ids:
                differing.append(text)
            at += 1 + length
    assert at == len(own)
    print(
        f"encode {size:.1f} MB, {at - len(texts)} tokens: {seconds:.2f} s, {size / seconds:.1f} MB/s; "
        f"{processor:.2f} s on a processor, {size / processor:.1f} MB/s"
    )
    print(f"documents: {len(texts)}, of which {len(differing)} differ", *differing[:3], sep="\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--compare", type=Path, metavar="DIR")
    parser.add_argument("files", nargs="*", metavar="FILE")
    parser.add_argument("--vocab-size", type=int, default=32000, help="0: the vocabulary in DIR instead of a new one")
    parser.add_argument("--min-frequency", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the training")
    args = parser.parse_args()
    if args.compare:
        compare(args.compare, args.files, args.vocab_size, args.min_frequency, args.threads)
    else:
        write(Path(__file__).with_suffix(".json"))


if __name__ == "__main__":
    main()
