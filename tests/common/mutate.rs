//! Files that are changed where it matters: values of JSON, integers and lengths of binary files, numbers; and blindly.

use std::ops::Range;

use gradus::random::Random;

/// A file, and where something stands in it.
#[derive(Clone, Debug, Default)]
pub struct Seed {
    /// Its bytes, unchanged.
    pub bytes: Vec<u8>,
    /// Values of JSON, with their keys: a list for each depth.
    values: Vec<Vec<Member>>,
    /// Integers and numbers: a list for each kind, of places and widths in bytes.
    fields: Vec<Vec<(usize, usize)>>,
    /// Where eight bytes say how long the JSON behind them is, as in safetensors.
    length_of_json: bool,
    /// What may be put in at any place.
    snippets: &'static [&'static str],
}

/// A value of JSON. Its member begins with the key, where it has one.
#[derive(Clone, Debug)]
struct Member {
    start: usize,
    value: Range<usize>,
}

impl Seed {
    /// A file of JSON.
    pub fn json(bytes: &[u8]) -> Self {
        let mut seed = Seed { bytes: bytes.to_vec(), ..Seed::default() };
        seed.find_values(0..bytes.len());
        seed
    }

    /// A file of safetensors: a length, JSON, numbers.
    pub fn safetensors(bytes: &[u8]) -> Self {
        let mut seed = Seed { bytes: bytes.to_vec(), length_of_json: true, ..Seed::default() };
        let length = u64::from_le_bytes(*bytes.first_chunk().expect("a length")) as usize;
        seed.find_values(8..8 + length);
        seed.fields = vec![vec![(0, 8)], (8 + length..bytes.len() - 8).map(|at| (at, 4)).collect()];
        seed
    }

    /// A binary file, with its fields.
    pub fn binary(bytes: &[u8], fields: Vec<Vec<(usize, usize)>>) -> Self {
        let fields = fields.into_iter().filter(|kind| !kind.is_empty()).collect();
        Seed { bytes: bytes.to_vec(), fields, ..Seed::default() }
    }

