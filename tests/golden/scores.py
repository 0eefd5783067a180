"""Scores of small corpora by sacrebleu, for tests/scores.rs to compare ours with.

    pip install sacrebleu==2.6.0
    python tests/golden/scores.py                        writes tests/golden/scores.json
    python tests/golden/scores.py --random 6000 FILE     random corpora, for SCORES=FILE cargo test --test scores
"""

import json
import pathlib
import random
import sys

import sacrebleu
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

NBSP, NARROW = "\u00a0", "\u202f"

# A corpus: its name, and for each hypothesis the references.
CORPORA = [
    ("identical", [
        ("The cat sleeps on the warm stove.", ["The cat sleeps on the warm stove."]),
        ("Where did you put my keys?", ["Where did you put my keys?"]),
    ]),
    ("disjoint", [("alpha beta gamma delta epsilon", ["one two three four five six"])]),
    ("partly right", [
        ("The small dog runs over the green field.", ["The little dog runs across the green field."]),
        ("She bought two red apples at the market yesterday.", ["Yesterday she bought two apples at the market."]),
        ("We will see each other tomorrow.", ["We will meet tomorrow at noon, I hope."]),
    ]),
    ("clipped counts", [("the the the the the the the", ["the cat is on the mat", "there is a cat on the mat"])]),
    ("apostrophes", [
        ("L'homme qu'on a vu n'est pas d'ici.", ["L'homme que l'on a vu n'est pas d'ici.", "On a vu un homme qui n'est pas d'ici."]),
        ("Aujourd’hui, c’est l’été.", ["Aujourd'hui, c'est l'été.", "C’est l’été aujourd’hui."]),
        ("It's the dogs' bowl, isn't it?", ["It's the dogs' bowl, is it not?", "Isn't it the dogs' bowl?"]),
    ]),
    ("no-break spaces", [
        (f"Qu'as-tu dit{NBSP}?", [f"Qu'as-tu dit{NARROW}?", "Qu'as-tu dit ?", "Qu'est-ce que tu as dit?"]),
        (f"«{NBSP}Viens{NBSP}!{NBSP}» cria-t-elle{NARROW}; «{NBSP}vite{NBSP}!{NBSP}»",
         [f"« Viens ! » cria-t-elle ; « vite ! »", f"«{NARROW}Viens vite{NARROW}!{NARROW}» a-t-elle crié.", "Elle cria : « Viens vite ! »"]),
        (f"Cela coûte 1{NARROW}250{NBSP}€.{NBSP}", [f"Cela coûte 1{NBSP}250{NBSP}€.", "Ça coûte 1 250 €.", "Ça coûte 1250 euros."]),
    ]),
    ("empty lines", [
        ("", ["Nothing was said."]),
        ("Something was said here.", [""]),
        ("", [""]),
        ("   ", [f"{NBSP}"]),
        ("The last line has some words.", ["The last line has several words."]),
    ]),
    ("only empty hypotheses", [("", ["One."]), (" ", ["Two words."])]),
    ("only empty references", [("Some words", [""]), ("and more", [" "])]),
    ("entities", [
        ("&quot;Salt &amp; pepper&quot;, she said &lt;twice&gt;.", ['"Salt & pepper", she said <twice>.']),
        ("&amp;lt; stays &apos;odd&apos; &amp;amp; short", ["< stays &apos;odd&apos; &amp; short"]),
        ("<skipped>A line that is hyphen-\nated\nhere<skipped>", ["A line that is hyphenated here"]),
    ]),
    ("numbers", [
        ("In 1990-95 they sold 1,250,000.50 tons, i.e. 3.14 % more.", ["In 1990-1995 they sold 1,250,000.50 tons, i. e. 3.14% more."]),
        ("Call 555-0199, room 7-b, at 10:30.", ["Call 555 - 0199 (room 7b) at 10:30."]),
        (".5 is half; -5 isn't. 2. is odd, x.5 too...", [".5 is a half; -5 is not. 2. is odd, x.5 as well…"]),
    ]),
    ("ties in length", [
        ("one two three four five", ["one two three", "one two three four five six seven"]),
        ("a b c d e f", ["a b c d e f g h", "a b c d"]),
        ("x y z w", ["x y z w v u", "x y", "x y z w v"]),
    ]),
    ("varying references", [
        ("I am tired.", ["I am tired.", "I'm tired.", "I feel tired."]),
        ("Come here at once!", ["Come here right now!"]),
        ("Nobody knows the answer to that.", ["No one knows the answer to that.", "Nobody knows the answer."]),
        ("Elle est partie hier soir.", ["Elle est partie hier au soir.", "Elle s'en est allée hier soir.", "Elle partit hier soir.", "Elle est partie hier soir."]),
    ]),
    ("very short, no run of four", [("Go on.", ["Go ahead."]), ("Stop!", ["Stop it!"])]),
    ("one order smoothed", [("I like green tea a lot", ["I like green apples a lot more"])]),
    ("two orders smoothed", [("the dog barks so loud", ["the dog was loud, so it barks"])]),
    ("three orders smoothed", [("up and down we go", ["go down, then look up"])]),
    ("too short by far", [("We left.", ["We left the house before the sun had risen over the hills."])]),
    ("too long", [("We left the house very early in the morning before the sun had risen.", ["We left the house early."])]),
    ("words only differ in their endings", [("Les petites maisons étaient vertes", ["Les petits maisons était vert"])]),
    ("equal chrF of two references", [
        ("abcd", ["abcdefgh", "efghabcd"]),
        ("abc", ["xyz", "uvwxyz"]),
        ("abcdef", ["abcxyz", "abcuvw"]),
    ]),
    ("control characters that are white space", [
        ("ends with one\x1f", ["ends with one"]),
        ("one\x1ctwo\x1dthree\x1e four\x1f", ["one two three four"]),
        ("a\x85b\x0bc\u2028d", ["a b c d"]),
        ("no\u200bspace\ufeffhere", ["no space here"]),
    ]),
    ("other scripts", [
        ("猫が好きです。", ["私は猫が好きです。"]),
        ("Ｔest ３.５ ٣.٤ 👩‍👩‍👧 é", ["Test 3.5 ٣.٤ 👩‍👩‍👧 é"]),
    ]),
]


