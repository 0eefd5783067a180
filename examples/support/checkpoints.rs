//! What a run has been on its way: a folder `checkpoint-N` for each validation, with the model of step N and all that is needed to
//! go on from there. The newest stay, and the best.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use gradus::train;

const NAME: &str = "checkpoint-";

/// The folder of a step within that of its run.
pub fn place(folder: &Path, step: usize) -> PathBuf {
    folder.join(format!("{NAME}{step}"))
}

/// The step of a folder, if it is one of these by its name.
pub fn step_of(folder: &Path) -> Option<usize> {
    folder.file_name().and_then(OsStr::to_str)?.strip_prefix(NAME)?.parse().ok()
}

/// Makes the folder of a step: `write` writes it under another name, and it gets its own in one instant. The state of the run,
/// which was just saved, comes into it without being written again where the system can do that.
pub fn add(folder: &Path, step: usize, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let (place, part) = (place(folder, step), folder.join(format!(".{NAME}{step}.part")));
    let unwritable = || format!("{} cannot be written", place.display());
    remove(&part).with_context(unwritable)?; // what a run that was killed left behind
    fs::create_dir_all(&part).with_context(unwritable)?;
    write(&part)?;
    let [from, to] = [folder, &part].map(|folder| folder.join(train::STATE_FILE));
    // A second name for the same file, which stays as it is: the next state of the run is another file.
    fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(|_| ())).with_context(unwritable)?;
    remove(&place).and_then(|()| fs::rename(&part, &place)).with_context(unwritable)
}

/// Removes all of `steps` but the newest `keep` and the best, from the disk and from the list.
pub fn thin_out(folder: &Path, steps: &mut Vec<usize>, keep: usize, best: Option<usize>) -> Result<()> {
    let newest = steps.len().saturating_sub(keep);
    let mut old = steps[..newest].to_vec();
    old.retain(|step| Some(*step) != best);
    for step in &old {
        let place = place(folder, *step);
        remove(&place).with_context(|| format!("{} cannot be removed", place.display()))?;
    }
    steps.retain(|step| !old.contains(step));
    Ok(())
}

/// Removes those of a run that is replaced: all that have its state in them.
pub fn remove_all(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if step_of(&path).is_some() && path.join(train::STATE_FILE).exists() {
            remove(&path).with_context(|| format!("{} cannot be removed", path.display()))?;
        }
    }
    Ok(())
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stay_and_the_best() {
        let folder = std::env::temp_dir().join(format!("gradus-checkpoints-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(train::STATE_FILE), "state").unwrap();
        let mut steps = Vec::new();
        for step in [10, 20, 30, 40, 50] {
            add(&folder, step, |part| Ok(fs::write(part.join("model"), step.to_string())?)).unwrap();
            steps.push(step);
            thin_out(&folder, &mut steps, 2, Some(20)).unwrap();
        }
        assert_eq!(steps, [20, 40, 50]);
        let there = |step| place(&folder, step).join(train::STATE_FILE).exists();
        assert_eq!([10, 20, 30, 40, 50].map(there), [false, true, false, true, true]);
        // Written once more, it is replaced. What does not work leaves it as it was.
        add(&folder, 50, |part| Ok(fs::write(part.join("model"), "more")?)).unwrap();
        add(&folder, 50, |_| anyhow::bail!("a full disk")).unwrap_err();
        assert_eq!(fs::read_to_string(place(&folder, 50).join("model")).unwrap(), "more");
        fs::create_dir_all(folder.join("checkpoint-of-mine")).unwrap();
        fs::create_dir_all(folder.join("checkpoint-7")).unwrap();
        remove_all(&folder).unwrap();
        let mut left: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".checkpoint-50.part", "checkpoint-7", "checkpoint-of-mine", train::STATE_FILE]);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_name_says_the_step() {
        assert_eq!(step_of(Path::new("some/checkpoint-500")), Some(500));
        assert_eq!(step_of(Path::new("some/checkpoint-x")), None);
        assert_eq!(step_of(&place(Path::new("."), 3)), Some(3));
    }
}