    /// A text of a language, with words of it.
    pub fn text(bytes: &[u8], snippets: &'static [&'static str]) -> Self {
        Seed { bytes: bytes.to_vec(), snippets, ..Seed::default() }
    }

    /// The same file changed, in one to three places.
    pub fn mutate(&self, random: &mut Random) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        if !self.values.is_empty() && random.below(8) > 0 {
            self.change_values(&mut bytes, random);
        }
        for _ in 0..random.below(3) + usize::from(self.values.is_empty()) {
            if !self.fields.is_empty() && random.below(4) > 0 {
                change_field(&mut bytes, pick(pick::<Vec<_>>(&self.fields, random), random), random);
            } else if !self.snippets.is_empty() && random.below(4) > 0 {
                let at = random.below(bytes.len() + 1);
                let end = (at + random.below(12)).min(bytes.len());
                let keep = if random.below(2) == 0 { at } else { end };
                bytes.splice(at..keep, pick(self.snippets, random).bytes());
            } else if self.values.is_empty() || random.below(3) == 0 {
                change_blindly(&mut bytes, random);
            }
        }
        bytes
    }

    /// Finds all values of a JSON text.
    fn find_values(&mut self, range: Range<usize>) {
        let mut at = range.start;
        while let Some(start) = next_token(&self.bytes[..range.end], at) {
            at = self.value(start, start, 0);
        }
    }

    /// Notes a value that begins at a place, and those in it. Returns where it ends.
    fn value(&mut self, member: usize, start: usize, depth: usize) -> usize {
        let end = match self.bytes[start] {
            open @ (b'{' | b'[') => {
                let mut at = start + 1;
                loop {
                    let next = next_token(&self.bytes, at).expect("a file that is whole");
                    match self.bytes[next] {
                        b'}' | b']' => break next + 1,
                        b',' => at = next + 1,
                        _ if open == b'{' => {
                            let key = string_end(&self.bytes, next);
                            let colon = next_token(&self.bytes, key).expect("a colon");
                            let value = next_token(&self.bytes, colon + 1).expect("a value");
                            at = self.value(next, value, depth + 1);
                        }
                        _ => at = self.value(next, next, depth + 1),
                    }
                }
            }
            b'"' => string_end(&self.bytes, start),
            _ => {
                let rest = &self.bytes[start..];
                start + rest.iter().position(|byte| b",]} \r\n\t".contains(byte)).unwrap_or(rest.len())
            }
        };
        self.values.resize(self.values.len().max(depth + 1), Vec::new());
        self.values[depth].push(Member { start: member, value: start..end });
        end
    }

    /// Changes one value of JSON, or some that are not in each other, the last one first.
    fn change_values(&self, bytes: &mut Vec<u8>, random: &mut Random) {
        let mut chosen: Vec<&Member> =
            (0..1 + random.below(3)).map(|_| pick(pick::<Vec<_>>(&self.values, random), random)).collect();
        chosen.sort_by_key(|member| std::cmp::Reverse(member.start));
        let (mut before, json_end) = (usize::MAX, bytes.len());
        for member in chosen {
            if member.value.end <= before {
                before = member.start;
                let (range, new) = self.changed(member, random);
                bytes.splice(range, new);
            }
        }
        if self.length_of_json && random.below(8) > 0 {
            let old = u64::from_le_bytes(*bytes.first_chunk().expect("a length"));
            let new = old.wrapping_add(bytes.len() as u64).wrapping_sub(json_end as u64);
            bytes[..8].copy_from_slice(&new.to_le_bytes());
        }
    }

    /// What stands in the place of a value, or of its whole member.
    fn changed(&self, member: &Member, random: &mut Random) -> (Range<usize>, Vec<u8>) {
        let (value, whole) = (&self.bytes[member.value.clone()], member.start..member.value.end);
        let new = match random.below(12) {
            0..4 => pick(WORDS, random).as_bytes().to_vec(),
            4 => self.bytes[pick(pick::<Vec<_>>(&self.values, random), random).value.clone()].to_vec(),
            5 => {
                // It is missing, and so is a comma.
                let comma = self.bytes.get(whole.end) == Some(&b',');
                return (whole.start..whole.end + usize::from(comma), Vec::new());
            }
            6 => {
                let again = [&self.bytes[whole.clone()], b",", &self.bytes[whole.clone()]].concat();
                return (whole, again);
            }
            7 => {
                let first = [&self.bytes[member.start..member.value.start], pick(WORDS, random).as_bytes()];
                return (whole.clone(), [&first.concat(), &b","[..], &self.bytes[whole]].concat());
            }
            8 => {
                let depth = *pick(&[1, 2, 100, 126, 127, 128, 5000], random);
                let (open, close) = *pick(&[("[", "]"), ("{\"a\":", "}")], random);
                [open.repeat(depth).as_bytes(), value, close.repeat(depth).as_bytes()].concat()
            }
            9 => {
                let times = *pick(&[2, 3, 17, 300, 3000], random);
                [
                    b"[",
                    vec![value; times.min(1 + 200_000 / value.len().max(1))].join(&b","[..]).as_slice(),
                    b"]",
                ]
                .concat()
            }
            10 => match value.first() {
                Some(b'"') => {
                    let odd = *pick(ODD, random);
                    let at = 1 + random.below(value.len() - 1);
                    [&value[..at], odd, &value[at..]].concat()
                }
                Some(b'0'..=b'9' | b'-') => {
                    let (before, after) = *pick(TWEAKS, random);
                    [before.as_bytes(), value, after.as_bytes()].concat()
                }
                _ => value[..random.below(value.len())].to_vec(),
            },
            _ => pick(&["\"", "é", "x"], random).repeat(*pick(&[1, 100, 20_000], random)).into_bytes(),
        };
        (member.value.clone(), new)
    }
}

/// What stands for another value.
const WORDS: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "-1",
    "-0",
    "0.5",
    "1e999",
    "-1e308",
    "1e-320",
    "NaN",
    "Infinity",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "4611686018427387904",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "100000000",
    "1000000000000",
    "null",
    "true",
    "false",
    "[]",
    "{}",
    "\"\"",
    "\"0\"",
    "\"../model.safetensors\"",
    "\"F64\"",
    "\"BF16\"",
    "\"I8\"",
    "\"F4\"",
    "[0]",
    "[0, 0]",
    "[18446744073709551615, 2]",
    "[4294967296, 4294967296]",
    "\"\\ud800\"",
    "\"\\u0000\"",
    "",
    "}",
    "]",
    ":",
    ",",
];

/// What stands in a string.
const ODD: &[&[u8]] = &[
    b"\\u0000",
    b"\\ud800",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xc0\x80",
    b"\"",
    b"\\",
    b"/",
    b"..",
    b" ",
    b"\n",
    b"\\n",
    "é".as_bytes(),
    "\u{2581}".as_bytes(),
    "\u{120}".as_bytes(),
    "\u{10ffff}".as_bytes(),
    b"<0x41>",
    b".weight",
    b"0",
];

