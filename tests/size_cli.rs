//! The example `size` as people run it. Times are printed, but no test depends on them.

use std::process::Command;

#[path = "common/program.rs"]
mod program;
#[path = "common/refusal.rs"]
mod refusal;

use program::{Output, example, run};
use refusal::{assert_refused, content};

const PRESETS: [&str; 9] = [
    "tiny",
    "llama",
    "small",
    "medium",
    "microgpt",
    "dialog",
    "translate-classic",
    "translate-modern",
    "sphere",
];

/// A model that takes no time.
const TINY: &str = "--preset microgpt --layers 2 --embd 8 --heads 2 --context 8 --vocab-size 11 --threads 1";

/// Runs it in a folder of its own, in which it leaves nothing.
fn size(options: &str) -> Output {
    let place = tempfile::tempdir().expect("a folder");
    let ended = run(Command::new(example("size")).args(options.split_whitespace()).current_dir(place.path()));
    assert!(content(place.path()).is_empty(), "{options}");
    ended
}

fn printed(options: &str) -> String {
    let ended = size(options);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{options}: {}", ended.stdout);
    ended.stdout
}

/// The figure of a line that begins with this name.
fn figure<'a>(printed: &'a str, name: &str) -> &'a str {
    let line = printed.lines().find_map(|line| line.trim_start().strip_prefix(name));
    let line = line.unwrap_or_else(|| panic!("no line {name:?} in\n{printed}"));
    line.trim().split("  ").next().unwrap_or_default()
}

#[test]
fn the_figures_of_a_small_model() {
    let printed = printed("--preset microgpt --threads 1");
    assert!(printed.starts_with("microgpt: a decoder of 1 layer, 16 wide, 4 heads"), "{printed}");
    assert_eq!(figure(&printed, "all"), "4,192");
    assert_eq!(
        ["token table", "positions", "attention", "head"].map(|part| figure(&printed, part)),
        ["432", "256", "1,024", "432"]
    );
    assert_eq!(figure(&printed, "feed-forward"), "2,048");
    assert_eq!(figure(&printed, "parameters"), "16.8 kB");
    // Twice the weights of the layers and the head; and of 16 tokens, each sees 8.5 on average: 4 · 16 · 8.5.
    assert_eq!(figure(&printed, "products with weights"), "7.01 thousand");
    assert_eq!(figure(&printed, "attention's products"), "544");
    // 2 · 16 · 16 numbers of four bytes.
    assert_eq!(figure(&printed, "cache of keys and values"), "2.05 kB");
    assert_eq!(figure(&printed, "tokens"), "83.8 thousand");
    assert!(printed.contains("a product of matrices, timed for half a second, on one thread"), "{printed}");
}

/// The size that everybody knows, and all parts of it.
#[test]
fn the_figures_of_gpt2() {
    let printed = printed("--context 64 --batch 1");
    // With the whole context they would be 124,439,808: 960 positions more.
    assert_eq!(figure(&printed, "all"), "123,702,528");
    assert!(printed.contains("shares the token table"), "{printed}");
    assert_eq!(figure(&printed, "tokens"), "2.47 billion");
}

#[test]
fn every_preset_in_small() {
    for preset in PRESETS {
        let printed = printed(&format!(
            "--preset {preset} --layers 1 --embd 32 --heads 2 --context 16 --vocab-size 50 --batch 2 --threads 1"
        ));
        let words = [preset, "32 wide", "token table", "together", "three times as many", "Chinchilla"];
        assert!(words.iter().all(|word| printed.contains(word)), "{preset}: {printed}");
        let translates = preset.starts_with("translate");
        assert_eq!(printed.contains("1 + 1 layers"), translates, "{printed}");
        assert_eq!(printed.contains("scales"), preset == "sphere", "{printed}");
    }
}

#[test]
fn real_steps_of_a_microscopic_model() {
    let printed = printed(&format!("{TINY} --measure --steps 3 --batch 2"));
    // Fresh weights know next to nothing: of 11 tokens, ln 11.
    let loss: f64 = figure(&printed, "loss of the first").parse().expect("a number");
    assert!((loss - 11_f64.ln()).abs() < 0.3, "{printed}");
    assert!(
        printed.contains("the median of 2, on one thread") && printed.contains("tokens a second"),
        "{printed}"
    );
    assert!(!cfg!(target_os = "linux") || printed.contains("peak memory"), "{printed}");
    let one = self::printed(&format!("{TINY} --measure --steps 1"));
    assert!(one.contains("one step, on one thread") && one.contains("8 x 8 tokens"), "{one}");
    for preset in ["translate-classic", "sphere"] {
        let sizes = "--layers 1 --embd 16 --heads 2 --context 8 --vocab-size 20 --batch 1 --threads 1";
        let printed = self::printed(&format!("--preset {preset} {sizes} --measure --steps 2"));
        assert!(printed.contains("the median of 1"), "{printed}");
    }
}

