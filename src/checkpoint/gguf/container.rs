//! The container: keys with values, and tensors under names.
//!
//! A file is a header (magic, version, two counts), the keys and values, the names, shapes, types and places of the tensors, and
//! from the next multiple of the alignment on their numbers. All is little-endian. Nothing is copied here: what is read are
//! slices of the file, and every count and length is compared with the bytes that are left before anybody relies on it.

use std::collections::HashSet;
use std::fmt;

use super::types::TensorType;
use crate::checkpoint::mapped::FileBytes;

/// The first bytes of a file.
pub(super) const MAGIC: [u8; 4] = *b"GGUF";
/// The version that is read and written.
pub(super) const VERSION: u32 = 3;
/// Where the numbers of each tensor begin: at multiples of it, if the file does not say otherwise.
pub(super) const ALIGNMENT: u64 = 32;
/// The key under which it may say so.
const ALIGNMENT_KEY: &str = "general.alignment";
/// More dimensions than a tensor has.
const MOST_DIMENSIONS: u32 = 4;

/// The numbers of the types of values.
pub(super) mod code {
    pub const U8: u32 = 0;
    pub const I8: u32 = 1;
    pub const U16: u32 = 2;
    pub const I16: u32 = 3;
    pub const U32: u32 = 4;
    pub const I32: u32 = 5;
    pub const F32: u32 = 6;
    pub const BOOL: u32 = 7;
    pub const STRING: u32 = 8;
    pub const ARRAY: u32 = 9;
    pub const U64: u32 = 10;
    pub const I64: u32 = 11;
    pub const F64: u32 = 12;
}

/// The value of a key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// An integer of any width.
    Integer(i128),
    /// A number of either width.
    Float(f64),
    /// Yes or no.
    Bool(bool),
    /// A text.
    String(&'a str),
    /// Values of one type.
    Array(Array<'a>),
}

/// Values of one type. They stay in the file, and are read one by one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Array<'a> {
    kind: u32,
    len: usize,
    bytes: &'a [u8],
}

impl<'a> Array<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The values in order. None of them is an array.
    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> {
        let (kind, mut cursor) = (self.kind, Cursor { bytes: self.bytes, at: 0 });
        // They were all read once before, so none can fail now.
        (0..self.len).map_while(move |_| cursor.plain(kind).ok())
    }
}

/// A value as one would write it, cut off where it is long.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Integer(x) => write!(f, "{x}"),
            Value::Float(x) => write!(f, "{x}"),
            Value::Bool(x) => write!(f, "{x}"),
            Value::String(text) => match text.char_indices().nth(60) {
                Some((end, _)) => write!(f, "{:?}…", &text[..end]),
                None => write!(f, "{text:?}"),
            },
            Value::Array(array) => {
                write!(f, "{} values:", array.len)?;
                array.iter().take(4).try_for_each(|value| write!(f, " {value}"))?;
                if array.len > 4 { f.write_str(" …") } else { Ok(()) }
            }
        }
    }
}

/// A tensor of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorView<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its shape, rows before columns as everywhere here. (In the file the columns come first.)
    pub shape: Vec<usize>,
    /// How its numbers are stored.
    pub kind: TensorType,
    bytes: &'a [u8],
}

impl TensorView<'_> {
    /// Appends its numbers, row by row, to others.
    pub fn read(&self, to: &mut Vec<f32>) {
        self.kind.decode(self.bytes, to);
    }

    /// The same, of a file that is mapped into memory, where they will not be needed again.
    pub(super) fn read_once(&self, file: &FileBytes, to: &mut Vec<f32>) {
        file.read_once(self.bytes, |bytes| self.kind.decode(bytes, to));
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.kind.block_bytes() * self.kind.block()
    }

    /// Whether there is none, which no file has.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// A file whose structure has been checked: all counts, lengths, types and places. What the keys mean was not.
#[derive(Clone, Debug)]
pub struct GgufFile<'a> {
    /// Keys and values, in the order of the file.
    pub metadata: Vec<(&'a str, Value<'a>)>,
    /// The tensors, in the order of the file.
    pub tensors: Vec<TensorView<'a>>,
}

