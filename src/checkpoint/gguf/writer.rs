//! Writing the container: keys as they come, then tensors in a stream, a row at a time.

use std::io::{self, Write};

use super::container::{ALIGNMENT, MAGIC, VERSION, code};
use super::types::TensorType;
use crate::checkpoint::rope_rows::RowOrder;

/// Keys and values, already as bytes.
#[derive(Default)]
pub(super) struct MetadataWriter {
    bytes: Vec<u8>,
    count: u64,
}

impl MetadataWriter {
    fn key(&mut self, key: &str, kind: u32) {
        self.count += 1;
        string(&mut self.bytes, key);
        self.bytes.extend(kind.to_le_bytes());
    }

    pub fn string(&mut self, key: &str, value: &str) {
        self.key(key, code::STRING);
        string(&mut self.bytes, value);
    }

    pub fn u32(&mut self, key: &str, value: u32) {
        self.key(key, code::U32);
        self.bytes.extend(value.to_le_bytes());
    }

    pub fn f32(&mut self, key: &str, value: f32) {
        self.key(key, code::F32);
        self.bytes.extend(value.to_le_bytes());
    }

    pub fn bool(&mut self, key: &str, value: bool) {
        self.key(key, code::BOOL);
        self.bytes.push(value.into());
    }

    fn array(&mut self, key: &str, kind: u32, len: usize) {
        self.key(key, code::ARRAY);
        self.bytes.extend(kind.to_le_bytes());
        self.bytes.extend((len as u64).to_le_bytes());
    }

    pub fn strings<S: AsRef<str>>(&mut self, key: &str, values: impl ExactSizeIterator<Item = S>) {
        self.array(key, code::STRING, values.len());
        values.for_each(|value| string(&mut self.bytes, value.as_ref()));
    }

    pub fn i32s(&mut self, key: &str, values: impl ExactSizeIterator<Item = i32>) {
        self.array(key, code::I32, values.len());
        self.bytes.extend(values.flat_map(i32::to_le_bytes));
    }

    pub fn f32s(&mut self, key: &str, values: impl ExactSizeIterator<Item = f32>) {
        self.array(key, code::F32, values.len());
        self.bytes.extend(values.flat_map(f32::to_le_bytes));
    }
}

fn string(to: &mut Vec<u8>, text: &str) {
    to.extend((text.len() as u64).to_le_bytes());
    to.extend_from_slice(text.as_bytes());
}

/// A tensor to be written.
pub(super) struct Outgoing<'a> {
    pub name: String,
    /// Rows before columns.
    pub shape: Vec<usize>,
    pub kind: TensorType,
    /// Its numbers, row by row.
    pub numbers: &'a [f32],
    /// In which order its rows are written.
    pub order: RowOrder,
    /// How many numbers a row has.
    pub row_len: usize,
}

impl Outgoing<'_> {
    fn rows(&self) -> impl Iterator<Item = &[f32]> {
        let len = self.row_len;
        (0..self.numbers.len() / len).map(move |at| &self.numbers[self.order.ours(at) * len..][..len])
    }

    fn bytes(&self) -> u64 {
        (self.numbers.len() / self.kind.block() * self.kind.block_bytes()) as u64
    }

    /// The first number that is not finite or too large for the type.
    pub fn unfit(&self) -> Option<f32> {
        let mut bytes = Vec::new();
        self.rows().find_map(|row| {
            bytes.clear();
            self.kind.encode(row, &mut bytes).err()
        })
    }
}

/// Writes a file. Numbers fit: [`Outgoing::unfit`] was asked before.
pub(super) fn write(
    to: &mut dyn Write,
    metadata: &MetadataWriter,
    tensors: &[Outgoing<'_>],
) -> io::Result<()> {
    let mut head = Vec::new();
    head.extend(MAGIC);
    head.extend(VERSION.to_le_bytes());
    head.extend((tensors.len() as u64).to_le_bytes());
    head.extend(metadata.count.to_le_bytes());
    head.extend_from_slice(&metadata.bytes);
    let mut offset = 0;
    for tensor in tensors {
        string(&mut head, &tensor.name);
        head.extend((tensor.shape.len() as u32).to_le_bytes());
        head.extend(tensor.shape.iter().rev().flat_map(|&size| (size as u64).to_le_bytes()));
        head.extend(tensor.kind.code().to_le_bytes());
        head.extend(u64::to_le_bytes(offset));
        offset += tensor.bytes().next_multiple_of(ALIGNMENT);
    }
    pad(&mut head);
    to.write_all(&head)?;
    let mut bytes = Vec::new();
    for tensor in tensors {
        for row in tensor.rows() {
            bytes.clear();
            // Whatever it finds was found before.
            tensor.kind.encode(row, &mut bytes).ok();
            to.write_all(&bytes)?;
        }
        let end = tensor.bytes();
        to.write_all(&[0; ALIGNMENT as usize][..(end.next_multiple_of(ALIGNMENT) - end) as usize])?;
    }
    Ok(())
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT as usize), 0);
}
