//! Attention: the one place where tokens look at each other.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{Cache, DecoderConfig, Linear, Mode, Norm, Positions};
use crate::data::Sequences;
use crate::params::{BoundParams, Layout};
use crate::tensor::{AttentionSpec, Mask, Tensor};

/// Which of attention's four layers have a bias.
///
/// That of the keys only matters where keys are rotated (RoPE) or normalised. Otherwise it adds the same number to all scores
/// of a query, which the softmax takes away again: it changes nothing and has no gradient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttentionBias {
    /// None of them (Llama).
    #[default]
    None,
    /// Those that read: queries, keys and values (Qwen2).
    Qkv,
    /// All but the keys (Whisper).
    Qvo,
    /// All four (GPT-2).
    All,
}

/// Attention of many heads. Each token asks with a query, answers with a key, and gives a value. In self-attention all three are
/// made of the same stream; in cross-attention, keys and values are made of another one.
#[derive(Clone, Debug)]
pub struct Attention {
    layer: usize,
    n_head: usize,
    n_kv_head: usize,
    head_dim: usize,
    mask: Mask,
    positions: Positions,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    pub(super) o_proj: Linear,
    q_norm: Option<Norm>,
    k_norm: Option<Norm>,
}

impl Attention {
    /// Attention whose parameters' names begin with `name`, number `layer` of those that keep keys and values.
    pub(super) fn new(
        config: &DecoderConfig,
        positions: &Positions,
        (name, layer): (&str, usize),
        layout: &mut Layout,
    ) -> Self {
        let (n_head, n_kv_head, head_dim) = (config.n_head, config.n_kv_head, config.head_dim());
        let (width, q_width, kv_width) = (config.n_embd, n_head * head_dim, n_kv_head * head_dim);
        let name = |part: &str| format!("{name}.{part}");
        let mut linear = |part: &str, inputs, outputs, init, biased: &[AttentionBias]| {
            let linear = Linear::new(layout, &name(part), inputs, outputs, init);
            if biased.contains(&config.attention_bias) { linear.with_bias(layout) } else { linear }
        };
        use AttentionBias::{All, Qkv, Qvo};
        let (q_init, kv_init) = (config.matrix_init(width, q_width), config.matrix_init(width, kv_width));
        let q_proj = linear("q_proj", width, q_width, q_init, &[Qkv, Qvo, All]);
        let k_proj = linear("k_proj", width, kv_width, kv_init, &[Qkv, All]);
        let v_proj = linear("v_proj", width, kv_width, kv_init, &[Qkv, Qvo, All]);
        let o_proj = linear("o_proj", q_width, width, config.output_init(q_width, width), &[Qvo, All]);
        let mut norm = |part| config.qk_norm.then(|| config.norm(layout, &name(part), head_dim));
        let (q_norm, k_norm) = (norm("q_norm"), norm("k_norm"));
        let (mask, positions) = (config.mask, positions.clone());
        Attention {
            layer,
            n_head,
            n_kv_head,
            head_dim,
            mask,
            positions,
            q_proj,
            k_proj,
            v_proj,
            o_proj,
            q_norm,
            k_norm,
        }
    }

    /// Self-attention: `[n, n_embd] → [n, n_embd]`. With a cache, the tokens go on where the cache ends.
    pub fn forward<T: Tensor>(
        &self,
        w: BoundParams<'_, T>,
        x: T,
        here: (Sequences<'_>, Mode),
        cache: Option<&mut Cache<'_, T>>,
    ) -> T {
        self.attend(w, self.project(w, x, here), self.scale(), here, cache)
    }

    /// Its layers, in the order of their parameters.
    pub(super) fn layers_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        [&mut self.q_proj, &mut self.k_proj, &mut self.v_proj, &mut self.o_proj].into_iter()
    }

    /// What the products of queries and keys are multiplied by: `1/√head_dim`.
    pub(super) fn scale(&self) -> f64 {
        (self.head_dim as f64).sqrt().recip()
    }