impl<'a> GgufFile<'a> {
    /// Parses the bytes of a file.
    ///
    /// # Errors
    /// Says which byte, which key or which tensor is wrong.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let mut cursor = Cursor { bytes, at: 0 };
        if cursor.take(4, "the magic")? != MAGIC {
            return Err("it does not begin with GGUF".to_owned());
        }
        match cursor.u32("the version")? {
            VERSION => {}
            big if big.swap_bytes() <= VERSION => return Err("it is big-endian".to_owned()),
            other => return Err(format!("it is of version {other}, where gradus reads {VERSION}")),
        }
        let tensor_count = cursor.u64("the number of tensors")?;
        let key_count = cursor.u64("the number of keys")?;
        let metadata = cursor.metadata(key_count)?;
        let align = alignment(&metadata)?;
        let places = cursor.places(tensor_count)?;
        let start = (cursor.at as u64).next_multiple_of(align);
        let tensors = views(bytes, start, align, places)?;
        Ok(GgufFile { metadata, tensors })
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        self.metadata.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }
}

/// The alignment that a file states.
fn alignment(metadata: &[(&str, Value<'_>)]) -> Result<u64, String> {
    match metadata.iter().find(|(key, _)| *key == ALIGNMENT_KEY) {
        None => Ok(ALIGNMENT),
        Some((_, Value::Integer(x))) if (1..=1 << 31).contains(x) && x.count_ones() == 1 => Ok(*x as u64),
        Some((_, other)) => Err(format!("{ALIGNMENT_KEY} is {other}, which is no power of two below 2³²")),
    }
}

/// A tensor as it is described: where its bytes are is not checked yet.
struct Place<'a> {
    name: &'a str,
    shape: Vec<usize>,
    kind: TensorType,
    /// Counted from where numbers begin.
    offset: u64,
    /// How many bytes it has.
    len: u64,
}

/// The tensors with their bytes, none of which belong to two of them.
fn views<'a>(
    bytes: &'a [u8],
    start: u64,
    align: u64,
    places: Vec<Place<'a>>,
) -> Result<Vec<TensorView<'a>>, String> {
    let mut order: Vec<&Place<'_>> = places.iter().collect();
    order.sort_by_key(|place| place.offset);
    for pair in order.windows(2) {
        // (The sum was checked when the place was read.)
        if pair[0].offset + pair[0].len > pair[1].offset {
            return Err(format!("the tensors {} and {} overlap", pair[0].name, pair[1].name));
        }
    }
    let view = |place: Place<'a>| {
        let Place { name, shape, kind, offset, len } = place;
        if !offset.is_multiple_of(align) {
            return Err(format!("tensor {name} begins at {offset}, which is no multiple of {align}"));
        }
        let from = start.saturating_add(offset);
        match (usize::try_from(from), usize::try_from(from.saturating_add(len))) {
            (Ok(from), Ok(to)) if to <= bytes.len() => {
                Ok(TensorView { name, shape, kind, bytes: &bytes[from..to] })
            }
            _ => Err(format!(
                "tensor {name} has {len} bytes from byte {from} on, but the file has only {}",
                bytes.len()
            )),
        }
    };
    places.into_iter().map(view).collect()
}

