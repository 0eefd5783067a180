//! The model from outside: what it is for, and what it is made of.

use gradus::model::Model;
use support::svg::{Point, Svg};

use crate::trained::Trained;
use crate::{NAME, thousands};

/// From a file of names to a new name.
pub fn pipeline(trained: &Trained) -> String {
    const SIZE: Point = (126.0, 70.0);
    let x = |column: usize| 14.0 + 141.5 * column as f64;
    let (middle, center) = (|column: usize| x(column) + SIZE.0 / 2.0, |top: f64| top + SIZE.1 / 2.0);
    let (forward, back, new) = (42.0, 172.0, 302.0);
    let (n, vocab, width) = (NAME.len() + 1, trained.names.vocab_size(), trained.model.config().n_embd);
    let mut svg = Svg::new(
        720.0,
        388.0,
        "From a file of names to a new name",
        "Forward: a name becomes tokens, then vectors of 16 numbers; a decoder block of attention and MLP and an \
         output layer turn them into scores, the logits, for each letter that may come next. Training: the loss \
         says how wrong they were, backward finds the gradient of every parameter, and Adam moves the parameters \
         a little. Sampling: softmax turns the scores into probabilities, a letter is drawn and read in turn, \
         until the name is complete.",
    );
    let tokens: String = NAME.chars().flat_map(|c| [' ', c]).collect();
    svg.text((14.0, 26.0), "faint small", "forward: what the model predicts");
    svg.labelled("blue", (x(0), forward), SIZE, &["names.txt", NAME, "a name a line"]);
    svg.labelled("blue", (x(1), forward), SIZE, &["tokens", &format!("BOS{tokens}"), &format!("[{n}]")]);
    let shape = format!("[{n}, {width}]");
    svg.labelled("blue", (x(2), forward), SIZE, &["embeddings", "token, position", &shape]);
    svg.labelled("blue", (x(3), forward), SIZE, &["decoder block", "attention, MLP", &shape]);
    svg.labelled("blue", (x(4), forward), SIZE, &["logits", "a score a letter", &format!("[{n}, {vocab}]")]);
    for column in 0..4 {
        svg.arrow(&[(x(column) + SIZE.0, center(forward)), (x(column + 1) - 1.0, center(forward))]);
    }
    svg.text((14.0, back + 22.0), "faint small", "training:");
    svg.text((14.0, back + 38.0), "faint small", "a thousand times, one name after another");
    svg.labelled("yellow", (x(4), back), SIZE, &["loss", "-ln p(next)", "one number"]);
    svg.labelled("yellow", (x(3), back), SIZE, &["backward", "the chain rule", "a gradient for each"]);
    let params = format!("of {} parameters", thousands(trained.params.len()));
    svg.labelled("yellow", (x(2), back), SIZE, &["Adam", "a small step", &params]);
    svg.arrow(&[(middle(4), forward + SIZE.1), (middle(4), back - 1.0)]);
    svg.arrow(&[(x(4), center(back)), (x(3) + SIZE.0 + 1.0, center(back))]);
    svg.arrow(&[(x(3), center(back)), (x(2) + SIZE.0 + 1.0, center(back))]);
    svg.arrow(&[(middle(2), back), (middle(2), forward + SIZE.1 + 1.0)]);
    svg.arrow(&[(middle(2), back - 28.0), (middle(3), back - 28.0), (middle(3), forward + SIZE.1 + 1.0)]);
    svg.text((14.0, new + 22.0), "faint small", "sampling:");
    svg.text((14.0, new + 38.0), "faint small", "after the training");
    svg.labelled(
        "green",
        (x(4), new),
        SIZE,
        &["softmax", "probabilities", &format!("{vocab} that sum to 1")],
    );
    svg.labelled("green", (x(3), new), SIZE, &["draw", "one letter", "at random"]);
    svg.labelled("green", (x(1), new), SIZE, &["a new name", &trained.invented, "when BOS is drawn"]);
    // From the logits down on the right, past the loss.
    let edge = x(4) + SIZE.0;
    svg.line("flow", &[(edge, center(forward)), (edge + 8.0, center(forward)), (edge + 8.0, center(new))]);
    svg.arrow(&[(edge + 8.0, center(new)), (edge + 1.0, center(new))]);
    svg.arrow(&[(x(4), center(new)), (x(3) + SIZE.0 + 1.0, center(new))]);
    svg.arrow(&[(x(3), center(new)), (x(1) + SIZE.0 + 1.0, center(new))]);
    svg.text((middle(2), center(new) - 8.0), "faint small middle", "read it, again");
    svg.finish()
}

