//! Scores: how close a text that a model wrote comes to what people wrote.
//!
//! A translation has no loss that a reader could check: the model gives probabilities, a search makes a text of them, and
//! the text is compared with one or more *references*, the translations of people. A text to be judged is a *hypothesis*.
//! Three scores, each a file, from the one that forgives nothing to the one that counts every letter:
//!
//! | score | compares | source |
//! |---|---|---|
//! | [`ExactMatch`] | whole texts | |
//! | [`Bleu`] | runs of one to four words | Papineni et al. 2002 |
//! | [`ChrF`] | runs of one to six characters | Popović 2015 |
//!
//! All are percentages of a whole *corpus*, a set of texts: counts are added up over the corpus, and then comes one division.
//! So a score of a corpus is not the mean of the scores of its sentences.
//!
//! A score says nothing unless it is known how it was computed: other tokens, other smoothing, another figure. Post 2018, "A
//! Call for Clarity in Reporting BLEU Scores", finds differences of more than a point for one and the same output, and gives
//! the cure: one program, sacrebleu, and a *signature* printed beside each score. The figures of this module are those of
//! sacrebleu 2.6.0 with its defaults, and so are its signatures.
//!
//! ```
//! use gradus::score::{Bleu, ChrF, ExactMatch};
//! let (mut bleu, mut chrf, mut exact) = (Bleu::new(), ChrF::new(), ExactMatch::new());
//! let corpus = [("Je suis content.", ["Je suis heureux.", "Je suis content."]), ("Il dort.", ["Il a dormi.", "Elle dort."])];
//! for (hypothesis, references) in corpus {
//!     bleu.add(hypothesis, &references);
//!     chrf.add(hypothesis, &references);
//!     exact.add(hypothesis, &references);
//! }
//! assert_eq!(exact.score(), 50.0);
//! assert_eq!(bleu.signature(), "nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0");
//! assert!(bleu.score() < 100.0 && chrf.score() < 100.0);
//! ```
//!
//! Replies of a chat model have no single right answer. Two scores look at them alone: [`Distinct`] at how many different things are
//! said (Li et al. 2016), [`Repetition`] at how often a reply says what it has said already (after Welleck et al. 2020). Where a
//! reply is a call of a tool, it is right or wrong: [`ToolAccuracy`] counts.

mod bleu;
mod chrf;
mod distinct;
mod exact_match;
mod ngrams;
mod repetition;
mod tokenize;
mod tool_calls;

use std::fmt;

pub use bleu::Bleu;
pub use chrf::ChrF;
pub use distinct::Distinct;
pub use exact_match::ExactMatch;
pub use repetition::Repetition;
pub use tokenize::tokenize_13a;
pub use tool_calls::{ToolAccuracy, Verdict, same_arguments};

/// The version of sacrebleu whose figures these are.
const VERSION: &str = "2.6.0";

/// White space as Python has it, and so sacrebleu: that of Unicode, and four control characters that separate records.
fn is_white_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// How many references the hypotheses of a corpus have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ReferenceCount {
    #[default]
    Unknown,
    Each(usize),
    Varying,
}

impl ReferenceCount {
    /// One more hypothesis, with `count` references.
    ///
    /// # Panics
    /// If `count` is 0.
    fn add(&mut self, count: usize) {
        assert!(count > 0, "a hypothesis without a reference has no score: leave it out of the corpus");
        *self = match *self {
            ReferenceCount::Unknown => ReferenceCount::Each(count),
            ReferenceCount::Each(before) if before == count => ReferenceCount::Each(count),
            _ => ReferenceCount::Varying,
        };
    }
}

impl fmt::Display for ReferenceCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReferenceCount::Unknown => f.write_str("0"),
            ReferenceCount::Each(count) => write!(f, "{count}"),
            ReferenceCount::Varying => f.write_str("var"),
        }
    }
}
