//! Inside the trained model, while it reads a name.

use support::svg::Svg;

use crate::trained::Look;

/// What each head looks at: a table of probabilities for each.
pub fn attention(look: &Look) -> String {
    const CELL: (f64, f64) = (38.0, 24.0);
    let n = look.tokens.len();
    let (width, height) = (CELL.0 * n as f64, CELL.1 * n as f64);
    let strongest = |head: &Vec<Vec<f64>>| {
        let row = head.last().map_or(&[][..], |row| row);
        let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0);
        format!("{} takes {:.0} % of {}", look.tokens[n - 1], 100.0 * row[best], look.tokens[best])
    };
    let said: Vec<_> = look
        .attention
        .iter()
        .enumerate()
        .map(|(at, head)| format!("head {}: {}", at + 1, strongest(head)))
        .collect();
    let description = format!(
        "Four tables, one for each head, with a row for each token that asks and a column for each that it may \
         look at, in percent. The upper triangle is empty: no token sees a later one. In the last row, {}.",
        said.join("; ")
    );
    let mut svg =
        Svg::new(720.0, 2.0 * (height + 78.0) + 4.0, "What four attention heads look at", &description);
    for (at, head) in look.attention.iter().enumerate() {
        let left = 64.0 + (at % 2) as f64 * (width + 76.0);
        let top = 62.0 + (at / 2) as f64 * (height + 78.0);
        svg.text((left, top - 32.0), "head", &format!("head {}", at + 1));
        svg.text((left + width, top - 32.0), "faint small end", "percent");
        for (query, row) in head.iter().enumerate() {
            let y = top + CELL.1 * query as f64;
            svg.text((left - 8.0, y + 16.0), "code end", &look.tokens[query]);
            svg.text((left + CELL.0 * (query as f64 + 0.5), top - 8.0), "code middle", &look.tokens[query]);
            for (key, &share) in row.iter().enumerate() {
                let x = left + CELL.0 * key as f64;
                svg.cell((x + 0.5, y + 0.5), (CELL.0 - 1.0, CELL.1 - 1.0), share.max(0.04));
                let class = if share > 0.75 { "small middle light" } else { "small middle" };
                svg.text((x + CELL.0 / 2.0, y + 16.0), class, &format!("{:.0}", 100.0 * share));
            }
        }
    }
    svg.finish()
}

/// The residual stream of the last token: sixteen numbers, to which attention and the MLP add something.
pub fn residual(look: &Look) -> String {
    const LEFT: f64 = 200.0;
    const CELL: f64 = 26.0;
    const TOP: f64 = 46.0;
    let last = look.tokens.len() - 1;
    let rows: Vec<_> = look.stream.iter().map(|(name, x)| (*name, &x[last])).collect();
    let most = rows.iter().flat_map(|(_, x)| x.iter()).fold(0.0_f64, |most, x| most.max(x.abs()));
    let size = |x: &[f64]| (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64).sqrt();
    let mut likely: Vec<_> = (0..look.vocabulary.len()).collect();
    likely.sort_by(|&a, &b| look.next[last][b].total_cmp(&look.next[last][a]));
    let likely: Vec<_> =
        likely.iter().take(5).map(|&at| (&look.vocabulary[at], look.next[last][at])).collect();
    let sizes: Vec<_> = rows.iter().map(|(name, x)| format!("{name}: {:.2}", size(x))).collect();
    let next: Vec<_> = likely.iter().map(|(token, p)| format!("{token} {:.0} %", 100.0 * p)).collect();
    let read: String = look.tokens[1..].concat();
    let description = format!(
        "The sixteen numbers of the last token of {read} as colored cells, in five rows, with the root of their mean \
         square. {}. From the last row the output layer predicts: {}.",
        sizes.join("; "),
        next.join(", ")
    );
    let mut svg = Svg::new(720.0, 330.0, "The residual stream of one token", &description);
    svg.text(
        (LEFT, 24.0),
        "small faint",
        &format!(
            "the 16 numbers of the last letter of \u{201c}{read}\u{201d}: blue is positive, orange negative"
        ),
    );
    svg.text((700.0, 24.0), "small faint end", "size");
    for (at, (name, x)) in rows.iter().enumerate() {
        let y = TOP + 40.0 * at as f64;
        let added = at % 2 == 1;
        let sign = ["", "+", "=", "+", "="][at];
        svg.text((LEFT - 12.0, y + 18.0), "head end", sign);
        svg.text((LEFT - 30.0, y + 18.0), if added { "t1 end" } else { "end" }, name);
        for (col, value) in x.iter().enumerate() {
            let left = LEFT + CELL * col as f64;
            svg.rect("grid", (left + 0.5, y + 0.5), (CELL - 1.0, CELL - 1.0), 2.0);
            svg.cell((left + 0.5, y + 0.5), (CELL - 1.0, CELL - 1.0), value / most);
        }
        svg.text((700.0, y + 18.0), "end", &format!("{:.2}", size(x)));
        if !added && at + 1 < rows.len() {
            svg.arrow(&[(LEFT + CELL * 16.0 + 14.0, y + 17.0), (LEFT + CELL * 16.0 + 14.0, y + 88.0)]);
        }
    }
    let y = TOP + 40.0 * rows.len() as f64 + 12.0;
    svg.arrow(&[(LEFT + CELL * 8.0, y - 22.0), (LEFT + CELL * 8.0, y - 2.0)]);
    svg.text((LEFT - 30.0, y + 22.0), "end", "output layer, softmax");
    for (at, (token, p)) in likely.iter().enumerate() {
        let x = LEFT + 84.0 * at as f64;
        svg.rect("green", (x, y + 3.0), (76.0, 28.0), 6.0);
        svg.text((x + 38.0, y + 22.0), "middle", &format!("{token} {:.0} %", 100.0 * p));
    }
    svg.text((700.0, y + 22.0), "end faint", "…");
    svg.finish()
}

