//! A drawing of where a translation looks: for each block and head, a row of cells for each of its tokens, a column for each token
//! of the source, the stronger the more attention it gets.

use anyhow::Result;
use gradus::fast::InferenceEngine;
use support::svg::Svg;

use crate::interpreter::{Interpreter, Looks, Translation};

/// The side of a cell, in pixels.
const CELL: f64 = 18.0;

/// The room for a character of a label.
const CHARACTER: f64 = 7.5;

/// The drawing, as SVG.
pub fn draw(
    interpreter: &Interpreter<'_, InferenceEngine>,
    sentence: &str,
    translation: &Translation,
) -> Result<String> {
    let looks = interpreter.look(sentence, &translation.tokens)?;
    let heads_of_a_block = looks.heads.iter().filter(|(layer, ..)| *layer == 0).count();
    let blocks = looks.heads.len() / heads_of_a_block.max(1);
    let longest = |words: &[String]| {
        CHARACTER * words.iter().map(|word| shown(word).chars().count()).max().unwrap_or(0) as f64 + 8.0
    };
    let (left, top) = (longest(&looks.target), longest(&looks.source) + 24.0);
    let (rows, cols) = (looks.target.len() as f64, looks.source.len() as f64);
    let (width, height) = (left + cols * CELL + 16.0, top + rows * CELL + 12.0);
    let title = format!("{sentence} → {}", translation.text);
    let mut svg = Svg::new(
        16.0 + width * heads_of_a_block as f64,
        40.0 + height * blocks as f64,
        "Where a translation looks",
        &describe(&looks),
    );
    svg.text((16.0, 26.0), "head", &title);
    for (layer, head, probabilities) in &looks.heads {
        let (x, y) = (16.0 + width * *head as f64, 40.0 + height * *layer as f64);
        svg.text((x + left, y + 14.0), "small faint", &format!("block {}, head {}", layer + 1, head + 1));
        for (col, word) in looks.source.iter().enumerate() {
            let place = (x + left + (col as f64 + 0.65) * CELL, y + top - 6.0);
            svg.upward(place, "code", &shown(word));
        }
        for (row, word) in looks.target.iter().enumerate() {
            let middle = y + top + (row as f64 + 0.7) * CELL;
            svg.text((x + left - 6.0, middle), "code end", &shown(word));
            for (col, p) in probabilities[row * looks.source.len()..][..looks.source.len()].iter().enumerate()
            {
                let place = (x + left + col as f64 * CELL, y + top + row as f64 * CELL);
                svg.cell(place, (CELL - 1.0, CELL - 1.0), *p);
            }
        }
    }
    Ok(svg.finish())
}

/// A token as a label: its spaces can be seen.
fn shown(word: &str) -> String {
    word.replace(' ', "␣")
}

/// In words: what each token looks at most, on average over all heads.
fn describe(looks: &Looks) -> String {
    let cols = looks.source.len();
    let mean = |row: usize, col: usize| -> f64 {
        looks.heads.iter().map(|(.., p)| p[row * cols + col]).sum::<f64>() / looks.heads.len() as f64
    };
    let most = |row: usize| (0..cols).max_by(|&a, &b| mean(row, a).total_cmp(&mean(row, b))).unwrap_or(0);
    let words = looks.target.iter().enumerate().map(|(row, word)| {
        let at = most(row);
        format!("{} looks most at {} ({:.0} %)", word.trim(), looks.source[at].trim(), 100.0 * mean(row, at))
    });
    words.collect::<Vec<_>>().join(", ")
}
