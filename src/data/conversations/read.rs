//! Reading a file of conversations.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::formats::dialogue;
use super::messages::problem;
use super::records::{Misplaced, Place, Records, Shape};
use super::{Conversation, ConversationsError, Format, Json, MalformedRecord, Reason, SkippedRecords};
use crate::data::recognize::recognize;
use crate::data::{DataError, STDIN};

/// A file is recognised by the first of so many bytes.
const BUFFER: usize = 1 << 16;

/// The conversations of a file, one after the other: a JSON array, JSON lines, or dialogues as text. The first good record says
/// in which [`Format`] all of them are.
///
/// A malformed record is an error with its place, and the next one is read after it. Memory holds one record, of
/// [`LONGEST_RECORD`](super::LONGEST_RECORD) bytes at most.
///
/// ```
/// use gradus::data::Conversations;
/// let text = concat!(
///     r#"{"instruction": "Add the numbers.", "input": "2, 3", "response": "5"}"#, "\n",
///     r#"{"instruction": "Say hello.", "response": "#, "\n",
/// );
/// let mut conversations = Conversations::new("mine.jsonl", text.as_bytes())?;
/// let sum = conversations.next().unwrap()?;
/// assert_eq!(sum.messages[0].content, "Add the numbers.\n\n2, 3");
/// let error = conversations.next().unwrap().unwrap_err();
/// assert_eq!((error.line, error.column), (2, 41));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Conversations<R> {
    name: String,
    shape: Shape,
    records: Records<BufReader<R>>,
    format: Option<Format>,
}

impl Conversations<Box<dyn Read>> {
    /// Those in a file.
    ///
    /// # Errors
    /// If it cannot be read, or does not begin as such a file does.
    pub fn open(path: &Path) -> Result<Self, ConversationsError> {
        if path.is_dir() {
            return Err(DataError::Folder { path: path.to_owned() }.into());
        }
        let reader: Box<dyn Read> = if path == Path::new(STDIN) {
            Box::new(io::stdin().lock())
        } else {
            Box::new(File::open(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?)
        };
        Self::new(&path.display().to_string(), reader)
    }
}

impl<R: Read> Conversations<R> {
    /// Those that a reader gives. `name` is what messages call it.
    ///
    /// # Errors
    /// If it cannot be read, or does not begin as a file of conversations does.
    pub fn new(name: &str, reader: R) -> Result<Self, ConversationsError> {
        let mut reader = BufReader::with_capacity(BUFFER, reader);
        let failed = |source| DataError::Io { path: name.into(), source };
        let mut start = loop {
            match reader.fill_buf() {
                Ok(start) => break start,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error).into()),
            }
        };
        let mark = if start.starts_with("\u{feff}".as_bytes()) { 3 } else { 0 };
        start = &start[mark..];
        let text = start.trim_ascii_start();
        let shape = match text {
            [b'[', ..] => Shape::Array,
            [b'{', ..] => Shape::Lines,
            [b'A', b':', ..] => Shape::Paragraphs,
            [] => {
                return Err(ConversationsError::Empty {
                    name: name.to_owned(),
                    skipped: SkippedRecords::default(),
                });
            }
            _ => {
                if let Some(foreign) = recognize(Path::new(name), start) {
                    let (what, command) = (foreign.what, foreign.command);
                    return Err(DataError::NotText { path: name.into(), what, command }.into());
                }
                let first = String::from_utf8_lossy(&text[..text.len().min(160)]);
                let first = first.lines().next().unwrap_or("").chars().take(40).collect();
                return Err(ConversationsError::NotConversations { name: name.to_owned(), first });
            }
        };
        reader.consume(mark);
        let format = (shape == Shape::Paragraphs).then_some(Format::Dialogue);
        Ok(Conversations { name: name.to_owned(), shape, records: Records::new(reader, shape), format })
    }

    /// The format of the records, as soon as a good one was read.
    pub fn format(&self) -> Option<Format> {
        self.format
    }
}

impl<R: Read> Iterator for Conversations<R> {
    type Item = Result<Conversation, MalformedRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = match self.records.next()? {
            Ok((bytes, place)) if self.shape == Shape::Paragraphs => {
                dialogue(bytes).map_err(|(reason, line)| {
                    (reason, if line == 0 { place } else { Place { line: place.line + line, column: 1 } })
                })
            }
            Ok((bytes, place)) => conversation(bytes, place, &mut self.format),
            Err(error) => Err(error),
        };
        Some(found.map_err(|(reason, Place { line, column })| MalformedRecord {
            name: self.name.clone(),
            line,
            column,
            reason,
        }))
    }
}

/// The conversation in the JSON of a record. If none was read before, its keys say the format.
fn conversation(bytes: &[u8], start: Place, format: &mut Option<Format>) -> Result<Conversation, Misplaced> {
    let record = Json::from_slice(bytes.trim_ascii_end()).map_err(|error| {
        // In the first line of the record, columns go on from its beginning.
        let before = if error.line() <= 1 { start.column - 1 } else { 0 };
        let line = start.line + error.line().max(1) - 1;
        (Reason::Syntax(problem(&error)), Place { line, column: before + error.column().max(1) })
    })?;
    let known = match *format {
        Some(format) => format,
        None => Format::of(&record).map_err(|reason| (reason, start))?,
    };
    let conversation = known.conversation(&record).map_err(|reason| (reason, start))?;
    *format = Some(known);
    Ok(conversation)
}

/// What happens to a malformed record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnMalformed {
    /// It is counted and skipped.
    #[default]
    Skip,
    /// It is an error.
    Refuse,
}

/// The first `most` conversations of a file, or all of them, and what was skipped on the way.
///
/// # Errors
/// If the file cannot be read, or has no conversation; and if a record is malformed, where that is to be refused.
pub fn read_conversations(
    path: &Path,
    most: Option<usize>,
    on_malformed: OnMalformed,
) -> Result<(Vec<Conversation>, SkippedRecords), ConversationsError> {
    let (mut all, mut skipped) = (Vec::new(), SkippedRecords::default());
    let mut conversations = Conversations::open(path)?;
    while all.len() < most.unwrap_or(usize::MAX) {
        match conversations.next() {
            Some(Ok(conversation)) => all.push(conversation),
            Some(Err(MalformedRecord { reason: Reason::Io(source), .. })) => {
                return Err(DataError::Io { path: path.to_owned(), source }.into());
            }
            Some(Err(record)) if on_malformed == OnMalformed::Refuse => return Err(record.into()),
            Some(Err(record)) => skipped.add(record),
            None => break,
        }
    }
    if all.is_empty() && most != Some(0) {
        return Err(ConversationsError::Empty { name: path.display().to_string(), skipped });
    }
    Ok((all, skipped))
}
