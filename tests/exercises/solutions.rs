//! Solutions of the exercises 2.4, 4.4, 5.8 and 6.4.

/// 2.4
pub fn gradients(tape: &[[(usize, f64); 2]], result: usize) -> Vec<f64> {
    let mut grads = vec![0.0; tape.len()];
    grads[result] = 1.0;
    for at in (0..=result).rev() {
        for (operand, slope) in tape[at] {
            grads[operand] += slope * grads[at];
        }
    }
    grads
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn softmax(scores: &[f64]) -> Vec<f64> {
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exps: Vec<f64> = scores.iter().map(|score| (score - max).exp()).collect();
    let total: f64 = exps.iter().sum();
    exps.iter().map(|exp| exp / total).collect()
}

/// 4.4
pub fn attention(queries: &[Vec<f64>], keys: &[Vec<f64>], values: &[Vec<f64>], scale: f64) -> Vec<Vec<f64>> {
    let mix = |(t, query): (usize, &Vec<f64>)| {
        let scores: Vec<f64> = keys[..=t].iter().map(|key| dot(query, key) * scale).collect();
        let probabilities = softmax(&scores);
        let column = |at: usize| probabilities.iter().zip(values).map(|(p, value)| p * value[at]).sum();
        (0..values[t].len()).map(column).collect()
    };
    queries.iter().enumerate().map(mix).collect()
}

/// 5.8
pub fn adam(params: &mut [f64], grads: &[f64], m: &mut [f64], v: &mut [f64], t: i32, learning_rate: f64) {
    for (((w, g), m), v) in params.iter_mut().zip(grads).zip(m).zip(v) {
        *m = 0.85 * *m + 0.15 * g;
        *v = 0.99 * *v + 0.01 * g * g;
        let (m_hat, v_hat) = (*m / (1.0 - 0.85_f64.powi(t)), *v / (1.0 - 0.99_f64.powi(t)));
        *w -= learning_rate * m_hat / (v_hat.sqrt() + 1e-8);
    }
}

/// 6.4
pub fn draw(logits: &[f64], temperature: f64, dart: f64) -> usize {
    if temperature == 0.0 {
        return (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap_or(0);
    }
    let probabilities = softmax(&logits.iter().map(|logit| logit / temperature).collect::<Vec<_>>());
    let mut end = 0.0;
    let hit = probabilities.iter().position(|p| {
        end += p;
        dart < end
    });
    hit.unwrap_or(logits.len() - 1)
}
