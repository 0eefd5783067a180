//! Checkpoints of llama2.c: what another hand wrote is read number by number, tied and untied; files that are cut off, damaged,
//! or lie are errors that name the byte or the piece, and no reason to ask for more memory than the file accounts for.

use std::fs;
use std::path::Path;

use gradus::checkpoint::{FolderError, LanguageModel, llama2c};
use gradus::random::Random;
use gradus::tokenizer::{PieceKind, TokenizerSpec};

#[path = "common/allocator.rs"]
mod allocator;
#[path = "common/llama2c_files.rs"]
mod llama2c_files;

use llama2c_files::{model, tokenizer, written};

/// Reads files of these bytes. Errors name the file and what to do, and memory is asked for in proportion to the files.
fn read(folder: &Path, checkpoint: &[u8], tokenizer: &[u8]) -> Result<LanguageModel, String> {
    let paths = ["model.bin", "tokenizer.bin"].map(|name| folder.join(name));
    for (path, bytes) in paths.iter().zip([checkpoint, tokenizer]) {
        fs::remove_file(path).ok();
        fs::write(path, bytes).expect("the file can be written");
    }
    let (result, _, largest) = allocator::count_allocations(|| llama2c::import(&paths[0], &paths[1]));
    let enough = (1 << 17) + 8 * (checkpoint.len() + tokenizer.len());
    assert!(largest <= enough, "{largest} bytes for files of {} and {}", checkpoint.len(), tokenizer.len());
    result.map_err(|error| {
        assert!(matches!(error, FolderError::Wrong { .. }), "{error}");
        let text = error.to_string();
        assert!(paths.iter().any(|path| text.contains(&path.display().to_string())), "{text}");
        text
    })
}

#[test]
fn what_another_hand_wrote_is_read_number_by_number() {
    let folder = tempfile::tempdir().expect("a folder");
    for tied in [true, false] {
        let (model, params) = model(tied);
        let read = read(folder.path(), &written(&model, &params), &tokenizer()).expect("a checkpoint");
        assert_eq!(read.model.config(), model.config());
        assert_eq!(read.params, params);
        assert_eq!(
            (read.tokens.bos, read.tokens.add_bos, &read.tokens.eos[..]),
            (Some(1), true, &[2, 1][..])
        );
        let Ok(TokenizerSpec::Pieces(spec)) = &read.tokenizer else { panic!("{:?}", read.tokenizer) };
        let piece = |id: usize| (spec.pieces[id].text.as_str(), spec.pieces[id].kind, spec.pieces[id].score);
        assert_eq!(piece(0), ("<unk>", PieceKind::Unknown, 0.0));
        assert_eq!(piece(2), ("</s>", PieceKind::Control, 0.0));
        assert_eq!(piece(258), ("<0xFF>", PieceKind::Byte, 0.0));
        assert_eq!(piece(260), ("bé", PieceKind::Normal, -2.0));
        let tokenizer = read.tokenizer.expect("pieces").build().expect("a tokenizer");
        assert_eq!(tokenizer.encode("a b").expect("any text"), [259, 261, 263]);
    }
}

#[test]
fn every_truncation_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, params) = model(true);
    let (checkpoint, tokenizer) = (written(&model, &params), tokenizer());
    // Every length of the header and some beyond, and every one of the tokenizer.
    for length in (0..60).chain((60..checkpoint.len()).step_by(97)).chain([checkpoint.len() - 1]) {
        read(folder.path(), &checkpoint[..length], &tokenizer).expect_err("cut off");
    }
    for length in 0..tokenizer.len() {
        read(folder.path(), &checkpoint, &tokenizer[..length]).expect_err("cut off");
    }
    let longer = |bytes: &[u8]| [bytes, &[0]].concat();
    assert!(
        read(folder.path(), &longer(&checkpoint), &tokenizer).expect_err("too long").contains("there are")
    );
    assert!(
        read(folder.path(), &checkpoint, &longer(&tokenizer))
            .expect_err("too long")
            .contains("1 bytes are left")
    );
}

#[test]
fn headers_that_lie_are_errors() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, params) = model(true);
    let bytes = written(&model, &params);
    let lie = |at: usize, value: i32| {
        let mut bytes = bytes.clone();
        bytes[4 * at..][..4].copy_from_slice(&value.to_le_bytes());
        read(folder.path(), &bytes, &tokenizer()).expect_err("a lie")
    };
    for (at, value, words) in [
        (0, 0, "dim, at byte 0, is 0"),
        (0, 13, "n_heads is 3, which does not divide dim, 13"),
        (0, i32::MAX, "n_heads is 3, which does not divide dim"),
        (1, i32::MAX - 1, "more parameters than"),
        (2, 3, "numbers of 4 bytes"),
        (2, i32::MAX, "more parameters than"),
        (3, -1, "n_heads, at byte 12, is -1"),
        (4, 2, "2 key heads do not divide 3"),
        (5, i32::MIN, "vocab_size, at byte 20"),
        (5, 1000, "numbers of 4 bytes"),
        (6, i32::MAX, "more parameters than"),
        (6, 7, "numbers of 4 bytes"),
        (0, 0x616b_3432, "it is of version 5"),
    ] {
        let text = lie(at, value);
        assert!(text.contains(words), "{text:?} does not say {words:?}");
    }
    let mut infinite = bytes.clone();
    infinite[28 + 40..][..4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    let text = read(folder.path(), &infinite, &tokenizer()).expect_err("no number");
    assert!(text.contains("model.embed_tokens.weight holds inf at place 10"), "{text}");
    let tokenizer = tokenizer();
    for (at, value, words) in [
        (8, 100_i32, "piece 0 is 100 bytes long, and the longest is to be 7"),
        (8, -1, "piece 0 is -1 bytes long"),
        (8, 6, "piece 1"),
        (4, f32::NAN.to_bits() as i32, "has the score NaN"),
    ] {
        let mut lie = tokenizer.clone();
        lie[at..][..4].copy_from_slice(&value.to_le_bytes());
        let text = read(folder.path(), &bytes, &lie).expect_err("a lie");
        assert!(text.contains(words), "{text:?} does not say {words:?}");
    }
}

#[test]
fn mutations_are_errors_or_harmless() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, params) = model(false);
    let (checkpoint, tokenizer) = (written(&model, &params), tokenizer());
    let mut random = Random::new(21);
    let mut errors = 0;
    for _ in 0..1500 {
        let mut files = [checkpoint.clone(), tokenizer.clone()];
        // The header as often as all the rest.
        let (file, most) = [(0, 28), (0, checkpoint.len()), (1, tokenizer.len())][random.below(3)];
        for _ in 0..1 + random.below(4) {
            files[file][random.below(most)] = random.below(256) as u8;
        }
        errors += usize::from(read(folder.path(), &files[0], &files[1]).is_err());
    }
    assert!((300..1500).contains(&errors), "{errors} errors");
}