/// What stands around a number.
const TWEAKS: &[(&str, &str)] = &[
    ("-", ""),
    ("", "0"),
    ("1", ""),
    ("", ".5"),
    ("", "e5"),
    ("", "e-5"),
    ("0", ""),
    ("", "000000"),
    ("\"", "\""),
];

/// The bytes of a field become those of another number.
fn change_field(bytes: &mut [u8], &(at, width): &(usize, usize), random: &mut Random) {
    let Some(field) = bytes.get_mut(at..at + width) else { return };
    let mut padded = [0; 8];
    padded[..width].copy_from_slice(field);
    let old = u64::from_le_bytes(padded);
    let numbers = [f32::NAN, f32::INFINITY, -f32::INFINITY, f32::MAX, -1.0, 0.0, 1e-45, 1.0, 0.5, 1e6];
    let new = match random.below(12) {
        0 => 0,
        1 => u64::MAX,
        2 => 1 << random.below(64),
        3 => (1_u64 << random.below(64)).wrapping_sub(1),
        4 => old.wrapping_add(1),
        5 => old.wrapping_sub(1),
        6 => old.wrapping_mul(2),
        7 => old / 2,
        8 => random.below(16) as u64,
        9 => old.wrapping_neg(),
        10 => random.below(1 << 20) as u64,
        _ => pick(&numbers, random).to_bits().into(),
    };
    field.copy_from_slice(&new.to_le_bytes()[..width]);
}

/// Bytes are flipped, overwritten, removed or doubled.
fn change_blindly(bytes: &mut Vec<u8>, random: &mut Random) {
    if bytes.is_empty() {
        return;
    }
    let at = random.below(bytes.len());
    let end = (at + 1 + random.below(40)).min(bytes.len());
    match random.below(6) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.below(256) as u8,
        2 => drop(bytes.drain(at..end)),
        3 => {
            let again = bytes[at..end].to_vec();
            let to = random.below(bytes.len());
            bytes.splice(to..to, again);
        }
        4 => bytes.truncate(at),
        _ => {
            bytes.splice(at..at, pick(ODD, random).iter().copied());
        }
    }
}

pub fn pick<'a, T>(items: &'a [T], random: &mut Random) -> &'a T {
    &items[random.below(items.len())]
}

/// Where the next thing begins that is no white space, if there is one.
fn next_token(bytes: &[u8], at: usize) -> Option<usize> {
    let found = bytes[at..].iter().position(|byte| !byte.is_ascii_whitespace());
    found.map(|skipped| at + skipped)
}

/// Where a string ends that begins at a place.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// The fields of a GGUF file: counts, lengths, types, values, elements, dimensions, kinds, places, and numbers.
pub fn gguf_fields(bytes: &[u8]) -> Vec<Vec<(usize, usize)>> {
    let mut fields = vec![Vec::new(); 9];
    let mut at = 24;
    let int = |at: usize, width: usize| {
        let mut padded = [0; 8];
        padded[..width].copy_from_slice(&bytes[at..at + width]);
        u64::from_le_bytes(padded) as usize
    };
    fields[0].extend([(4, 4), (8, 8), (16, 8)]);
    // The width of a value, or of the length before a text.
    let width = |kind: usize| [1, 1, 2, 2, 4, 4, 4, 1, 8, 4, 8, 8, 8][kind];
    for _ in 0..int(16, 8) {
        fields[1].push((at, 8));
        at += 8 + int(at, 8);
        fields[2].push((at, 4));
        let mut kind = int(at, 4);
        at += 4;
        let (mut count, mut list) = (1, 3);
        if kind == 9 {
            fields[2].push((at, 4));
            fields[0].push((at + 4, 8));
            (kind, count, list) = (int(at, 4), int(at + 4, 8), 4);
            at += 12;
        }
        for _ in 0..count {
            fields[list].push((at, width(kind)));
            at += width(kind) + if kind == 8 { int(at, 8) } else { 0 };
        }
    }
    for _ in 0..int(8, 8) {
        fields[1].push((at, 8));
        at += 8 + int(at, 8);
        fields[0].push((at, 4));
        let dimensions = int(at, 4);
        at += 4;
        fields[5].extend((0..dimensions).map(|dimension| (at + 8 * dimension, 8)));
        at += 8 * dimensions;
        fields[6].push((at, 4));
        fields[7].push((at + 4, 8));
        at += 12;
    }
    fields[8].extend((at..bytes.len() - 4).map(|at| (at, 4)));
    fields
}
