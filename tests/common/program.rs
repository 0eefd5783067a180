//! Runs the examples as programs.

use std::env::{consts::EXE_SUFFIX, current_exe};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A built example. A test lies in `target/<profile>/deps`, the examples in `target/<profile>/examples`.
pub fn example(name: &str) -> PathBuf {
    let test = current_exe().expect("the path of this test");
    let profile = test.parent().and_then(Path::parent).expect("a test lies in a folder of its profile");
    let path = profile.join("examples").join(format!("{name}{EXE_SUFFIX}"));
    assert!(
        path.exists(),
        "{} is not built: a plain `cargo test` builds it, and so does `cargo build --examples`",
        path.display()
    );
    path
}

/// The exit code and output of a program.
#[derive(Debug)]
pub struct Output {
    /// The exit code; `None` if a signal killed it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A program that has not ended after this time hangs. Far longer than any test takes on any machine.
pub const LIMIT: Duration = Duration::from_secs(600);

/// Runs a program to its end. One that hangs is killed, so that it does not stop all tests.
pub fn run(command: &mut Command) -> Output {
    let folder = tempfile::tempdir().expect("a folder for the output");
    let (out, err) = (folder.path().join("out"), folder.path().join("err"));
    let create = |path: &Path| File::create(path).expect("a file for the output");
    let child = command.stdin(Stdio::null()).stdout(create(&out)).stderr(create(&err)).spawn();
    let mut child = child.expect("it can be started");
    let read = |path| String::from_utf8(fs::read(path).expect("the output")).expect("UTF-8");
    let start = Instant::now();
    while start.elapsed() < LIMIT {
        if let Some(status) = child.try_wait().expect("its status") {
            return Output { code: status.code(), stdout: read(&out), stderr: read(&err) };
        }
        sleep(Duration::from_millis(2)); // and look again
    }
    child.kill().ok();
    child.wait().ok();
    panic!("{command:?} does not end. Its output:\n{}{}", read(&out), read(&err));
}
