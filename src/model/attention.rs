//! Attention: the one place where tokens look at each other.

use serde::{Deserialize, Serialize};

use super::{Cache, DecoderConfig, Linear, Norm, Positions};
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

/// Self-attention of many heads. Each token asks with a query, answers with a key, and gives a value.
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
    /// The attention of block `layer`.
    pub(super) fn new(
        config: &DecoderConfig,
        positions: &Positions,
        layer: usize,
        layout: &mut Layout,
    ) -> Self {
        let (n_head, n_kv_head, head_dim) = (config.n_head, config.n_kv_head, config.head_dim());
        let (width, q_width, kv_width) = (config.n_embd, n_head * head_dim, n_kv_head * head_dim);
        let name = |part: &str| format!("model.layers.{layer}.self_attn.{part}");
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

    /// `[n, n_embd] → [n, n_embd]`. With a cache, the tokens go on where the cache ends.
    pub fn forward<T: Tensor>(
        &self,
        w: BoundParams<'_, T>,
        x: T,
        sequences: Sequences<'_>,
        cache: Option<&mut Cache<'_, T>>,
    ) -> T {
        let scale = (self.head_dim as f64).sqrt().recip();
        self.attend(w, self.project(w, x, sequences), scale, sequences, cache)
    }

    /// The first half of [`forward`](Self::forward): queries, keys and values, normalised if the configuration says
    /// so, and rotated. `[n, n_embd] → [n, n_head · head_dim]` and twice `[n, n_kv_head · head_dim]`.
    pub(super) fn project<T: Tensor>(&self, w: BoundParams<'_, T>, x: T, sequences: Sequences<'_>) -> [T; 3] {
        let mut q = self.q_proj.forward(w, x); // [n, n_head · head_dim]
        let mut k = self.k_proj.forward(w, x); // [n, n_kv_head · head_dim]
        let v = self.v_proj.forward(w, x);
        if let Some(norm) = &self.q_norm {
            q = norm.forward_heads(w, q, self.n_head);
        }
        if let Some(norm) = &self.k_norm {
            k = norm.forward_heads(w, k, self.n_kv_head);
        }
        let rotate = |x, heads| self.positions.rotate(x, sequences.positions, heads);
        [rotate(q, self.n_head), rotate(k, self.n_kv_head), v]
    }

    /// The second half: each query mixes values, its scores multiplied by `scale`. What a model does to queries and
    /// keys of its own lies between the two, and the cache keeps the result.
    pub(super) fn attend<T: Tensor>(
        &self,
        w: BoundParams<'_, T>,
        [q, mut k, mut v]: [T; 3],
        scale: f64,
        sequences: Sequences<'_>,
        cache: Option<&mut Cache<'_, T>>,
    ) -> T {
        let mut keys = sequences.rows;
        if let Some(cache) = cache {
            [k, v] = cache.append(self.layer, [k, v]);
            keys = cache.keys;
        }
        let spec = AttentionSpec {
            n_head: self.n_head,
            n_kv_head: self.n_kv_head,
            scale,
            mask: self.mask,
            bias: self.positions.bias(w),
            queries: sequences.rows,
            keys,
        };
        self.o_proj.forward(w, q.attention(k, v, spec)) // [n, n_embd]
    }
}
