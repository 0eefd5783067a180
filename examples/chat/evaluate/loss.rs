//! How well a model predicts what the assistant says: the same tokens count as in training.

use std::collections::BTreeMap;
use std::f64::consts::LN_2;

use anyhow::Result;
use gradus::data::{Batch, ConversationEncoder, ConversationTokens};
use gradus::model::Model;
use gradus::tokenizer::Tokenizer;
use support::check_free;

use super::material::HeldOut;
use crate::speaker::Speaker;

/// The most logits of a batch: 64 MB of them.
const LOGITS: usize = 1 << 24;

/// Conversations as tokens, each with the file it is from.
pub struct Encoded<'a> {
    pub all: Vec<(&'a str, ConversationTokens)>,
    /// How many were cut, since they are too long, and how many left out, since nothing of them can be predicted.
    pub cut: usize,
    pub left_out: usize,
}

/// Losses, added up over tokens of the assistant.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    pub conversations: usize,
    pub tokens: usize,
    /// Bytes of the text that these tokens stand for. Special tokens, such as the one that ends a reply, stand for none.
    pub bytes: usize,
    pub nats: f64,
}

/// What was measured.
#[derive(Default)]
pub struct Losses {
    pub whole: Tally,
    /// By file.
    pub sources: BTreeMap<String, Tally>,
    /// By the place of a token in its reply: `positions[i]` has the tokens from `2^i` on, counted from 1.
    pub positions: Vec<Tally>,
}

impl<'a> Encoded<'a> {
    pub fn of(held_out: &'a HeldOut, encoder: &ConversationEncoder<'_>) -> Self {
        let mut encoded = Encoded { all: Vec::new(), cut: 0, left_out: 0 };
        for one in &held_out.all {
            match encoder.encode(&one.conversation) {
                Ok(tokens) => {
                    encoded.cut += usize::from(tokens.left_out > 0);
                    encoded.all.push((one.source(), tokens));
                }
                Err(_) => encoded.left_out += 1,
            }
        }
        encoded
    }
}

impl Tally {
    fn add(&mut self, nats: f64, bytes: usize) {
        self.tokens += 1;
        self.bytes += bytes;
        self.nats += nats;
    }

    /// Nats a token.
    pub fn loss(self) -> f64 {
        self.nats / self.tokens as f64
    }

    /// As if the model chose among so many tokens that are equally likely.
    pub fn perplexity(self) -> f64 {
        self.loss().exp()
    }

    /// All that it takes to say these tokens, the special ones included, a byte of their text. Unlike the loss of a token, it can be
    /// compared between models with other tokens.
    pub fn bits_per_byte(self) -> f64 {
        self.nats / LN_2 / self.bytes as f64
    }
}

impl Losses {
    /// Measures, until `go_on` says no. It gets the number of conversations that were read.
    ///
    /// # Errors
    /// If there is not enough memory for the longest conversation.
    pub fn measure(
        speaker: &mut Speaker,
        encoded: &Encoded<'_>,
        mut go_on: impl FnMut(usize) -> bool,
    ) -> Result<Self> {
        let vocab = speaker.model().vocab_size();
        let most = (LOGITS / vocab).max(1);
        let longest = encoded.all.iter().map(|(_, one)| one.tokens.len()).max().unwrap_or(0);
        let logits = 4.0 * longest.max(most) as f64 * vocab as f64;
        check_free("the logits of a conversation", 2.0 * logits, "give shorter conversations")?;
        let mut losses = Losses::default();
        let (mut batch, mut waiting) = (Batch::new(), 0);
        for (at, (_, one)) in encoded.all.iter().enumerate() {
            one.push_to(&mut batch);
            let full =
                batch.len() + encoded.all.get(at + 1).map_or(most, |(_, next)| next.tokens.len()) > most;
            if full {
                let read = speaker.losses(&batch);
                let mut rest = &read[..];
                for (source, one) in &encoded.all[waiting..=at] {
                    let (own, others) = rest.split_at(one.tokens.len() - 1);
                    losses.add(source, one, own, speaker.tokenizer());
                    rest = others;
                }
                batch.clear();
                waiting = at + 1;
                if !go_on(waiting) {
                    break;
                }
            }
        }
        Ok(losses)
    }