def scores(name, corpus):
    hypotheses = [hypothesis for hypothesis, _ in corpus]
    most = max(len(references) for _, references in corpus)
    # sacrebleu wants all first references, all second ones, and so on; None is one that is missing.
    streams = [[refs[i] if i < len(refs) else None for _, refs in corpus] for i in range(most)]
    bleu, chrf = BLEU(), CHRF()
    b, c = bleu.corpus_score(hypotheses, streams), chrf.corpus_score(hypotheses, streams)
    exact = sum(any(h.strip() == r.strip() for r in refs) for h, refs in corpus)
    return {
        "name": name,
        "corpus": corpus,
        "tokens": [Tokenizer13a()(h.rstrip()).split() for h in hypotheses],
        "bleu": b.score,
        "precisions": b.precisions,
        "brevity_penalty": b.bp,
        "bleu_line": b.format(signature=str(bleu.get_signature())),
        "chrf": c.score,
        "chrf_line": c.format(signature=str(chrf.get_signature())),
        "exact_match": 100 * exact / len(corpus),
    }


PIECES = [*"abcé", "the", "cat", "l'", "chat", *"0123456789", *" .,-'", *"!\"#$%&()*+/:;<=>?@[\\]^_`{|}~", "&quot;", "&amp;",
          "&lt;", "&gt;", "&", "<skipped>", "-\n", "\n", "\t", "\r", "\x0b", "\x1c", "\x1f", "\x85", NBSP, NARROW, "\u2028",
          "\u200b", "\ufeff", "\u3000", "\u180e", "３", "٣", "²", "«", "…", "’", "–", "👩", "e\u0301", "\0"]


def some_text(draw):
    pieces = PIECES if draw.random() < 0.5 else draw.sample(PIECES, 4) + [" "]
    return "".join(draw.choice(pieces) + " " * (draw.random() < 0.3) for _ in range(draw.choice([0, 1, 2, 5, 10, 30])))


def another(draw, text):
    """The text with some of its pieces changed, so that much of it matches."""
    words = text.split(" ")
    for _ in range(draw.randrange(4)):
        if words:
            place = draw.randrange(len(words))
            words[place:place + draw.randrange(2)] = draw.choice([[], [some_text(draw)], [words[place], words[place]]])
    return " ".join(words)


def random_corpora(count):
    draw = random.Random(2002)
    for number in range(count):
        most = draw.choice([1, 1, 2, 3])
        corpus = []
        for _ in range(draw.choice([1, 1, 2, 4])):
            text = some_text(draw)
            references = [another(draw, text) if draw.random() < 0.9 else some_text(draw) for _ in range(draw.randint(1, most))]
            corpus.append((text, references))
        yield f"random {number}", corpus


if sys.argv[1:2] == ["--random"]:
    path, corpora = pathlib.Path(sys.argv[3]), random_corpora(int(sys.argv[2]))
else:
    path, corpora = pathlib.Path(__file__).with_name("scores.json"), CORPORA
cases = [scores(name, corpus) for name, corpus in corpora]
lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
path.write_text(f'{{"sacrebleu": "{sacrebleu.__version__}", "cases": [\n{lines}\n]}}\n', encoding="utf-8")
