//! What is done to a text before it is cut into pieces.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// What is done to a text before it is cut into pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalizer {
    /// Nothing: what is decoded is what was encoded.
    #[default]
    None,
    /// Canonical composition (Unicode Standard Annex 15): `e` and a combining acute accent become `é`. Two texts that look
    /// the same so have the same tokens, and what is decoded is the composed one. Qwen has it.
    Nfc,
}

impl Normalizer {
    /// Whether nothing is done.
    pub fn is_none(&self) -> bool {
        *self == Normalizer::None
    }

    /// A text after it.
    pub(super) fn apply(self, text: &str) -> Cow<'_, str> {
        match self {
            Normalizer::Nfc if !text.is_ascii() && is_nfc_quick(text.chars()) != IsNormalized::Yes => {
                text.nfc().collect::<String>().into()
            }
            Normalizer::None | Normalizer::Nfc => text.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accents_are_composed() {
        let text = "cafe\u{301} \u{1112}\u{1161}\u{11ab} \u{212b} x\u{323}\u{301}";
        assert_eq!(Normalizer::Nfc.apply(text), "café 한 \u{c5} x\u{323}\u{301}");
        assert_eq!(Normalizer::None.apply(text), text);
        for text in ["", "plain", "déjà", "가나"] {
            assert!(matches!(Normalizer::Nfc.apply(text), Cow::Borrowed(same) if same == text));
        }
    }
}