/// Where one is in the bytes of a file.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The next bytes.
    fn take(&mut self, count: u64, what: &str) -> Result<&'a [u8], String> {
        let left = &self.bytes[self.at..];
        match usize::try_from(count).ok().and_then(|count| left.get(..count)) {
            Some(bytes) => {
                self.at += bytes.len();
                Ok(bytes)
            }
            None => {
                Err(format!("at byte {}, {what} has {count} bytes, and {} are left", self.at, left.len()))
            }
        }
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], String> {
        let bytes = self.take(N as u64, what)?;
        Ok(*bytes.first_chunk().expect("as many as were asked for"))
    }

    fn u32(&mut self, what: &str) -> Result<u32, String> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &str) -> Result<u64, String> {
        self.array(what).map(u64::from_le_bytes)
    }

    fn string(&mut self, what: &str) -> Result<&'a str, String> {
        let at = self.at;
        let len = self.u64(what)?;
        let bytes = self.take(len, what)?;
        std::str::from_utf8(bytes).map_err(|_| format!("at byte {at}, {what} is not UTF-8"))
    }

    fn metadata(&mut self, count: u64) -> Result<Vec<(&'a str, Value<'a>)>, String> {
        // The length of a name, a type, and a value of a byte.
        self.room_for(count, 8 + 4 + 1, "keys")?;
        let mut metadata = Vec::new();
        let mut seen = HashSet::new();
        for at in 0..count {
            let key = self.string(&format!("key {at}"))?;
            if !seen.insert(key) {
                return Err(format!("the key {key} stands there twice"));
            }
            let value = self.value().map_err(|problem| format!("key {key}: {problem}"))?;
            metadata.push((key, value));
        }
        Ok(metadata)
    }

    /// Whether there can be so many things that have a number of bytes each at least.
    fn room_for(&self, count: u64, bytes: u64, what: &str) -> Result<(), String> {
        let left = (self.bytes.len() - self.at) as u64;
        if count > left / bytes {
            return Err(format!(
                "it claims {count} {what}, but only {left} bytes are left at byte {}",
                self.at
            ));
        }
        Ok(())
    }

    fn value(&mut self) -> Result<Value<'a>, String> {
        let kind = self.u32("the type of the value")?;
        if kind != code::ARRAY {
            return self.plain(kind);
        }
        let kind = self.u32("the type of its elements")?;
        if kind == code::ARRAY {
            return Err(format!("at byte {}, an array of arrays, which no model needs", self.at - 4));
        }
        let count = self.u64("its number of elements")?;
        self.room_for(count, 1, "elements")?;
        let start = self.at;
        for _ in 0..count {
            self.plain(kind)?;
        }
        Ok(Value::Array(Array { kind, len: count as usize, bytes: &self.bytes[start..self.at] }))
    }

    /// A value that is no array.
    fn plain(&mut self, kind: u32) -> Result<Value<'a>, String> {
        let what = "its value";
        Ok(match kind {
            code::U8 => Value::Integer(self.array(what).map(u8::from_le_bytes)?.into()),
            code::I8 => Value::Integer(self.array(what).map(i8::from_le_bytes)?.into()),
            code::U16 => Value::Integer(self.array(what).map(u16::from_le_bytes)?.into()),
            code::I16 => Value::Integer(self.array(what).map(i16::from_le_bytes)?.into()),
            code::U32 => Value::Integer(self.u32(what)?.into()),
            code::I32 => Value::Integer(self.array(what).map(i32::from_le_bytes)?.into()),
            code::U64 => Value::Integer(self.u64(what)?.into()),
            code::I64 => Value::Integer(self.array(what).map(i64::from_le_bytes)?.into()),
            code::F32 => Value::Float(self.array(what).map(f32::from_le_bytes)?.into()),
            code::F64 => Value::Float(self.array(what).map(f64::from_le_bytes)?),
            code::BOOL => match self.array(what)? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                [other] => return Err(format!("at byte {}, {other} is neither true nor false", self.at - 1)),
            },
            code::STRING => Value::String(self.string(what)?),
            other => return Err(format!("at byte {}, {other} is no type of a value", self.at)),
        })
    }

    fn places(&mut self, count: u64) -> Result<Vec<Place<'a>>, String> {
        // The length of a name, how many dimensions, one of them, a type and a place.
        self.room_for(count, 8 + 4 + 8 + 4 + 8, "tensors")?;
        let mut places = Vec::new();
        let mut seen = HashSet::new();
        for at in 0..count {
            let name = self.string(&format!("the name of tensor {at}"))?;
            if !seen.insert(name) {
                return Err(format!("the tensor {name} stands there twice"));
            }
            places.push(self.place(name).map_err(|problem| format!("tensor {name} {problem}"))?);
        }
        Ok(places)
    }

    fn place(&mut self, name: &'a str) -> Result<Place<'a>, String> {
        let inside = |problem: String| format!("is cut off: {problem}");
        let dimensions = self.u32("its number of dimensions").map_err(inside)?;
        if !(1..=MOST_DIMENSIONS).contains(&dimensions) {
            return Err(format!("has {dimensions} dimensions, not 1 to {MOST_DIMENSIONS}"));
        }
        let mut shape = Vec::new();
        let mut numbers = Some(1_u64);
        for _ in 0..dimensions {
            let size = self.u64("its shape").map_err(inside)?;
            numbers = numbers.and_then(|numbers| numbers.checked_mul(size));
            match usize::try_from(size) {
                Ok(size) if size > 0 => shape.push(size),
                _ => return Err(format!("has a dimension of {size}")),
            }
        }
        let cols = shape[0];
        shape.reverse();
        let kind = TensorType::from_code(self.u32("its type").map_err(inside)?)?;
        let offset = self.u64("its place").map_err(inside)?;
        if !kind.holds_rows_of(cols) {
            return Err(format!("has rows of {cols} numbers, which are no whole blocks of {kind}"));
        }
        let blocks = numbers.map(|numbers| numbers / kind.block() as u64);
        let len = blocks.and_then(|blocks| blocks.checked_mul(kind.block_bytes() as u64));
        match len.filter(|len| offset.checked_add(*len).is_some()) {
            Some(len) => Ok(Place { name, shape, kind, offset, len }),
            None => Err(format!("is {shape:?} at {offset}, which no file holds")),
        }
    }
}
