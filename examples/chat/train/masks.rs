//! Conversations as a model sees them, with what it learns to say set apart.

use gradus::data::ConversationTokens;
use gradus::tokenizer::Tokenizer;
use support::{print, say};

/// Prints some of them: what is learned in green on a terminal, elsewhere «between marks». Special tokens stand as their names.
pub fn show(all: &[ConversationTokens], count: usize, tokenizer: &dyn Tokenizer) {
    let special = tokenizer.special_tokens();
    for one in all.iter().take(count) {
        for (learned, text) in runs(one, tokenizer, &special) {
            if learned { print::marked(&text) } else { print::piece(&text) }
        }
        say!("\n({} tokens, of which {} are learned)\n", one.tokens.len(), one.learned_count());
    }
}

/// Runs of tokens that are learned, and that are not, as text.
fn runs(
    one: &ConversationTokens,
    tokenizer: &dyn Tokenizer,
    special: &[(String, usize)],
) -> Vec<(bool, String)> {
    let mut runs: Vec<(bool, Vec<u8>)> = Vec::new();
    for (&token, &learned) in one.tokens.iter().zip(&one.learned) {
        if runs.last().is_none_or(|(before, _)| *before != learned) {
            runs.push((learned, Vec::new()));
        }
        let (_, bytes) = runs.last_mut().expect("one was pushed");
        match special.iter().find(|(_, id)| *id == token) {
            Some((name, _)) => bytes.extend(name.as_bytes()),
            None => tokenizer.push_bytes(token, bytes),
        }
    }
    runs.into_iter().map(|(learned, bytes)| (learned, String::from_utf8_lossy(&bytes).into_owned())).collect()
}
