//! Cutting a file into records: the elements of a JSON array, lines, or paragraphs. Only one record is in memory.

use std::io::{self, BufRead};

use super::Reason;

/// The largest record in bytes. A file may be of any size.
pub const LONGEST_RECORD: usize = 4 << 20;

/// How records stand in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A JSON value on each line. Blank lines are skipped.
    Lines,
    /// The elements of one JSON array.
    Array,
    /// Lines up to a blank one.
    Paragraphs,
}

/// Where a record begins: line and column, from 1, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub line: usize,
    pub column: usize,
}

/// What is wrong, and where.
pub(super) type Misplaced = (Reason, Place);

/// The records of a file, one after the other.
pub(super) struct Records<R> {
    reader: R,
    shape: Shape,
    /// Where the next byte stands.
    place: Place,
    /// The record that was read last.
    record: Vec<u8>,
    /// Where it began.
    start: Place,
    /// Whether there was more of it than is kept.
    too_long: bool,
    /// How far an array has been read.
    progress: Progress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Before,
    Within,
    /// Behind its closing bracket.
    After,
    Done,
}

impl<R: BufRead> Records<R> {
    pub fn new(reader: R, shape: Shape) -> Self {
        let place = Place { line: 1, column: 1 };
        let (record, progress) = (Vec::new(), Progress::Before);
        Records { reader, shape, place, record, start: place, too_long: false, progress }
    }

    /// The next record and its place; `None` at the end. After an error other than
    /// [`Reason::TooLong`], nothing follows.
    pub fn next(&mut self) -> Option<Result<(&[u8], Place), Misplaced>> {
        if self.progress == Progress::Done {
            return None;
        }
        let found = match self.shape {
            Shape::Lines => self.line(),
            Shape::Array => self.element(),
            Shape::Paragraphs => self.paragraph(),
        };
        match found {
            Ok(true) if self.too_long => Some(Err((Reason::TooLong, self.start))),
            Ok(true) => Some(Ok((&self.record, self.start))),
            Ok(false) => {
                self.progress = Progress::Done;
                None
            }
            Err(reason) => {
                self.progress = Progress::Done;
                Some(Err((reason, self.start)))
            }
        }
    }

    /// Reads the next line that is not blank. False at the end of the file.
    fn line(&mut self) -> Result<bool, Reason> {
        self.clear();
        while self.take_line()? {
            if !self.record.trim_ascii().is_empty() || self.too_long {
                return Ok(true);
            }
            self.clear();
        }
        Ok(false)
    }

    /// Reads the next lines that are not blank.
    fn paragraph(&mut self) -> Result<bool, Reason> {
        let found = self.line()?;
        let mut length = self.record.len();
        while found && self.take_line()? {
            if self.record[length..].trim_ascii().is_empty() {
                self.record.truncate(length);
                break;
            }
            length = self.record.len();
        }
        Ok(found)
    }

    /// Adds a line to the record, with its end. False if there is none.
    fn take_line(&mut self) -> Result<bool, Reason> {
        let mut some = false;
        while let Some(byte) = self.peek()? {
            some = true;
            self.keep(byte);
            if byte == b'\n' {
                break;
            }
        }
        Ok(some)
    }

    /// Reads the next element of an array. False behind its end.
    fn element(&mut self) -> Result<bool, Reason> {
        match self.progress {
            Progress::Before => {
                self.skip_space()?;
                self.skip(); // the bracket that the shape was recognised by
                self.progress = Progress::Within;
            }
            Progress::After => return self.after_array(),
            Progress::Within | Progress::Done => {}
        }
        self.skip_space()?;
        self.clear();
        let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
        loop {
            let Some(byte) = self.peek()? else { return Err(Reason::CutOff) };
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'"' => in_string = !in_string,
                _ if in_string => {}
                b'{' | b'[' => depth += 1,
                b',' if depth == 0 => {
                    self.skip();
                    return Ok(true);
                }
                b']' if depth == 0 => {
                    self.skip();
                    self.progress = Progress::After;
                    // The last element, unless nothing stands before the bracket.
                    return if self.record.is_empty() { self.after_array() } else { Ok(true) };
                }
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.keep(byte);
        }
    }

    /// Behind the bracket that ends an array only white space may follow.
    fn after_array(&mut self) -> Result<bool, Reason> {
        self.skip_space()?;
        self.clear();
        if self.peek()?.is_some() { Err(Reason::AfterArray) } else { Ok(false) }
    }

    fn clear(&mut self) {
        self.record.clear();
        self.too_long = false;
        self.start = self.place;
    }

    fn peek(&mut self) -> Result<Option<u8>, Reason> {
        loop {
            match self.reader.fill_buf() {
                Ok(bytes) => return Ok(bytes.first().copied()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Reason::Io(error)),
            }
        }
    }

    /// Goes past the byte that was peeked at.
    fn skip(&mut self) {
        if let Ok(&[byte, ..]) = self.reader.fill_buf() {
            self.reader.consume(1);
            self.place = match byte {
                b'\n' => Place { line: self.place.line + 1, column: 1 },
                _ => Place { column: self.place.column + 1, ..self.place },
            };
        }
    }

    /// Goes past a byte and adds it to the record.
    fn keep(&mut self, byte: u8) {
        if self.record.len() < LONGEST_RECORD {
            self.record.push(byte);
        } else {
            self.too_long = true;
        }
        self.skip();
    }

    fn skip_space(&mut self) -> Result<(), Reason> {
        while self.peek()?.is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.skip();
        }
        Ok(())
    }
}