#[test]
fn tables() {
    let printed = printed(&format!("{TINY} --markdown"));
    assert!(printed.starts_with("## microgpt: "), "{printed}");
    assert!(
        printed.contains("### Parameters\n\n| what | how much | |\n|---|---:|---|\n| all | "),
        "{printed}"
    );
    let lines = printed.lines().filter(|line| line.starts_with('|'));
    assert!(
        lines.clone().count() > 25 && lines.clone().all(|line| line.matches('|').count() == 4),
        "{printed}"
    );
}

#[test]
fn the_help_says_what_there_is() {
    let help = printed("--help");
    assert!(help.contains("Examples:") && PRESETS.iter().all(|preset| help.contains(preset)), "{help}");
    // Every number has its limit in the help, and one beyond it is refused.
    for option in ["--context", "--vocab-size", "--batch", "--steps", "--threads"] {
        let (_, rest) = help.split_once(&format!("{option} <N>")).expect("the option");
        let own = rest.split("\n      --").next().unwrap_or_default();
        assert!(own.contains("at most"), "{option} has no limit in the help: {own}");
        let ended = size(&format!("--measure {option} 18446744073709551615"));
        assert_refused(&ended, 2, &[option, "it must be a whole number from"], &ended.stderr);
    }
}

/// With adapters, gradient and moments are theirs alone.
#[test]
fn adapters_need_less() {
    let sizes = "--layers 2 --embd 32 --heads 4 --context 16 --vocab-size 50 --batch 2 --threads 1";
    let [whole, adapted] =
        ["", "--lora-rank 4"].map(|lora| printed(&format!("--preset llama {sizes} {lora}")));
    // A rank of 4, and the sides of q, k, v, o (four heads each) and of gate, up, down in two layers.
    let trained = 2 * 4 * (4 * (32 + 32) + 3 * (32 + 96));
    assert_eq!(figure(&adapted, "trained"), "5,120");
    assert_eq!(trained, 5120);
    assert!(!whole.contains("trained"), "{whole}");
    let number =
        |printed: &str, name| figure(printed, name).replace(',', "").parse::<usize>().expect("a number");
    assert_eq!(number(&adapted, "all"), number(&whole, "all") + trained);
    assert_eq!(
        (figure(&adapted, "gradient"), figure(&adapted, "AdamW's two moments")),
        ("20.5 kB", "41.0 kB")
    );
    assert!(whole.contains("Chinchilla") && !adapted.contains("Chinchilla"));
    // Where there is no gate, attention alone has adapters.
    let printed = printed(&format!("{TINY} --lora-rank 2 --measure --steps 2"));
    assert_eq!(figure(&printed, "trained"), format!("{}", 2 * 2 * 4 * (8 + 8)));
    assert!(printed.contains("loss of the first") && !printed.contains("Chinchilla"), "{printed}");
    let ended = size("--preset sphere --lora-rank 2");
    assert_refused(&ended, 2, &["--lora-rank", "sphere"], "a sphere with adapters");
}

#[test]
fn sizes_that_make_no_model() {
    for (options, words) in [
        ("--heads 7", ["7 heads", "768"]),
        ("--layers 1000000000", ["more parameters than", "2³²"]),
        ("--embd 18446744073709551615", ["more parameters than", "2³²"]),
        ("--layers 20000 --embd 8 --heads 1 --vocab-size 10", ["20000 layers", "10000"]),
        ("--preset sphere --embd 12 --heads 4", ["rotary positions", "even width"]),
        ("--preset translate-classic --heads 3", ["3 heads", "256"]),
        ("--embd 0", ["--embd", "at least 1"]),
        ("--preset huge", ["huge", "small"]),
        ("--steps 2", ["--measure", "required"]),
    ] {
        let ended = size(options);
        assert_refused(&ended, 2, &words, &format!("{options}: {}", ended.stderr));
        assert_eq!(ended.stdout, "", "{options}");
    }
}

/// A step that does not fit into memory is refused before it is tried, but what it would need is printed.
#[cfg(target_os = "linux")]
#[test]
fn steps_that_do_not_fit() {
    let ended = size("--preset dialog --context 1048576 --batch 4096 --measure --threads 1");
    assert_refused(&ended, 2, &["GB of memory", "--batch"], &ended.stderr);
    assert!(ended.stdout.contains("together") && !ended.stdout.contains("Measured"), "{}", ended.stdout);
}
