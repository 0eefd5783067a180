//! The examples as the programs that people run.

use std::env::{consts::EXE_SUFFIX, current_exe};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// A built example. A test lies in `target/<profile>/deps`, the examples in `target/<profile>/examples`.
pub fn example(name: &str) -> PathBuf {
    let test = current_exe().expect("a test knows where it is");
    let profile = test.parent().and_then(Path::parent).expect("a test lies in a folder of its profile");
    let path = profile.join("examples").join(format!("{name}{EXE_SUFFIX}"));
    assert!(
        path.exists(),
        "{} is not built: a plain `cargo test` builds it, and so does `cargo build --examples`",
        path.display()
    );
    path
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` if a signal killed it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a program to its end. One that does not come to an end within two minutes is killed: an error that
/// would otherwise stop all tests.
pub fn run(command: &mut Command) -> Ended {
    let folder = tempfile::tempdir().expect("a folder for what it says");
    let (out, err) = (folder.path().join("out"), folder.path().join("err"));
    let pipe = |path: &Path| File::create(path).expect("a file for what it says");
    let child = command.stdin(Stdio::null()).stdout(pipe(&out)).stderr(pipe(&err)).spawn();
    let mut child = child.expect("it can be started");
    let said = |path| String::from_utf8(fs::read(path).expect("what it said")).expect("it speaks UTF-8");
    for _ in 0..60_000 {
        if let Some(status) = child.try_wait().expect("it can be waited for") {
            return Ended { code: status.code(), stdout: said(&out), stderr: said(&err) };
        }
        sleep(Duration::from_millis(2));
    }
    child.kill().ok();
    child.wait().ok();
    panic!("{command:?} does not come to an end. It said:\n{}{}", said(&out), said(&err));
}
