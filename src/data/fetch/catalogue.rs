//! The catalogue: the data sets, their hashes and licences, and which files of them are already here.

use std::path::Path;

use super::{FetchError, file_length, file_name, hash_file, with_suffix};

/// One data set: what it is, its licence, and its files.
#[derive(Clone, Copy, Debug)]
pub struct Dataset<'a> {
    /// Its name on the command line.
    pub name: &'a str,
    /// Its content, in one line.
    pub description: &'a str,
    /// The licence its publisher states.
    pub licence: &'a str,
    /// What to know about its licence or hash; may be empty.
    pub note: &'a str,
    /// Its files. There are none if the data set is the project's own and comes with its source.
    pub files: &'a [DataFile<'a>],
}

/// One file of a data set, as it is in the folder after a successful download.
#[derive(Clone, Copy, Debug)]
pub struct DataFile<'a> {
    /// Its path below the data folder, with forward slashes.
    pub path: &'a str,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its sha256, in lower-case hexadecimal digits.
    pub sha256: &'a str,
    /// Where it comes from.
    pub origin: Origin<'a>,
}

/// Where a file comes from, and how it is made of the download.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'a> {
    /// The file itself is at this URL.
    Url(&'a str),
    /// The file is a member of a zip archive.
    Zip(Member<'a>),
    /// The file is made of these members in this order, by [`daily_dialog_lines`](super::daily_dialog_lines).
    DailyDialog(&'a [Member<'a>]),
}

/// A file in a zip archive. The hash of the archive does not matter: that of the member is checked.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// The URL of the archive.
    pub url: &'a str,
    /// The file name of the member, without the folders before it in the archive.
    pub name: &'a str,
    /// The sha256 of the unpacked member.
    pub sha256: &'a str,
}

impl<'a> Origin<'a> {
    /// The archive members that the file is made of, if any.
    pub(super) fn members(&self) -> &[Member<'a>] {
        match self {
            Origin::Url(_) => &[],
            Origin::Zip(member) => std::slice::from_ref(member),
            Origin::DailyDialog(members) => members,
        }
    }
}

const fn file<'a>(path: &'a str, bytes: u64, sha256: &'a str, origin: Origin<'a>) -> DataFile<'a> {
    DataFile { path, bytes, sha256, origin }
}

const fn member<'a>(url: &'a str, name: &'a str, sha256: &'a str) -> Member<'a> {
    Member { url, name, sha256 }
}

