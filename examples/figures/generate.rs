//! Generation: what a cache saves.

use support::svg::Svg;

/// Reading a name letter by letter, without a cache and with one.
pub fn cache() -> String {
    const CELL: f64 = 27.0;
    const TOP: f64 = 84.0;
    let tokens = [".", "a", "r", "i", "e", "l", "l", "a"];
    let n = tokens.len();
    let mut svg = Svg::new(
        720.0,
        360.0,
        "Tokens that go through the model, without a cache and with one",
        "Two tables with a row for each token that is read, and in it a cell for each token of the name so far. \
         Without a cache all of them go through the model each time: 36 in all. With a cache only the last of \
         each row does, 8 in all, and the keys and values of the others are read from the cache.",
    );
    for (side, (title, cached)) in
        [("without a cache", false), ("with a cache", true)].into_iter().enumerate()
    {
        let left = 76.0 + 350.0 * side as f64;
        let computed = if cached { n } else { n * (n + 1) / 2 };
        svg.text((left, 28.0), "head", title);
        svg.text((left, 48.0), "faint small", &format!("{computed} tokens through the model"));
        for (step, token) in tokens.iter().enumerate() {
            let y = TOP + CELL * step as f64;
            svg.text((left + CELL * (step as f64 + 0.5), TOP - 8.0), "code middle", token);
            svg.text((left - 12.0, y + 18.0), "code end", token);
            for key in 0..=step {
                let x = left + CELL * key as f64;
                if cached && key < step {
                    svg.rect("plain", (x + 1.0, y + 1.0), (CELL - 2.0, CELL - 2.0), 3.0);
                } else {
                    svg.rect("c0", (x + 1.0, y + 1.0), (CELL - 2.0, CELL - 2.0), 3.0);
                }
            }
        }
        svg.text((left - 12.0, TOP - 8.0), "faint small end", "reads");
    }
    let y = TOP + CELL * n as f64 + 24.0;
    svg.rect("c0", (76.0, y), (14.0, 14.0), 3.0);
    svg.text((98.0, y + 12.0), "small", "goes through the model");
    svg.rect("plain", (276.0, y), (14.0, 14.0), 3.0);
    svg.text((298.0, y + 12.0), "small", "its key and value are in the cache");
    svg.text((706.0, y + 12.0), "faint small end", ". is BOS");
    svg.finish()
}
