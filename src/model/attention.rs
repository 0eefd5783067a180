//! Attention: the one place where tokens look at each other.

use super::{Cache, DecoderConfig, Norm, Position};
use crate::data::Sequences;
use crate::params::{BoundParams, Init, Layout, Param, ParamKind};
use crate::tensor::{AttentionSpec, Mask, Tensor};

/// Self-attention of many heads. Each token asks with a query, answers with a key, and gives a value.
#[derive(Clone, Debug)]
pub struct Attention {
    layer: usize,
    n_head: usize,
    n_kv_head: usize,
    head_dim: usize,
    rope_base: Option<f64>,
    q_proj: Param,
    k_proj: Param,
    v_proj: Param,
    o_proj: Param,
    q_norm: Option<Norm>,
    k_norm: Option<Norm>,
}

impl Attention {
    /// The attention of block `layer`.
    pub(super) fn new(config: &DecoderConfig, layer: usize, layout: &mut Layout) -> Self {
        let head_dim = config.head_dim();
        let (width, kv_width) = (config.n_embd, config.n_kv_head * head_dim);
        let name = |part: &str| format!("model.layers.{layer}.self_attn.{part}.weight");
        let mut matrix = |part, rows, cols| {
            layout.add(name(part), rows, cols, ParamKind::Matrix, Init::Normal(config.init_std))
        };
        let q_proj = matrix("q_proj", width, width);
        let k_proj = matrix("k_proj", kv_width, width);
        let v_proj = matrix("v_proj", kv_width, width);
        let o_proj = matrix("o_proj", width, width);
        let mut norm = |part| config.qk_norm.then(|| config.norm(layout, name(part), head_dim));
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
        let mut q = x.linear(w[self.q_proj]); // [n, n_head · head_dim]
        let mut k = x.linear(w[self.k_proj]); // [n, n_kv_head · head_dim]
        let mut v = x.linear(w[self.v_proj]);
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
            scale: (self.head_dim as f64).sqrt().recip(),
            mask: Mask::Causal,
            bias: None,
            queries: sequences.lengths,
            keys,
        };
        q.attention(k, v, spec).linear(w[self.o_proj])
    }
}