    /// The first half of [`forward`](Self::forward): queries, keys and values, normalised if the configuration says
    /// so, and rotated. `[n, n_embd] → [n, n_head · head_dim]` and twice `[n, n_kv_head · head_dim]`.
    pub(super) fn project<T: Tensor>(
        &self,
        w: BoundParams<'_, T>,
        x: T,
        here: (Sequences<'_>, Mode),
    ) -> [T; 3] {
        let [q, k, v] = Linear::forward_all([&self.q_proj, &self.k_proj, &self.v_proj], w, x, here);
        [self.place_queries(w, q, here.0), self.place_keys(w, k, here.0), v]
    }

    /// Queries alone: `[n, n_embd] → [n, n_head · head_dim]`.
    pub(super) fn project_queries<T: Tensor>(
        &self,
        w: BoundParams<'_, T>,
        x: T,
        here: (Sequences<'_>, Mode),
    ) -> T {
        self.place_queries(w, self.q_proj.forward_in(w, x, here), here.0)
    }

    /// Keys and values alone: twice `[n, n_embd] → [n, n_kv_head · head_dim]`.
    pub(super) fn project_kv<T: Tensor>(
        &self,
        w: BoundParams<'_, T>,
        x: T,
        here: (Sequences<'_>, Mode),
    ) -> [T; 2] {
        let [k, v] = Linear::forward_all([&self.k_proj, &self.v_proj], w, x, here);
        [self.place_keys(w, k, here.0), v]
    }

    /// Queries normalised and rotated: `[n, n_head · head_dim]`.
    fn place_queries<T: Tensor>(&self, w: BoundParams<'_, T>, q: T, sequences: Sequences<'_>) -> T {
        let q = normalised(&self.q_norm, w, q, self.n_head);
        self.positions.rotate(q, sequences.positions, self.n_head)
    }

    /// Keys normalised and rotated: `[n, n_kv_head · head_dim]`.
    fn place_keys<T: Tensor>(&self, w: BoundParams<'_, T>, k: T, sequences: Sequences<'_>) -> T {
        let k = normalised(&self.k_norm, w, k, self.n_kv_head);
        self.positions.rotate(k, sequences.positions, self.n_kv_head)
    }

    /// The second half: each query mixes values, its scores multiplied by `scale`. What a model does to queries and
    /// keys of its own lies between the two, and the cache keeps the result.
    pub(super) fn attend<T: Tensor>(
        &self,
        w: BoundParams<'_, T>,
        [q, k, v]: [T; 3],
        scale: f64,
        here: (Sequences<'_>, Mode),
        cache: Option<&mut Cache<'_, T>>,
    ) -> T {
        match cache {
            None => self.mix(w, [q, k, v], scale, here, here.0.rows),
            Some(cache) => {
                let [k, v] = cache.append(self.layer, [k, v]);
                self.mix(w, [q, k, v], scale, here, cache.keys)
            }
        }
    }

    /// Each query mixes the values of the keys in its sequence, whose rows are `keys`: `[n, n_embd]`.
    pub(super) fn mix<T: Tensor>(
        &self,
        w: BoundParams<'_, T>,
        [q, k, v]: [T; 3],
        scale: f64,
        here: (Sequences<'_>, Mode),
        keys: &[Range<usize>],
    ) -> T {
        let queries = here.0.rows;
        let (n_head, n_kv_head, mask, bias) =
            (self.n_head, self.n_kv_head, self.mask, self.positions.bias(w));
        let spec = AttentionSpec { n_head, n_kv_head, scale, mask, bias, queries, keys };
        self.o_proj.forward_in(w, q.attention(k, v, spec), here)
    }

    /// How much each query of one head sees of each key, if it sees all of them: `[queries, keys]`.
    ///
    /// # Panics
    /// If there is no such head.
    pub(super) fn probabilities<T: Tensor>(&self, q: T, k: T, head: usize) -> T {
        assert!(head < self.n_head, "head {head} of {}", self.n_head);
        let cols = |head: usize| head * self.head_dim..(head + 1) * self.head_dim;
        let q = q.slice_cols(cols(head)) * self.scale();
        q.matmul_t(k.slice_cols(cols(head * self.n_kv_head / self.n_head))).softmax()
    }
}

/// Each head of queries or keys normalised, if the model has a normalisation for them.
fn normalised<T: Tensor>(norm: &Option<Norm>, w: BoundParams<'_, T>, x: T, heads: usize) -> T {
    norm.map_or(x, |norm| norm.forward_heads(w, x, heads))
}