/// All data sets that the examples use.
#[rustfmt::skip]
pub static CATALOGUE: &[Dataset<'static>] = &[
    Dataset {
        name: "names",
        description: "32,033 first names, one a line, a to z",
        licence: "MIT",
        note: "the licence is the repository's; the list is the US Social Security Administration's",
        files: &[file("names.txt", 228_145, "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d",
            Origin::Url("https://raw.githubusercontent.com/karpathy/makemore/988aa59/names.txt"))],
    },
    Dataset {
        name: "korean",
        description: "Korean given names in Hangul, one a line",
        licence: "MIT OR Apache-2.0",
        note: "the project's own: it ships with the source as datasets/korean.txt, so there is nothing to download",
        files: &[],
    },
    Dataset {
        name: "phrases",
        description: "3,688 pairs of everyday sentences, English and French, short to long",
        licence: "MIT OR Apache-2.0",
        note: "the project's own: it ships with the source as datasets/phrases.tsv, so there is nothing to download",
        files: &[],
    },
    Dataset {
        name: "conversations",
        description: "650 conversations with an assistant, and 137 in which it is offered tools",
        licence: "MIT OR Apache-2.0",
        note: "the project's own: it ships with the source as datasets/conversations.jsonl and tool_dialogues.jsonl",
        files: &[],
    },
    Dataset {
        name: "dailydialog",
        description: "13,118 everyday dialogues between A and B",
        licence: "CC BY-NC-SA 4.0",
        note: "",
        files: &[file("dailydialog.txt", 6_641_636, "d87a11f0447d7b5e3e147c53b4fe9e50de3a17cfebb0077e702dec9b9b4a74af",
            Origin::DailyDialog(&[
                member("https://huggingface.co/datasets/roskoN/dailydialog/resolve/main/train.zip",
                    "dialogues_train.txt", "2128f3b82140b7d72d8d5bb989e5982a0394e4e40655995270d84c7eeee373b1"),
                member("https://huggingface.co/datasets/roskoN/dailydialog/resolve/main/validation.zip",
                    "dialogues_validation.txt", "2ad64701fe3a4449e7a6ee7cdc6c2a71c80f77b8a34f708ac0532395f499081c"),
                member("https://huggingface.co/datasets/roskoN/dailydialog/resolve/main/test.zip",
                    "dialogues_test.txt", "3c323651cdfb09f7b529f850eddf96a638fc6cc9b43330b77956ab248484a1a8"),
            ]))],
    },
    Dataset {
        name: "shakespeare",
        description: "40,000 lines of Shakespeare, 65 distinct characters",
        licence: "public domain",
        note: "",
        files: &[file("tinyshakespeare.txt", 1_115_394, "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            Origin::Url("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"))],
    },
    Dataset {
        name: "dolly",
        description: "15,014 instructions and answers, written by people",
        licence: "CC BY-SA 3.0",
        note: "the hash is that of one revision; the publisher has put a newer one at the same URL",
        files: &[file("databricks-dolly-15k.jsonl", 13_216_570, "e442d96b320010510c67a6cc0a86ea988a2a6f71c7570d1afbdf4fa631896e58",
            Origin::Url("https://huggingface.co/datasets/databricks/databricks-dolly-15k/resolve/main/databricks-dolly-15k.jsonl"))],
    },
    Dataset {
        name: "alpaca",
        description: "52,002 instructions and answers, written by a model",
        licence: "CC BY-NC 4.0",
        note: "the hash is that of the publisher's file; there is also a lightly cleaned copy of 22,767,558 bytes",
        files: &[file("alpaca_data_en.json", 22_773_992, "2eddafc6b977608d778aaab8dfc7e50e547b3af9826dfb9e909d9fc362e4a419",
            Origin::Url("https://raw.githubusercontent.com/tatsu-lab/stanford_alpaca/main/alpaca_data.json"))],
    },
    Dataset {
        name: "code-alpaca",
        description: "20,022 programming tasks and answers, written by a model",
        licence: "CC BY-NC 4.0",
        note: "",
        files: &[file("code_alpaca_20k.json", 8_057_896, "58d136bb7ea8e4b7c5b6ef08831da905d0abfafeb56f8fa519083089dd6a210e",
            Origin::Url("https://raw.githubusercontent.com/sahil280114/codealpaca/master/data/code_alpaca_20k.json"))],
    },
    Dataset {
        name: "fra-eng",
        description: "142,787 English sentences and their French, short to long",
        licence: "CC BY 2.0",
        note: "the hash is that of the edition of 2017-09-29; the site updates the archive, and newer editions have a third column",
        files: &[file("fra-eng/fra.txt", 10_009_515, "2546838ae46e0eac4c02ab7032ea0a02a006074a5340077a36a9444f41e02888",
            Origin::Zip(member("http://www.manythings.org/anki/fra-eng.zip",
                "fra.txt", "2546838ae46e0eac4c02ab7032ea0a02a006074a5340077a36a9444f41e02888")))],
    },
    Dataset {
        name: "stories260k",
        description: "a trained Llama of 260,000 parameters and its tokenizer",
        licence: "MIT",
        note: "",
        files: &[
            file("stories260K/stories260K.bin", 1_056_540, "b0a507e7ad0f626624f17112325e66691f9076d622e1d3274d103d00299f2696",
                Origin::Url("https://huggingface.co/karpathy/tinyllamas/resolve/main/stories260K/stories260K.bin")),
            file("stories260K/tok512.bin", 6_227, "037cb335abb25d1fa9e8ecae30ed2a3a8ace9302862ebcdc05d51a6bbb10c312",
                Origin::Url("https://huggingface.co/karpathy/tinyllamas/resolve/main/stories260K/tok512.bin")),
        ],
    },
];

/// What there is in a folder of a file in the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Absent,
    /// This many bytes of an unfinished download.
    Partial(u64),
    /// The file.
    Present,
    /// Another file, or another revision of it.
    Changed {
        /// Its length.
        bytes: u64,
        /// Its hash, if it was computed.
        sha256: Option<String>,
    },
}

/// The data set of this name. The error suggests the nearest name.
pub fn find(name: &str) -> Result<&'static Dataset<'static>, FetchError> {
    CATALOGUE.iter().find(|d| d.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
        let nearest = CATALOGUE.iter().map(|d| (edit_distance(name, d.name), d.name)).min();
        let nearest = nearest.filter(|&(edits, n)| edits <= n.len() / 3 + 1).map(|(_, n)| n);
        FetchError::UnknownName { name: name.to_owned(), nearest }
    })
}

/// The Levenshtein distance: how many letters must be inserted, deleted or replaced, at least.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.to_lowercase().chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replace = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = replace.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

impl DataFile<'_> {
    /// What there is in `dir`, by length alone: fast, for a table.
    pub fn state(&self, dir: &Path) -> Result<State, FetchError> {
        let path = dir.join(self.path);
        if let Some(bytes) = file_length(&path)? {
            let changed = State::Changed { bytes, sha256: None };
            return Ok(if bytes == self.bytes { State::Present } else { changed });
        }
        let mut parts = vec![with_suffix(&path, "part")];
        for archive in self.origin.members().iter().map(|m| with_suffix(&path, file_name(m.url))) {
            parts.push(with_suffix(&archive, "part"));
            parts.push(archive);
        }
        let lengths = parts.iter().map(|p| file_length(p)).collect::<Result<Vec<_>, _>>()?;
        let bytes = lengths.into_iter().flatten().sum();
        Ok(if bytes == 0 { State::Absent } else { State::Partial(bytes) })
    }

    /// What there is in `dir`, by sha256.
    pub fn check(&self, dir: &Path) -> Result<State, FetchError> {
        let state = self.state(dir)?;
        let (State::Present | State::Changed { .. }) = state else { return Ok(state) };
        let (bytes, sha256) = hash_file(&dir.join(self.path))?;
        let changed = State::Changed { bytes, sha256: Some(sha256.clone()) };
        Ok(if sha256 == self.sha256 { State::Present } else { changed })
    }
}
