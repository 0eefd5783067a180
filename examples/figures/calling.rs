//! The figure of the chapter about tools.

use anyhow::Result;
use gradus::data::{find, parse_tools, read_text};
use gradus::generate::Guide;
use support::svg::Svg;

/// The tools that are offered.
const OFFERED: [&str; 3] = ["calculator", "clock", "roll_dice"];

const CALL: &str = r#"{"name": "roll_dice", "arguments": {"count": 2, "sides": 20}}"#;

/// How many bytes may come at each place of a call.
pub fn guide() -> Result<String> {
    const CELL: f64 = 10.6;
    const LEFT: f64 = 44.0;
    const TOP: f64 = 48.0;
    const HEIGHT: f64 = 120.0;
    const MOST: f64 = 4.0; // doublings
    let mut tools = parse_tools(&read_text(&find("tools.json")?)?.parse()?)?;
    tools.retain(|tool| OFFERED.contains(&tool.name.as_str()));
    let mut guide = Guide::call(&tools)?;
    let mut counts = Vec::new();
    for byte in CALL.bytes() {
        counts.push((0..=u8::MAX).filter(|&next| guide.accepts(&[next])).count());
        guide.advance(&[byte]);
    }
    let free = counts.iter().filter(|&&count| count > 1).count();
    let mut svg = Svg::new(
        720.0,
        TOP + HEIGHT + 44.0,
        "How many bytes may come at each place of a call",
        &format!(
            "A bar above each of the {} bytes of a call of roll_dice, on a scale of doublings. At most places one byte alone may come, and the \
             bar is missing. There are {free} others: where the name of the tool begins, where an argument may begin or end, and at the numbers.",
            counts.len()
        ),
    );
    svg.text((LEFT, 20.0), "head", "bytes that may come at each place of a call");
    svg.text(
        (LEFT, 36.0),
        "faint small",
        "of three tools: calculator, clock and roll_dice; where there is no bar, it is one",
    );
    let bottom = TOP + HEIGHT;
    for doublings in [0, 2, 4] {
        let y = bottom - HEIGHT * f64::from(doublings) / MOST;
        svg.text((LEFT - 8.0, y + 4.0), "faint small end", &(1 << doublings).to_string());
    }
    for ((at, byte), count) in CALL.bytes().enumerate().zip(counts) {
        let x = LEFT + CELL * at as f64;
        let height = HEIGHT * (count as f64).log2() / MOST;
        if height > 0.0 {
            svg.rect("c0", (x + 1.0, bottom - height), (CELL - 2.0, height), 1.0);
        }
        svg.text((x + CELL / 2.0, bottom + 18.0), "code middle", &char::from(byte).to_string());
    }
    Ok(svg.finish())
}
