//! GPT-2's alphabet: a visible character for each byte.
//!
//! A token of byte-level BPE is a string of bytes, and files such as `tokenizer.json` hold text. So each byte is written as
//! one character. Bytes that are visible characters in Latin-1 stand for themselves. The other 68 (control characters,
//! the blank, the soft hyphen) become the characters from U+0100 on, in order: the blank is `Ġ` and the newline `Ċ`.
//! (Radford et al., "Language Models are Unsupervised Multitask Learners", 2019; `bytes_to_unicode` of its code.)

/// Whether a byte stands for itself.
const fn is_visible(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff)
}

/// The character of each byte.
const CHARS: [char; 256] = {
    let mut chars = ['\0'; 256];
    let (mut byte, mut hidden) = (0, 0);
    while byte < 256 {
        let code = if is_visible(byte as u8) { byte as u32 } else { 0x100 + hidden };
        hidden += !is_visible(byte as u8) as u32;
        chars[byte] = char::from_u32(code).expect("far below the surrogates");
        byte += 1;
    }
    chars
};

/// The byte of each character up to the last one that is used, U+0143.
const BYTES: [Option<u8>; 0x144] = {
    let mut bytes = [None; 0x144];
    let mut byte = 0;
    while byte < 256 {
        bytes[CHARS[byte] as usize] = Some(byte as u8);
        byte += 1;
    }
    bytes
};

/// Bytes as text: one character for each.
pub(crate) fn to_text(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| CHARS[usize::from(byte)]).collect()
}

/// The bytes of such a text, or the first character that stands for no byte.
pub(crate) fn to_bytes(text: &str) -> Result<Vec<u8>, char> {
    text.chars().map(|c| BYTES.get(c as usize).copied().flatten().ok_or(c)).collect()
}

/// All bytes in the order of their characters, which is the order of the first tokens of a trained vocabulary.
pub(super) fn in_order() -> impl Iterator<Item = u8> {
    BYTES.iter().copied().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_character_of_its_own() {
        let all: Vec<u8> = (0..=255).collect();
        let text = to_text(&all);
        assert_eq!(text.chars().collect::<std::collections::BTreeSet<_>>().len(), 256);
        assert!(text.chars().all(|c| !c.is_whitespace() && !c.is_control()));
        assert_eq!(to_bytes(&text), Ok(all));
        assert_eq!(to_text(" \n\té".as_bytes()), "ĠĊĉÃ©");
        assert_eq!(to_bytes("a b"), Err(' '));
        assert_eq!(to_bytes("가"), Err('가'));
    }

    #[test]
    fn the_order_is_that_of_the_characters() {
        let order: Vec<u8> = in_order().collect();
        assert_eq!(order.len(), 256);
        assert!(order.is_sorted_by_key(|&byte| CHARS[usize::from(byte)]));
        assert_eq!((order[0], order[255]), (b'!', 0xad));
    }
}
