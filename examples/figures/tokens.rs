//! Byte-level BPE on a page.

use anyhow::{Result, bail};
use gradus::tokenizer::{BpeSpec, BpeTokenizer, BpeTrainer, Tokenizer, TokenizerSpec};
use support::svg::Svg;

const PAGE: &str = "one stone, two stones, no tone";
const WORDS: [&str; 4] = ["one", " stone", " stones", " tone"];

/// Four words of a text after each merge of its training.
pub fn merges() -> Result<String> {
    const CELL: f64 = 24.0;
    const TOP: f64 = 54.0;
    const ROW: f64 = 40.0;
    let trainer = BpeTrainer { vocab_size: 400, ..BpeTrainer::default() };
    let TokenizerSpec::Bpe(spec) = trainer.train(&[PAGE])?.spec() else { bail!("it is byte-level BPE") };
    let shown = |token: usize| spec.tokens[token].replace('Ġ', "␣");
    let mut svg = Svg::new(
        720.0,
        TOP + ROW * (spec.merges.len() + 1) as f64 + 6.0,
        "A training of byte-level BPE, merge by merge",
        "Four words as rows of boxes, a box for each token: one, stone, stones and tone. At first every letter is a box. \
         Then n and e become one box in all four words, then o and ne, t and one in three of them, s and tone in two, and \
         last the blank before stone.",
    );
    svg.text((16.0, 28.0), "head", "merge");
    for made in 0..=spec.merges.len() {
        let y = TOP + ROW * made as f64;
        let label = match made.checked_sub(1) {
            Some(last) => spec.merges[last].map(shown).join(" + "),
            None => "bytes".to_owned(),
        };
        svg.text((16.0, y + 17.0), "code", &label);
        let merges = spec.merges[..made].to_vec();
        let tokenizer = BpeTokenizer::from_spec(&BpeSpec { merges, ..spec.clone() })?;
        let mut x = 132.0;
        for word in WORDS {
            for token in tokenizer.encode(word)? {
                let text = shown(token);
                let width = CELL * text.chars().count() as f64;
                let is_new = made > 0 && text == spec.merges[made - 1].map(shown).concat();
                let class = if is_new { "blue" } else { "plain" };
                svg.rect(class, (x + 1.0, y), (width - 2.0, 26.0), 4.0);
                svg.text((x + width / 2.0, y + 17.0), "code middle", &text);
                x += width;
            }
            x += 26.0;
        }
    }
    Ok(svg.finish())
}
