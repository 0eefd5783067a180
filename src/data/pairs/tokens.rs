//! Sentence pairs in tokens.

use std::fmt;

use super::{Pair, Pairs, PairsError};
use crate::tokenizer::{Tokenizer, UnknownText};

/// The special tokens at the ends of sentences. A source ends with EOS; a target stands between BOS and EOS. They may be the
/// same token, where a tokenizer has only one.
///
/// ```
/// use gradus::data::Marks;
/// use gradus::tokenizer::{CharTokenizer, Tokenizer};
/// let tokenizer = CharTokenizer::of("abc".chars());
/// let bos = tokenizer.special(CharTokenizer::BOS).expect("every tokenizer of characters has it");
/// let marks = Marks { bos, eos: bos };
/// assert_eq!(marks.source(&tokenizer, "cab")?, [2, 0, 1, 3]);
/// assert_eq!(marks.target(&tokenizer, "ba")?, [3, 1, 0, 3]);
/// # Ok::<(), gradus::tokenizer::UnknownText>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Beginning of sequence: the token before a target.
    pub bos: usize,
    /// End of sequence: the token after a source and after a target.
    pub eos: usize,
}

impl Marks {
    /// A sentence to translate: its tokens, EOS.
    ///
    /// # Errors
    /// If the tokenizer has no token for a part of it.
    pub fn source(&self, tokenizer: &dyn Tokenizer, text: &str) -> Result<Vec<usize>, UnknownText> {
        let mut tokens = tokenizer.encode(text)?;
        tokens.push(self.eos);
        Ok(tokens)
    }

    /// A translation: BOS, its tokens, EOS. A decoder reads all but the last, and predicts all but the first.
    ///
    /// # Errors
    /// If the tokenizer has no token for a part of it.
    pub fn target(&self, tokenizer: &dyn Tokenizer, text: &str) -> Result<Vec<usize>, UnknownText> {
        let mut tokens = self.source(tokenizer, text)?;
        tokens.insert(0, self.bos);
        Ok(tokens)
    }
}

/// One of the two sentences of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The sentence to translate.
    Source,
    /// Its translation.
    Target,
}

/// In words, for messages.
impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Source => "source sentence",
            Side::Target => "translation",
        })
    }
}

/// A pair that is left out because it does not fit into the context of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The line of the file, from 1.
    pub line: usize,
    /// Its longer sentence.
    pub side: Side,
    /// How many positions that takes: its tokens and one mark.
    pub length: usize,
    /// How many there are: the context.
    pub limit: usize,
}

/// The tokens of some pairs, and a list of the pairs that are too long.
#[derive(Clone, Debug)]
pub struct TokenPairs {
    /// Source and target of each pair in turn, one after another.
    tokens: Vec<u32>,
    /// Where each of them begins, and the end of the last.
    starts: Vec<usize>,
    lines: Vec<usize>,
    skipped: Vec<Skipped>,
}

impl Pairs {
    /// The tokens of some of the pairs, [`train`](Self::train) or [`held_out`](Self::held_out), in their order, with
    /// [marks](Marks). Pairs of which a sentence takes more than `context` positions are left out, and
    /// [listed](TokenPairs::skipped).
    ///
    /// # Errors
    /// If the tokenizer has no token for a part of a sentence, or if not one of the pairs fits.
    pub fn encode(
        &self,
        pairs: &[Pair],
        tokenizer: &dyn Tokenizer,
        marks: Marks,
        context: usize,
    ) -> Result<TokenPairs, PairsError> {
        let mut encoded =
            TokenPairs { tokens: Vec::new(), starts: vec![0], lines: Vec::new(), skipped: Vec::new() };
        for pair in pairs {
            let error = |side, unknown| {
                let (name, line) = (self.name().to_owned(), pair.line);
                PairsError::Unknown { name, line, side, unknown }
            };
            let source = marks.source(tokenizer, &pair.source).map_err(|e| error(Side::Source, e))?;
            let target = marks.target(tokenizer, &pair.target).map_err(|e| error(Side::Target, e))?;
            encoded.push(pair.line, &source, &target, context);
        }
        match encoded.skipped.iter().map(|skipped| skipped.length).min() {
            Some(least) if encoded.is_empty() => {
                Err(PairsError::TooLong { name: self.name().to_owned(), limit: context, least })
            }
            _ => Ok(encoded),
        }
    }
}

impl TokenPairs {
    fn push(&mut self, line: usize, source: &[usize], target: &[usize], limit: usize) {
        let (of_source, of_target) = (source.len(), target.len() - 1);
        let (length, side) =
            if of_source > of_target { (of_source, Side::Source) } else { (of_target, Side::Target) };
        if length > limit {
            self.skipped.push(Skipped { line, side, length, limit });
            return;
        }
        for sentence in [source, target] {
            self.tokens.extend(sentence.iter().map(|&token| token as u32));
            self.starts.push(self.tokens.len());
        }
        self.lines.push(line);
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The tokens of the source of a pair, EOS at the end.
    pub fn source(&self, pair: usize) -> impl ExactSizeIterator<Item = usize> + Clone {
        self.sentence(2 * pair)
    }

    /// The tokens of the target of a pair, from BOS to EOS.
    pub fn target(&self, pair: usize) -> impl ExactSizeIterator<Item = usize> + Clone {
        self.sentence(2 * pair + 1)
    }

    fn sentence(&self, index: usize) -> impl ExactSizeIterator<Item = usize> + Clone {
        self.tokens[self.starts[index]..self.starts[index + 1]].iter().map(|&token| token as usize)
    }

    /// How many positions a pair takes in a model: the tokens of its source for the encoder, and those of its target but for
    /// the last for the decoder.
    pub fn positions(&self, pair: usize) -> usize {
        self.starts[2 * pair + 2] - self.starts[2 * pair] - 1
    }

    /// The line of the file that a pair comes from, from 1.
    pub fn line(&self, pair: usize) -> usize {
        self.lines[pair]
    }

    /// The pairs that are too long, and so are not here.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }
}
