"use strict";
// The names model, forward only: src/model/decoder.rs in plain loops. A row is a list of numbers, a matrix a list of
// rows.

/** x·Wᵀ: every row of w is a neuron, and gives its dot product with x. */
function linear(x, w) {
  const y = [];
  for (const weights of w) {
    let sum = 0;
    for (let i = 0; i < x.length; i++) sum += weights[i] * x[i];
    y.push(sum);
  }
  return y;
}

/** Divides a row by the root of its mean square, so that a typical entry has size 1. */
function rmsNorm(x, eps) {
  let sum = 0;
  for (const value of x) sum += value * value;
  const scale = 1 / Math.sqrt(sum / x.length + eps);
  return x.map((value) => value * scale);
}

/** Turns scores into probabilities. The greatest score is subtracted first, so that no exponential is too large. */
function softmax(scores) {
  const max = Math.max(...scores);
  const exps = scores.map((score) => Math.exp(score - max));
  const total = exps.reduce((sum, e) => sum + e, 0);
  return exps.map((e) => e / total);
}

const add = (x, y) => x.map((value, i) => value + y[i]);

/**
 * Reads tokens and predicts what follows each of them.
 *
 * Returns `logits[position]`, a score for every token that may come next, and `attention[layer][head][query][key]`, the
 * probabilities with which each position looked at itself and those before it.
 */
function gpt(model, tokens) {
  const w = model.params;
  const width = model.n_embd / model.n_head; // of a head
  const attention = [];
  const [wte, wpe] = [w["model.embed_tokens.weight"], w["model.embed_positions.weight"]];
  const embed = (token, position) => add(wte[token], wpe[position]);
  let rows = tokens.map((token, position) => rmsNorm(embed(token, position), model.norm_eps)); // [n, n_embd]
  for (let layer = 0; layer < model.n_layer; layer++) {
    const weight = (name) => w[`model.layers.${layer}.${name}.weight`];
    const project = (x, name) => linear(rmsNorm(x, model.norm_eps), weight(name));
    const q = rows.map((x) => project(x, "self_attn.q_proj"));
    const k = rows.map((x) => project(x, "self_attn.k_proj"));
    const v = rows.map((x) => project(x, "self_attn.v_proj"));
    const mixed = rows.map(() => []); // [n, n_embd], head by head
    const heads = [];
    for (let head = 0; head < model.n_head; head++) {
      const columns = (row) => row.slice(head * width, (head + 1) * width);
      const looks = [];
      for (let query = 0; query < rows.length; query++) {
        const scores = [];
        for (let key = 0; key <= query; key++) { // no position looks ahead
          scores.push(linear(columns(q[query]), [columns(k[key])])[0] / Math.sqrt(width));
        }
        const probabilities = softmax(scores);
        looks.push(probabilities);
        for (let i = head * width; i < (head + 1) * width; i++) {
          let sum = 0;
          for (let key = 0; key <= query; key++) sum += probabilities[key] * v[key][i];
          mixed[query].push(sum);
        }
      }
      heads.push(looks);
    }
    attention.push(heads);
    // Attention and the feed-forward network each add something to the residual stream.
    rows = rows.map((x, position) => add(x, linear(mixed[position], weight("self_attn.o_proj"))));
    rows = rows.map((x) => {
      const inner = project(x, "mlp.fc1").map((value) => Math.max(value, 0)); // ReLU
      return add(x, linear(inner, weight("mlp.fc2")));
    });
  }
  return { logits: rows.map((x) => linear(x, w["lm_head.weight"])), attention };
}

/**
 * The probabilities from which the next token is drawn. Logits are divided by the temperature; at 0 the likeliest
 * token is certain. Only the `topK` likeliest stay. As in src/generate/sampling.rs.
 */
function sampling(logits, temperature, topK) {
  const order = logits.map((_, token) => token).sort((a, b) => logits[b] - logits[a]);
  if (temperature === 0) return logits.map((_, token) => (token === order[0] ? 1 : 0));
  const kept = new Set(order.slice(0, topK));
  return softmax(logits.map((logit, token) => (kept.has(token) ? logit / temperature : -Infinity)));
}

/** Where a dart lands that is thrown at probabilities laid end to end; `dart` is from 0 to below 1. */
function choose(probabilities, dart) {
  let end = 0;
  const lands = probabilities.findIndex((p) => dart < (end += p));
  return lands < 0 ? probabilities.indexOf(Math.max(...probabilities)) : lands; // by rounding, it can miss them all
}

/** A seeded generator of numbers from 0 to below 1: mulberry32, by Tommy Ettinger. */
function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}
