//! The names GPT, trained as `cargo run --example names` trains it, and what happens inside while it reads a name.

use anyhow::{Context, Result, ensure};
use gradus::Engine;
use gradus::data::{self, Batch, Names};
use gradus::generate::{Sampler, Sampling, Stop, generate};
use gradus::model::{Decoder, DecoderConfig, Model};
use gradus::random::Random;
use gradus::scalar::{Arena, Matrix, ScalarEngine};
use gradus::tensor::{AttentionSpec, Mask, Tensor, packed};
use gradus::tokenizer::Tokenizer;
use gradus::train::{Settings, Trainer};
use support::{Losses, baselines};

const STEPS: usize = 1000;

/// The trained model, and what was noted down on the way.
pub struct Trained {
    pub names: Names,
    pub model: Decoder,
    pub params: Vec<f64>,
    /// A name that it invented.
    pub invented: String,
    /// The first names, and how many numbers the graph of each had.
    pub nodes: Vec<(String, usize)>,
    losses: Losses,
}

/// What the model computes while it reads a name.
pub struct Look {
    /// BOS, and the letters.
    pub tokens: Vec<String>,
    /// Everything that it may predict.
    pub vocabulary: Vec<String>,
    /// What should come after each token, as an index into the vocabulary.
    pub targets: Vec<usize>,
    /// For each head and each token, how much of each token up to that one it takes.
    pub attention: Vec<Vec<Vec<f64>>>,
    /// The stages of the residual stream: what it is called, and for each token its numbers.
    pub stream: Vec<(&'static str, Vec<Vec<f64>>)>,
    /// For each token, the probabilities of the next.
    pub next: Vec<Vec<f64>>,
}

impl Trained {
    /// Trains for a thousand steps, with the random numbers of the example `names`.
    pub fn new() -> Result<Self> {
        let mut random = Random::new(42);
        let mut names = Names::read(&data::find("names.txt")?)?;
        names.shuffle(&mut random);
        let model = Decoder::new(DecoderConfig::microgpt(names.vocab_size()))?;
        let settings = Settings { steps: STEPS, learning_rate: 0.01, ..Settings::default() };
        let mut trainer = Trainer::new(model, ScalarEngine::new(), settings, &mut random);
        let (mut losses, mut nodes, mut batch) = (Losses::default(), Vec::new(), Batch::new());
        for (step, name) in (0..STEPS).zip(names.iter()) {
            names.fill(&mut batch, step, 1, trainer.model().context());
            losses.push(&trainer.step(&batch), settings.learning_rate)?;
            nodes.push((name.to_owned(), trainer.split_mut().0.nodes()));
        }
        nodes.truncate(8);
        let bos = names.tokenizer().bos();
        let mut sampler = Sampler::new(Sampling { temperature: 0.5, ..Sampling::default() });
        let (engine, model, params) = trainer.split_mut();
        let tokens = generate(engine, model, &params, &[bos], &Stop::at(bos), &mut sampler, &mut random);
        let invented = names.tokenizer().decode(&tokens);
        let (model, params) = (trainer.model().clone(), trainer.params().to_vec());
        Ok(Trained { names, model, params, invented, nodes, losses })
    }

    /// The loss of each step, and what it has to be compared with.
    pub fn loss_chart(&self) -> String {
        let mut levels = baselines(&self.names, self.model.context()).to_vec();
        levels.extend(self.losses.level());
        self.losses.chart(&self.losses.curves(), &levels).draw()
    }

    /// A batch of one name.
    pub fn batch(&self, name: &str) -> Result<Batch> {
        let at = self.names.iter().position(|other| other == name);
        let mut batch = Batch::new();
        self.names.fill(
            &mut batch,
            at.with_context(|| format!("there is no name {name}"))?,
            1,
            self.model.context(),
        );
        Ok(batch)
    }

    /// Computes the model once more, step by step, to see what is between its first line and its last.
    pub fn look_inside(&self, name: &str) -> Result<Look> {
        let batch = self.batch(name)?;
        let (config, tokens) = (self.model.config(), batch.sequences().tokens);
        let (n, n_head, d, eps) = (tokens.len(), config.n_head, config.head_dim(), config.norm_eps);
        let mut arena = Arena::new();
        let graph = arena.graph();
        let bound = graph.bind(self.model.layout(), &self.params).params.tensors();
        let specs = self.model.layout().specs();
        let weight = |end: &str| {
            let at = specs.iter().position(|spec| spec.name.ends_with(end));
            at.map(|at| bound[at]).with_context(|| format!("there is no parameter {end}"))
        };

        let embedding = weight("embed_tokens.weight")?.gather_rows(tokens)
            + weight("embed_positions.weight")?.gather_rows(batch.sequences().positions);
        let x = embedding.rms_norm(None, eps);
        let [q, k, v] = ["q_proj.weight", "k_proj.weight", "v_proj.weight"].map(weight);
        let [q, k, v] = [q?, k?, v?].map(|w| x.rms_norm(None, eps).linear(w));
        let scale = (d as f64).sqrt().recip();
        let row = |head: usize, query: usize| {
            let cols = head * d..(head + 1) * d;
            let (q, k) = (q.slice_cols(cols.clone()).slice_rows(query..query + 1), k.slice_cols(cols));
            numbers(((q * scale).matmul_t(k.slice_rows(0..query + 1))).softmax()).remove(0)
        };
        let attention = (0..n_head).map(|head| (0..n).map(|query| row(head, query)).collect()).collect();
        let spec = AttentionSpec {
            n_head,
            n_kv_head: n_head,
            scale,
            mask: Mask::Causal,
            bias: None,
            queries: &packed(&[n]),
            keys: &packed(&[n]),
        };
        let attn_out = q.attention(k, v, spec).linear(weight("o_proj.weight")?);
        let middle = x + attn_out;
        let up = middle.rms_norm(None, eps).linear(weight("fc1.weight")?);
        let mlp_out = up.apply(gradus::UnaryOp::Relu).linear(weight("fc2.weight")?);
        let end = middle + mlp_out;
        let logits = end.linear(weight("lm_head.weight")?);

        let loss =
            logits.cross_entropy(batch.targets(), 0.0).weighted_mean(batch.loss_weights()).at(0, 0).data();
        let known = ScalarEngine::new().loss(&self.model, &self.params, &batch);
        ensure!((loss - known).abs() < 1e-12, "this is not the model: a loss of {loss} instead of {known}");
        let letter = |&token: &usize| match self.names.tokenizer().decode(&[token]) {
            letter if letter.is_empty() => "BOS".to_owned(),
            letter => letter,
        };
        let stages = [
            ("embeddings, normalised", x),
            ("attention adds", attn_out),
            ("the sum", middle),
            ("the MLP adds", mlp_out),
            ("the sum", end),
        ];
        Ok(Look {
            tokens: tokens.iter().map(letter).collect(),
            vocabulary: (0..self.names.vocab_size()).map(|token| letter(&token)).collect(),
            targets: batch.targets().to_vec(),
            attention,
            stream: stages.map(|(name, x)| (name, numbers(x))).to_vec(),
            next: numbers(logits.softmax()),
        })
    }
}

/// The numbers of a matrix, row by row.
fn numbers(x: Matrix<'_>) -> Vec<Vec<f64>> {
    let (rows, cols) = x.shape();
    (0..rows).map(|row| (0..cols).map(|col| x.at(row, col).data()).collect()).collect()
}