/// The decoder, with every matrix drawn to scale.
pub fn block(trained: &Trained) -> String {
    const SIDE: f64 = 4.5;
    const STREAM: f64 = 62.0;
    let config = trained.model.config();
    let (n, width, inner, vocab) = (NAME.len() + 1, config.n_embd, config.n_ffn, trained.model.vocab_size());
    let (heads, d) = (config.n_head, config.head_dim());
    let height = n as f64 * SIDE;
    let mut svg = Svg::new(
        720.0,
        628.0,
        "The decoder, with the shapes of its matrices",
        &format!(
            "From top to bottom: {n} tokens become the residual stream, a matrix of {n} × {width}. Attention \
             reads a normalised copy, makes queries, keys and values of {n} × {width}, cuts them into {heads} \
             heads of width {d}, each with probabilities of {n} × {n} below its diagonal, and adds its output to \
             the stream. The MLP reads a normalised copy, widens it to {n} × {inner}, applies ReLU, goes back to \
             {n} × {width} and adds that. The output layer makes logits of {n} × {vocab}."
        ),
    );
    let shape = |cols: usize| format!("[{n}, {cols}]");
    let matrix = |svg: &mut Svg, class, (x, y): Point, cols: usize, name: &str| {
        svg.matrix(class, (x, y), (n, cols), SIDE);
        svg.text((x, y - 7.0), "small", name);
        svg.text((x, y + height + 14.0), "small faint", &shape(cols));
    };
    let (middle, w) = (height / 2.0, width as f64 * SIDE);

    // The stream, from the embeddings down.
    let top = 34.0;
    svg.text((150.0, top + 12.0), "small", "embedding of each token + of each position, normalised");
    svg.text(
        (150.0, top + 28.0),
        "small faint",
        &format!("tables of {vocab} × {width} and {} × {width}", config.context),
    );
    matrix(&mut svg, "blue", (STREAM - w / 2.0, top), width, "x");
    let (attention, attention_sum, mlp, mlp_sum, end) = (116.0, 336.0, 376.0, 494.0, 566.0);
    svg.arrow(&[(STREAM, top + height + 20.0), (STREAM, attention_sum - 11.0)]);
    svg.arrow(&[(STREAM, attention_sum + 10.0), (STREAM, mlp_sum - 11.0)]);
    svg.arrow(&[(STREAM, mlp_sum + 10.0), (STREAM, end - 22.0)]);

    // Attention.
    let y = attention + 82.0;
    svg.text((150.0, attention), "head", "attention");
    svg.text((150.0 + 76.0, attention), "small faint", "the tokens exchange information");
    svg.arrow(&[(STREAM, y + middle), (148.0, y + middle)]);
    matrix(&mut svg, "blue", (150.0, y), width, "RMSNorm");
    for (at, name) in ["query", "key", "value"].into_iter().enumerate() {
        let here = y + 54.0 * (at as f64 - 1.0);
        svg.arrow(&[(150.0 + w, y + middle), (285.0, here + middle)]);
        svg.matrix("blue", (288.0, here), (n, width), SIDE);
        svg.text((288.0, here - 5.0), "small", name);
        svg.text((288.0 + w + 6.0, here + middle + 4.0), "small faint", &shape(width));
        for head in 1..heads {
            let x = 288.0 + (head * d) as f64 * SIDE;
            svg.line("flow", &[(x, here), (x, here + height)]);
        }
    }
    svg.text((224.0, y + 78.0), "small faint", "linear,");
    svg.text((224.0, y + 92.0), "small faint", &format!("{width} × {width}"));
    let (query, value) = (y - 54.0 + middle, y + 54.0 + middle);
    svg.line("flow", &[(416.0, query), (430.0, query), (430.0, y + middle)]);
    svg.arrow(&[(416.0, y + middle), (447.0, y + middle)]);
    svg.arrow(&[(416.0, value), (613.0, value), (613.0, y + middle + 2.0)]);
    for head in 0..heads {
        let x = 450.0 + 37.0 * head as f64;
        svg.rect("grid", (x, y), (height, height), 0.0);
        for row in 0..n {
            svg.rect("c0", (x, y + SIDE * row as f64), (SIDE * (row + 1) as f64, SIDE - 0.5), 0.0);
        }
    }
    svg.text((450.0, y - 7.0), "small", &format!("{heads} heads: softmax(q·kᵀ/√{d})"));
    svg.text((450.0, y + height + 14.0), "small faint", &format!("{heads} times [{n}, {n}]"));
    svg.arrow(&[(450.0 + 148.0, y + middle), (628.0, y + middle)]);
    svg.text((608.0, value - 7.0), "small end", "· v");
    matrix(&mut svg, "blue", (630.0, y), width, "heads joined");
    let back = |svg: &mut Svg, from: Point, sum: f64, name: &str| {
        svg.arrow(&[from, (from.0, sum), (STREAM + 11.0, sum)]);
        svg.text((150.0, sum - 7.0), "small", name);
        svg.dot("yellow", (STREAM, sum), 10.0);
        svg.text((STREAM, sum + 4.5), "head middle", "+");
    };
    let name = format!("output: linear, {width} × {width}. What it gives is added to x.");
    back(&mut svg, (630.0 + w / 2.0, y + height + 20.0), attention_sum, &name);

    // The MLP.
    let y = mlp + 34.0;
    svg.text((150.0, mlp), "head", "feed-forward (MLP)");
    svg.text((150.0 + 146.0, mlp), "small faint", "each token on its own");
    svg.arrow(&[(STREAM, y + middle), (148.0, y + middle)]);
    matrix(&mut svg, "blue", (150.0, y), width, "RMSNorm");
    svg.arrow(&[(150.0 + w, y + middle), (285.0, y + middle)]);
    svg.text((254.0, y + middle - 7.0), "small middle", "up");
    matrix(&mut svg, "blue", (288.0, y), inner, &format!("ReLU of a linear layer, {inner} × {width}"));
    let right = 288.0 + inner as f64 * SIDE;
    svg.arrow(&[(right, y + middle), (628.0, y + middle)]);
    svg.text(((right + 628.0) / 2.0, y + middle - 7.0), "small middle", "down");
    matrix(&mut svg, "blue", (630.0, y), width, "");
    let name = format!("down: linear, {width} × {inner}. What it gives is added to x.");
    back(&mut svg, (630.0 + w / 2.0, y + height + 20.0), mlp_sum, &name);

    // The head of the model.
    matrix(&mut svg, "blue", (STREAM - w / 2.0, end), width, "x");
    svg.arrow(&[(STREAM + w / 2.0, end + middle), (285.0, end + middle)]);
    svg.text((150.0, end + middle - 7.0), "small", &format!("output layer, {vocab} × {width}"));
    matrix(&mut svg, "green", (288.0, end), vocab, "logits: a score for every next token");
    svg.finish()
}
