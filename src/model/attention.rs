//! Attention: the one place where tokens look at each other.

use super::{Cache, DecoderConfig, Linear, Norm, Position};
use crate::data::Sequences;
use crate::params::{BoundParams, Init, Layout};
use crate::tensor::{AttentionSpec, Mask, Tensor};

/// Self-attention of many heads. Each token asks with a query, answers with a key, and gives a value.
#[derive(Clone, Debug)]
pub struct Attention {
    layer: usize,
    n_head: usize,
    n_kv_head: usize,
    head_dim: usize,
    rope_base: Option<f64>,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    pub(super) o_proj: Linear,
    q_norm: Option<Norm>,
    k_norm: Option<Norm>,
}

impl Attention {
    /// The attention of block `layer`.
    pub(super) fn new(config: &DecoderConfig, layer: usize, layout: &mut Layout) -> Self {
        let head_dim = config.head_dim();
        let (width, kv_width) = (config.n_embd, config.n_kv_head * head_dim);
        let name = |part: &str| format!("model.layers.{layer}.self_attn.{part}");
        let mut linear = |part, inputs, outputs| {
            Linear::new(layout, &name(part), inputs, outputs, Init::Normal(config.init_std))
        };
        let q_proj = linear("q_proj", width, width);
        let k_proj = linear("k_proj", width, kv_width);
        let v_proj = linear("v_proj", width, kv_width);
        let o_proj = linear("o_proj", width, width);
        let mut norm = |part| config.qk_norm.then(|| config.norm(layout, &name(part), head_dim));
        let (q_norm, k_norm) = (norm("q_norm"), norm("k_norm"));
        let rope_base = match config.position {
            Position::Rope { base } => Some(base),
            Position::Learned => None,
        };
        let (n_head, n_kv_head) = (config.n_head, config.n_kv_head);
        Attention {
            layer,
            n_head,
            n_kv_head,
            head_dim,
            rope_base,
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
        cache: Option<&mut Cache<T>>,
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
        if let Some(base) = self.rope_base {
            q = q.rope(sequences.positions, self.n_head, base);
            k = k.rope(sequences.positions, self.n_kv_head, base);
        }
        [q, k, v]
    }

    /// The second half: each query mixes values, its scores multiplied by `scale`. What a model does to queries and
    /// keys of its own lies between the two, and the cache keeps the result.
    pub(super) fn attend<T: Tensor>(
        &self,
        w: BoundParams<'_, T>,
        [q, mut k, mut v]: [T; 3],
        scale: f64,
        sequences: Sequences<'_>,
        cache: Option<&mut Cache<T>>,
    ) -> T {
        let read;
        let mut keys = sequences.lengths;
        if let Some(cache) = cache {
            (k, v) = cache.append(self.layer, k, v);
            read = [k.shape().0];
            keys = &read;
        }
        let spec = AttentionSpec {
            n_head: self.n_head,
            n_kv_head: self.n_kv_head,
            scale,
            mask: Mask::Causal,
            bias: None,
            queries: sequences.lengths,
            keys,
        };
        self.o_proj.forward(w, q.attention(k, v, spec)) // [n, n_embd]
    }
}
