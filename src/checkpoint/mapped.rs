//! Files that are read where they lie: the one place of this crate where a file is mapped into memory.

use std::fs::{self, File};
use std::io;
use std::ops::Deref;
use std::path::Path;

use memmap2::{Mmap, MmapOptions};

/// From how many bytes on a part is worth a map of its own.
const LARGE: usize = 1 << 16;

/// The bytes of a file. Where the system can, they are a map of it: a part that is read comes from the disk at that time, and
/// may be forgotten again, so a large file takes no memory of its own. Elsewhere they are a copy.
///
/// A map shows the file, and what another program does to it. One that writes *into* the file changes numbers that are being
/// read; one that makes it shorter takes them away, and the system then ends this program (SIGBUS). One that replaces it by
/// a rename does neither: the old file lives on until nobody has it open. All programs that write models do that or
/// write new files, and so does [`write_atomically`](super::write_atomically).
pub(super) enum FileBytes {
    /// The map, and the file, of which parts can be mapped again.
    Mapped(Mmap, File),
    Copied(Vec<u8>),
}

impl FileBytes {
    /// The bytes of a file.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // A pipe or a device has no places that could be mapped.
        if !file.metadata()?.is_file() {
            return Ok(FileBytes::Copied(fs::read(path)?));
        }
        // SAFETY: the map is opened for reading only, and is private to this value, which keeps it as long as any slice of it
        // lives. Nobody in this program writes into files that exist. That no other program does so is what cannot be
        // checked, as with every map of a file; the comment on the type says what would happen then. All that is read from the
        // slice are plain bytes, checked after they were copied, and no reference to anything but bytes is made of them.
        match unsafe { Mmap::map(&file) } {
            Ok(map) => Ok(FileBytes::Mapped(map, file)),
            Err(_) => Ok(FileBytes::Copied(fs::read(path)?)),
        }
    }

    /// Reads a part of it, a slice of these bytes, that will not be needed again. A large one gets a map of its own, which is
    /// given back at the end: a process is charged for the pages that it has read as long as they are mapped, and so a model
    /// that is read once would count like a copy of its file.
    pub fn read_once<T>(&self, part: &[u8], read: impl FnOnce(&[u8]) -> T) -> T {
        let FileBytes::Mapped(map, file) = self else { return read(part) };
        let start = part.as_ptr().addr().wrapping_sub(map.as_ptr().addr());
        let inside = start.checked_add(part.len()).is_some_and(|end| end <= map.len());
        if part.len() < LARGE || !inside {
            return read(part);
        }
        // SAFETY: as in `open`. The place and the length are those of a part of the first map.
        match unsafe { MmapOptions::new().offset(start as u64).len(part.len()).map(file) } {
            Ok(own) => read(&own),
            Err(_) => read(part),
        }
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            FileBytes::Mapped(map, _) => map,
            FileBytes::Copied(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_and_a_copy_have_the_same_bytes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        for bytes in [&b"some bytes"[..], b""] {
            fs::write(&path, bytes).expect("a file");
            assert_eq!(&*FileBytes::open(&path).expect("it is there"), bytes);
        }
        assert!(FileBytes::open(&folder.path().join("none")).is_err());
    }

    #[test]
    fn a_part_is_the_same_through_a_map_of_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let all: Vec<u8> = (0..3 * LARGE + 5).map(|at| (at % 251) as u8).collect();
        fs::write(&path, &all).expect("a file");
        let bytes = FileBytes::open(&path).expect("it is there");
        for range in [0..all.len(), 7..7 + LARGE, LARGE..2 * LARGE + 1, all.len() - 3..all.len(), 9..9] {
            let part = bytes.read_once(&bytes[range.clone()], <[u8]>::to_vec);
            assert_eq!(part, all[range]);
        }
        // Bytes that are no part of it are read where they are.
        let other = vec![1; LARGE];
        assert_eq!(bytes.read_once(&other, <[u8]>::to_vec), other);
    }

    /// What a reader has open is not changed by somebody who replaces the file.
    #[test]
    fn a_file_that_is_replaced_stays_for_who_reads_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        fs::write(&path, "the old one").expect("a file");
        let bytes = FileBytes::open(&path).expect("it is there");
        assert!(matches!(bytes, FileBytes::Mapped(..)));
        super::super::write_atomically(&path, b"new").expect("replaced");
        assert_eq!(&*bytes, b"the old one");
        assert_eq!(&*FileBytes::open(&path).expect("it is there"), b"new");
    }
}
