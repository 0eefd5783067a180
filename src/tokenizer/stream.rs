//! Text that comes token by token.

use super::Tokenizer;

/// Turns tokens into text one by one. Where the bytes of a character are spread over several tokens, it waits until the
/// character is whole, so that what it returns can be printed at once.
///
/// A stream begins where a text begins. If the tokenizer puts a blank before a text, the stream takes it away.
#[derive(Clone, Debug, Default)]
pub struct TextStream {
    /// The beginning of a character.
    waiting: Vec<u8>,
    /// Whether there was a token that stands for text.
    begun: bool,
}

impl TextStream {
    /// A stream in the middle of a text, after these tokens, which are not shown.
    pub fn after<T: Tokenizer + ?Sized>(tokenizer: &T, tokens: &[usize]) -> Self {
        let mut bytes = Vec::new();
        let stands_for_text = |&token: &usize| {
            tokenizer.push_bytes(token, &mut bytes);
            !bytes.is_empty()
        };
        TextStream { waiting: Vec::new(), begun: tokens.iter().any(stands_for_text) }
    }

    /// The characters that are whole with this token. Bytes that cannot become a character are U+FFFD.
    pub fn push<T: Tokenizer + ?Sized>(&mut self, tokenizer: &T, token: usize) -> String {
        tokenizer.push_bytes(token, &mut self.waiting);
        if !self.begun && !self.waiting.is_empty() {
            self.begun = true;
            if tokenizer.space_prefix() && self.waiting[0] == b' ' {
                self.waiting.remove(0);
            }
        }
        let whole = self.waiting.len() - unfinished(&self.waiting);
        let text = String::from_utf8_lossy(&self.waiting[..whole]).into_owned();
        self.waiting.drain(..whole);
        text
    }

    /// What is left when no more tokens come: U+FFFD for a character that was never finished.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.waiting).into_owned()
    }
}

/// How many bytes at the end are the beginning of a character that more bytes may finish.
fn unfinished(bytes: &[u8]) -> usize {
    let last = bytes.utf8_chunks().last();
    let invalid = last.map_or(&[][..], |chunk| chunk.invalid());
    match std::str::from_utf8(invalid) {
        // No length of the error: not wrong, only too short.
        Err(error) if error.error_len().is_none() => invalid.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::{TokenizerSpec, UnknownText};

    /// Every byte is a token, as in the smallest byte-level vocabulary.
    struct Bytes;

    impl Tokenizer for Bytes {
        fn vocab_size(&self) -> usize {
            256
        }
        fn encode(&self, text: &str) -> Result<Vec<usize>, UnknownText> {
            Ok(text.bytes().map(usize::from).collect())
        }
        fn push_bytes(&self, token: usize, bytes: &mut Vec<u8>) {
            bytes.extend(u8::try_from(token));
        }
        fn special(&self, _: &str) -> Option<usize> {
            None
        }
        fn spec(&self) -> TokenizerSpec {
            TokenizerSpec::Characters { characters: String::new() }
        }
    }

    #[test]
    fn a_character_comes_when_it_is_whole() {
        let text = "aé가🦀";
        let mut stream = TextStream::default();
        let said: Vec<String> = text.bytes().map(|byte| stream.push(&Bytes, usize::from(byte))).collect();
        assert_eq!(said, ["a", "", "é", "", "", "가", "", "", "", "🦀"]);
        assert_eq!(stream.finish(), "");
        assert_eq!(Bytes.decode(&Bytes.encode(text).expect("any text")), text);
    }

    #[test]
    fn bytes_that_are_no_character_do_not_hold_up_the_rest() {
        let mut stream = TextStream::default();
        let said: Vec<String> =
            [0xff, 0xf0, 0x9f, b'a'].iter().map(|&byte| stream.push(&Bytes, byte.into())).collect();
        assert_eq!(said, ["\u{fffd}", "", "", "\u{fffd}a"]);
        assert_eq!(Bytes.decode(&[0xea, 0xb0]), "\u{fffd}", "a character that is never finished");
        for tokens in [&[0xff_usize, 0x61][..], &[0xc3, 0xc3, 0xa9], &[0xe0, 0x80, 0x80], &[0xed, 0xa0, 0x80]]
        {
            let bytes: Vec<u8> = tokens.iter().map(|&token| token as u8).collect();
            assert_eq!(Bytes.decode(tokens), String::from_utf8_lossy(&bytes), "{bytes:x?}");
        }
    }
}
