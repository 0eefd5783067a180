//! The figures of the chapters about conversations and about the memory of training.

use anyhow::Result;
use gradus::cost::{Activations, Moments, TrainingMemory};
use gradus::data::Batch;
use gradus::model::{Decoder, DecoderConfig, LoraConfig, Mode, Model};
use gradus::tensor::Mask;
use support::svg::Svg;

/// Three short conversations, token by token: its name, and whether it is learned.
const CONVERSATIONS: [&[(&str, bool)]; 3] = [
    &[
        ("<s>", false),
        ("<user>", false),
        ("Hi", false),
        ("</user>", false),
        ("<assistant>", false),
        ("Hello", true),
        ("</assistant>", true),
    ],
    &[
        ("<s>", false),
        ("<user>", false),
        ("Thanks", false),
        ("</user>", false),
        ("<assistant>", false),
        ("Gladly", true),
        ("!", true),
        ("</assistant>", true),
    ],
    &[
        ("<s>", false),
        ("<user>", false),
        ("Bye", false),
        ("</user>", false),
        ("<assistant>", false),
        ("Bye", true),
        ("</assistant>", true),
    ],
];

/// Who sees whom in a batch of three conversations, and which targets count.
pub fn packed() -> String {
    const CELL: f64 = 17.0;
    const LEFT: f64 = 112.0;
    const TOP: f64 = 62.0;
    let mut batch = Batch::new();
    let mut names = Vec::new();
    for conversation in CONVERSATIONS {
        let start = names.len();
        names.extend(conversation.iter().map(|(name, _)| *name));
        let learned = conversation.iter().map(|(_, learned)| f64::from(u8::from(*learned)));
        batch.push_weighted((start..names.len()).zip(learned));
    }
    let (n, sequences) = (batch.len(), batch.sequences());
    let mut svg = Svg::new(
        720.0,
        TOP + CELL * n as f64 + 24.0,
        "Three conversations in one batch",
        &format!(
            "A table of {n} rows and columns, the tokens of three conversations. Each row sees the tokens of its own conversation up to \
             itself: three triangles along the diagonal, and nothing else. On the right the target of each row, which is the next \
             token, in color where the assistant says it: Hello and its end, Gladly, an exclamation mark and its end, Bye and its end.",
        ),
    );
    svg.text((LEFT, 28.0), "head", "queries and the keys they see");
    svg.text((LEFT, 46.0), "faint small", "a row for each query, its position in front");
    let targets = LEFT + CELL * n as f64 + 40.0;
    svg.text((targets, 28.0), "head", "target");
    svg.text((targets, 46.0), "faint small", "in color: its loss counts");
    for rows in sequences.rows {
        for query in rows.clone() {
            let y = TOP + CELL * query as f64;
            let name = names[sequences.tokens[query]];
            svg.text((LEFT - 24.0, y + 12.5), "code end", name);
            svg.text((LEFT - 6.0, y + 12.5), "faint small end", &sequences.positions[query].to_string());
            let seen = Mask::Causal.seen(query - rows.start, rows.len(), rows.len());
            for key in 0..n {
                let sees = key >= rows.start && seen.contains(&(key - rows.start));
                let class = if sees { "c0" } else { "plain" };
                let place = (LEFT + CELL * key as f64 + 1.0, y + 1.0);
                svg.rect(class, place, (CELL - 2.0, CELL - 2.0), 2.0);
            }
            let counts = batch.loss_weights()[query] > 0.0;
            let class = if counts { "c2" } else { "plain" };
            svg.rect(class, (targets, y + 1.0), (CELL - 2.0, CELL - 2.0), 2.0);
            let class = if counts { "code" } else { "code faint" };
            svg.text((targets + 24.0, y + 12.5), class, names[batch.targets()[query]]);
        }
    }
    svg.finish()
}

/// What a training step of the Llama holds, in four ways.
pub fn memory() -> Result<String> {
    const LENGTH: usize = 512;
    const LEFT: f64 = 190.0;
    const WIDTH: f64 = 440.0;
    const BAR: f64 = 34.0;
    let whole = Decoder::new(DecoderConfig { context: LENGTH, ..DecoderConfig::llama(32_000) })?;
    let adapted = whole.clone().with_adapters(&LoraConfig { dropout: 0.0, ..LoraConfig::default() })?;
    let of = |model: &Decoder, threads: usize| {
        let batch = |sequences, length| {
            let mut batch = Batch::new();
            (0..sequences).for_each(|_| batch.push(vec![0; length + 1]));
            batch
        };
        let activations = Activations::measure(model, Mode::default(), batch);
        TrainingMemory::new(model.layout(), Moments::adamw(model.layout()), activations, (4, LENGTH), threads)
    };
    let bars = [
        ("two threads", of(&whole, 2)),
        ("one thread", of(&whole, 1)),
        ("adapters, two threads", of(&adapted, 2)),
        ("adapters, one thread", of(&adapted, 1)),
    ];
    let parts = |memory: &TrainingMemory| {
        let TrainingMemory { parameters, gradient, shards, moments, results, result_gradients, .. } = *memory;
        [parameters, gradient + shards, moments, results, result_gradients]
    };
    let most = bars.iter().map(|(_, memory)| memory.total()).fold(0.0, f64::max);
    let gigabytes = |bytes: f64| format!("{:.2} GB", bytes / 1e9);
    let listed: Vec<String> =
        bars.iter().map(|(name, memory)| format!("{name} {}", gigabytes(memory.total()))).collect();
    let mut svg = Svg::new(
        720.0,
        270.0,
        "What a training step of the Llama holds in memory",
        &format!(
            "Four bars, each made of parameters, their gradients, the moments of AdamW, results, and gradients of results: {}.",
            listed.join(", ")
        ),
    );
    svg.text((20.0, 28.0), "head", "A step on 4 x 512 tokens");
    let names = ["parameters", "their gradients", "moments", "results", "gradients of results"];
    let classes = ["c5", "c0", "p0", "c1", "c2"];
    let mut x = 20.0;
    for (class, name) in classes.iter().zip(names) {
        svg.rect(class, (x, 42.0), (14.0, 14.0), 3.0);
        svg.text((x + 20.0, 53.5), "small", name);
        x += 46.0 + 6.6 * name.len() as f64;
    }
    for (at, (name, memory)) in bars.iter().enumerate() {
        let y = 78.0 + 46.0 * at as f64;
        svg.text((LEFT - 10.0, y + 21.0), "end", name);
        let mut x = LEFT;
        for (class, bytes) in classes.iter().zip(parts(memory)) {
            let width = WIDTH * bytes / most;
            svg.rect(class, (x, y), (width, BAR), 0.0);
            x += width;
        }
        svg.text((x + 8.0, y + 21.0), "small", &gigabytes(memory.total()));
    }
    Ok(svg.finish())
}