/// The gradient of the loss toward the logits: what was predicted, minus what should have been.
pub fn gradient(look: &Look) -> String {
    const LEFT: f64 = 92.0;
    const STEP: f64 = 22.4;
    const HEIGHT: f64 = 84.0;
    let at = look.tokens.len() - 2; // the last letter is to be predicted
    let (p, target) = (&look.next[at], look.targets[at]);
    let truth: Vec<_> = (0..p.len()).map(|token| f64::from(u8::from(token == target))).collect();
    let gradient: Vec<_> = p.iter().zip(&truth).map(|(p, t)| p - t).collect();
    let (read, letter) = (look.tokens[1..=at].concat(), &look.vocabulary[target]);
    let mut svg = Svg::new(
        720.0,
        396.0,
        "The gradient of the logits is the prediction minus the truth",
        &format!(
            "Bars for the {} tokens that may follow {read}. First the probabilities p that the model gives them, \
             {:.2} for {letter}; then the truth t, which is 1 for {letter} and 0 for all others; then the \
             gradient p - t: {:.2} for {letter}, and p for all others.",
            p.len(),
            p[target],
            gradient[target]
        ),
    );
    let title =
        format!("after \u{201c}{read}\u{201d}: what the model predicts, what comes, and the difference");
    svg.text((LEFT, 24.0), "small faint", &title);
    for (name, class, values, base) in
        [("p", "c0", p, 108.0), ("t", "c2", &truth, 222.0), ("p - t", "c1", &gradient, 276.0)]
    {
        svg.text((LEFT - 16.0, base + 4.0), "head end", name);
        svg.line("flow", &[(LEFT, base), (LEFT + STEP * p.len() as f64, base)]);
        for (token, &value) in values.iter().enumerate() {
            let (x, height) = (LEFT + STEP * (token as f64 + 0.5) - 7.0, value * HEIGHT);
            svg.rect(class, (x, base - height.max(0.0)), (14.0, height.abs()), 1.0);
        }
        let x = LEFT + STEP * (target as f64 + 0.5);
        let y = base - values[target] * HEIGHT + if values[target] < 0.0 { 16.0 } else { -6.0 };
        svg.text((x, y), "small middle", &format!("{:.2}", values[target]));
    }
    for (token, name) in look.vocabulary.iter().enumerate() {
        let class = if token == target { "code head middle" } else { "code faint middle" };
        let name = if name == "BOS" { "." } else { name };
        svg.text((LEFT + STEP * (token as f64 + 0.5), 382.0), class, name);
    }
    svg.finish()
}
