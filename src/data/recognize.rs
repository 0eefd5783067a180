//! Files that are no text in UTF-8, recognised by their first bytes or by bytes that no such text has.

use std::path::Path;

use super::quoted;

/// What a file is instead, and the command that makes text of it.
pub(super) struct Foreign {
    pub what: String,
    pub command: String,
}

/// The first bytes of a kind of file, what it is called, and the command that turns one, `{}`, into text.
type Kind = (&'static [u8], &'static str, &'static str);

/// UTF-32 stands before UTF-16, whose mark is the beginning of its own.
const KINDS: [Kind; 10] = [
    (b"\xff\xfe\0\0", "UTF-32", "iconv -f UTF-32 -t UTF-8 {}"),
    (b"\0\0\xfe\xff", "UTF-32", "iconv -f UTF-32 -t UTF-8 {}"),
    (b"\xff\xfe", "UTF-16", "iconv -f UTF-16 -t UTF-8 {}"),
    (b"\xfe\xff", "UTF-16", "iconv -f UTF-16 -t UTF-8 {}"),
    (b"\x1f\x8b", "compressed by gzip", "gzip -dc < {}"),
    (b"BZh9", "compressed by bzip2", "bzip2 -dc < {}"),
    (b"\xfd7zXZ\0", "compressed by xz", "xz -dc < {}"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "zstd -dc < {}"),
    (b"PK\x03\x04", "a zip archive", "unzip -p {}"),
    (b"%PDF-", "a PDF", "pdftotext {} -"),
];

/// What a file is, if it is not text in UTF-8 with ordinary line ends. Bytes that are only invalid are not looked for here.
pub(super) fn recognize(path: &Path, bytes: &[u8]) -> Option<Foreign> {
    let foreign = |what: String, command: &str| {
        let command = format!("{} > new.txt", command.replace("{}", &quoted(path)));
        Some(Foreign { what, command })
    };
    let kind = KINDS.iter().find(|(first, ..)| bytes.starts_with(first));
    if let Some((_, what, command)) = kind {
        return foreign((*what).to_owned(), command);
    }
    if let Some(first) = bytes.iter().position(|&byte| byte == 0) {
        // A letter of A to Z takes two or four bytes there, of which all but one are zero: always the same ones.
        let zeros = |width: usize, letter: usize| {
            let holds =
                |chunk: &[u8]| chunk.iter().enumerate().all(|(at, byte)| (*byte != 0) == (at == letter));
            let (chunks, rest) = (bytes.chunks_exact(width).take(1 << 16), bytes.len() % width);
            let (all, plain) = (chunks.len(), chunks.filter(|chunk| holds(chunk)).count());
            rest == 0 && plain * 2 > all
        };
        let wide = [(4, 0, "UTF-32LE"), (4, 3, "UTF-32BE"), (2, 0, "UTF-16LE"), (2, 1, "UTF-16BE")];
        return match wide.iter().find(|(width, letter, _)| zeros(*width, *letter)) {
            Some((.., name)) => {
                foreign(format!("{name} without a mark"), &format!("iconv -f {name} -t UTF-8 {{}}"))
            }
            None => foreign(
                format!("a file with NUL bytes, the first in line {}", line_of(bytes, first)),
                "tr -d '\\000' < {}",
            ),
        };
    }
    let count = |byte| bytes.iter().filter(|&&b| b == byte).count();
    let pairs = bytes.windows(2).filter(|pair| pair == b"\r\n").count();
    if count(b'\r') - pairs > count(b'\n') {
        return foreign("a text with the line ends of old Macs".to_owned(), "tr '\\015' '\\012' < {}");
    }
    const MARK: &[u8] = "\u{feff}".as_bytes();
    let joined = bytes.windows(MARK.len()).skip(1).position(|window| window == MARK)?;
    let line = line_of(bytes, joined + 1);
    foreign(
        format!("several texts in one, with a byte order mark in line {line}"),
        "perl -pe 's/\\xEF\\xBB\\xBF//g' < {}",
    )
}

/// The line in which a byte stands, from 1.
pub(super) fn line_of(bytes: &[u8], at: usize) -> usize {
    1 + bytes[..at].iter().filter(|&&byte| byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::{Command, Stdio};

    use super::super::{DataError, read_text};

    const TEXT: &str = "ada\nbob and cleo\nzoë\n";

    fn utf16(to_bytes: fn(u16) -> [u8; 2], text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(to_bytes).collect()
    }

    fn utf32(to_bytes: fn(u32) -> [u8; 4], text: &str) -> Vec<u8> {
        text.chars().flat_map(|c| to_bytes(c as u32)).collect()
    }

    /// Every kind is refused by name, and the command in the message makes a text of it that can be read. A program that the
    /// machine lacks is not tried.
    #[test]
    fn foreign_files_are_named_and_the_advice_works() {
        let marked = format!("\u{feff}{TEXT}");
        let zipped = |program: &str| {
            let folder = tempfile::tempdir().ok()?;
            let file = folder.path().join("text");
            fs::write(&file, TEXT).ok()?;
            let mut command = Command::new(program);
            let output = command.arg("-c").arg(&file).stderr(Stdio::null()).output().ok()?;
            output.status.success().then_some(output.stdout)
        };
        let cases = [
            ("UTF-16", Some(utf16(u16::to_le_bytes, &marked))),
            ("UTF-16", Some(utf16(u16::to_be_bytes, &marked))),
            ("UTF-32", Some(utf32(u32::to_le_bytes, &marked))),
            ("UTF-32", Some(utf32(u32::to_be_bytes, &marked))),
            ("UTF-16LE without", Some(utf16(u16::to_le_bytes, TEXT))),
            ("UTF-16BE without", Some(utf16(u16::to_be_bytes, TEXT))),
            ("UTF-32LE without", Some(utf32(u32::to_le_bytes, TEXT))),
            ("UTF-32BE without", Some(utf32(u32::to_be_bytes, TEXT))),
            ("gzip", zipped("gzip")),
            ("bzip2", zipped("bzip2")),
            ("xz", zipped("xz")),
            ("zstd", zipped("zstd")),
            ("NUL bytes, the first in line 2", Some(TEXT.replace("bob", "b\0ob").into_bytes())),
            ("old Macs", Some(TEXT.replace('\n', "\r").into_bytes())),
            ("mark in line 2", Some(TEXT.replace("bob", "\u{feff}bob").into_bytes())),
        ];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it's a file");
        for (name, bytes) in cases {
            let Some(bytes) = bytes else { continue };
            fs::write(&path, &bytes).unwrap();
            let error = read_text(&path).unwrap_err();
            let DataError::NotText { what, command, .. } = &error else { panic!("{name}: {error}") };
            assert!(what.contains(name), "{name}: {error}");
            let program = command.split(' ').next().unwrap();
            let there =
                Command::new("sh").args(["-c", &format!("command -v {program} > /dev/null")]).status();
            if there.is_ok_and(|there| there.success()) {
                let shell = Command::new("sh").args(["-c", command]).current_dir(&folder).status();
                assert!(shell.unwrap().success(), "{command}");
                let text = read_text(&folder.path().join("new.txt")).unwrap();
                assert_eq!(text.trim_start_matches('\u{feff}'), TEXT, "{command}");
            }
        }
    }

    #[test]
    fn ordinary_texts_are_not_foreign() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        for text in
            [TEXT.to_owned(), TEXT.replace('\n', "\r\n"), format!("\u{feff}{TEXT}"), "김\n이\n".to_owned()]
        {
            fs::write(&path, &text).unwrap();
            assert_eq!(read_text(&path).unwrap(), text.trim_start_matches('\u{feff}'));
        }
    }
}
