//! Files that are read where they lie: the one place of this crate where a file is mapped into memory.

use std::fs::{self, File};
use std::io;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

/// The bytes of a file. Where the system can, they are a map of it: a part that is read comes from the disk at that time, and
/// may be forgotten again, so a large file takes no memory of its own. Elsewhere they are a copy.
///
/// A map shows the file, and what another program does to it. One that writes *into* the file changes numbers that are being
/// read; one that makes it shorter takes them away, and the system then ends this program (SIGBUS). One that replaces it by
/// a rename does neither: the old file lives on until nobody has it open. All programs that write models do that or
/// write new files, and so does [`write_atomically`](super::write_atomically).
pub(super) enum FileBytes {
    Mapped(Mmap),
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
            Ok(map) => Ok(FileBytes::Mapped(map)),
            Err(_) => Ok(FileBytes::Copied(fs::read(path)?)),
        }
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            FileBytes::Mapped(map) => map,
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

    /// What a reader has open is not changed by somebody who replaces the file.
    #[test]
    fn a_file_that_is_replaced_stays_for_who_reads_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        fs::write(&path, "the old one").expect("a file");
        let bytes = FileBytes::open(&path).expect("it is there");
        assert!(matches!(bytes, FileBytes::Mapped(_)));
        super::super::write_atomically(&path, b"new").expect("replaced");
        assert_eq!(&*bytes, b"the old one");
        assert_eq!(&*FileBytes::open(&path).expect("it is there"), b"new");
    }
}