    /// The losses of a conversation: of every token but the first.
    fn add(&mut self, source: &str, one: &ConversationTokens, losses: &[f64], tokenizer: &dyn Tokenizer) {
        let special = tokenizer.special_tokens();
        let own = self.sources.entry(source.to_owned()).or_default();
        own.conversations += 1;
        self.whole.conversations += 1;
        let (mut place, mut bytes) = (0, Vec::new());
        let learned = one.tokens.iter().zip(&one.learned).skip(1);
        for ((&token, &learned), &nats) in learned.zip(losses) {
            if !learned {
                place = 0;
                continue;
            }
            bytes.clear();
            if !special.iter().any(|(_, id)| *id == token) {
                tokenizer.push_bytes(token, &mut bytes);
            }
            place += 1;
            let range = place_range(place);
            if self.positions.len() <= range {
                self.positions.resize(range + 1, Tally::default());
            }
            for tally in [&mut *own, &mut self.whole, &mut self.positions[range]] {
                tally.add(nats, bytes.len());
            }
        }
    }
}

/// Which of the ranges 1, 2 to 3, 4 to 7 and so on a place is in.
fn place_range(place: usize) -> usize {
    place.ilog2() as usize
}

/// What a range is called.
pub fn range_name(range: usize) -> String {
    let (first, last) = (1_usize << range, (2_usize << range) - 1);
    if first == last { first.to_string() } else { format!("{first}–{last}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gradus::tokenizer::{BpeTrainer, CHAT_TOKENS};

    #[test]
    fn only_what_is_learned_counts_and_special_tokens_have_no_bytes() {
        let special_tokens = CHAT_TOKENS.map(str::to_owned).to_vec();
        let trainer = BpeTrainer { vocab_size: 300, special_tokens, ..BpeTrainer::default() };
        let tokenizer = trainer.train(&["a b c"]).expect("a tokenizer");
        let end = tokenizer.special("</assistant>").expect("a token");
        let tokens: Vec<usize> =
            tokenizer.encode("xyé").expect("any text").into_iter().chain([end, end]).collect();
        assert_eq!(tokens.len(), 6, "a token a byte");
        let learned = vec![true, true, true, true, false, true];
        let one = ConversationTokens { tokens, learned, left_out: 0 };
        let mut losses = Losses::default();
        losses.add("a", &one, &[1.0, 2.0, 4.0, 8.0, 16.0], &tokenizer);
        losses.add("b", &one, &[1.0, 1.0, 1.0, 1.0, 1.0], &tokenizer);
        let (whole, a) = (losses.whole, losses.sources["a"]);
        assert_eq!((a.conversations, a.tokens, a.bytes, a.nats), (1, 4, 3, 23.0));
        assert_eq!((whole.conversations, whole.tokens, whole.bytes, whole.nats), (2, 8, 6, 27.0));
        assert_eq!((a.loss(), a.perplexity()), (5.75, 5.75_f64.exp()));
        assert!((a.bits_per_byte() - 23.0 / 2.0_f64.ln() / 3.0).abs() < 1e-12);
        // The fifth token is not learned, so that the sixth is the first of the next reply.
        let places: Vec<(usize, f64)> = losses.positions.iter().map(|one| (one.tokens, one.nats)).collect();
        assert_eq!(places, [(4, 1.0 + 16.0 + 2.0), (4, 6.0 + 2.0)]);
    }

    #[test]
    fn ranges_double() {
        assert_eq!([1, 2, 3, 4, 7, 8].map(place_range), [0, 1, 1, 2, 2, 3]);
        assert_eq!([0, 1, 2].map(range_name), ["1", "2–3", "4–7"]);
    }
}
