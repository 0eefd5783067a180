//! How the learning rate changes during training: up in a warmup, then down.

/// The learning rate as a fraction of its highest value, step by step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// Steps of warmup, in which the rate rises in a straight line: in step `t` (from 0) to `(t + 1) / (warmup + 1)`. The
    /// step after them is the first with the whole rate. 0: there is none.
    pub warmup: usize,
    /// What happens after it.
    pub decay: Decay,
}

/// How the learning rate falls after the warmup. A `floor` is the fraction that is left at the end of the run, which the
/// step after the last would reach. If a run goes on after its end, the rate stays there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decay {
    /// Not at all.
    Constant,
    /// In a straight line.
    Linear {
        /// The fraction that is left at the end.
        floor: f64,
    },
    /// Along half a cosine, slowly at both ends (Loshchilov & Hutter 2016).
    Cosine {
        /// The fraction that is left at the end.
        floor: f64,
    },
    /// As `1 / √step` (Vaswani et al. 2017, section 5.3, whose `step_num` is `t + 1` and whose `warmup_steps` is
    /// `warmup + 1`): four times as many steps, half the rate. It depends on no end, so a run can be made longer without a
    /// change to what it has done.
    InverseSqrt,
}

impl Schedule {
    /// The fraction at `step` (from 0) of `steps`.
    // ANCHOR: factor
    pub fn factor(self, step: usize, steps: usize) -> f64 {
        let Schedule { warmup, decay } = self;
        if step < warmup {
            return (step + 1) as f64 / (warmup + 1) as f64;
        }
        let progress = (step - warmup) as f64 / steps.saturating_sub(warmup).max(1) as f64;
        let progress = progress.min(1.0);
        match decay {
            Decay::Constant => 1.0,
            Decay::Linear { floor } => floor + (1.0 - floor) * (1.0 - progress),
            Decay::Cosine { floor } => {
                floor + (1.0 - floor) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
            }
            Decay::InverseSqrt => ((warmup + 1) as f64 / (step + 1) as f64).sqrt(),
        }
    }
    // ANCHOR_END: factor
}
