//! What is read back of logits: the target's log-probability and the likeliest tokens, not the logits.

/// How many of the likeliest tokens are told.
pub const TOP: usize = 5;

/// Words of a row's statistics: the target's log-probability, then [`TOP`] tokens, then their log-probabilities.
pub const STATISTICS_WORDS: usize = 1 + 2 * TOP;

/// What is read back of a row of logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidates {
    /// Log-probability of the target, nats; of the likeliest token where there was no target.
    pub target: f32,
    /// The likeliest tokens, the likeliest first, ties to the lower token. A vocabulary of fewer repeats the last.
    pub tokens: [u32; TOP],
    /// Their log-probabilities, nats.
    pub logprobs: [f32; TOP],
}

impl Candidates {
    /// From the words of a row.
    ///
    /// # Panics
    /// When there are not [`STATISTICS_WORDS`].
    pub fn from_words(words: &[u32]) -> Self {
        assert_eq!(words.len(), STATISTICS_WORDS);
        let (tokens, logprobs) = words[1..].split_at(TOP);
        Self {
            target: f32::from_bits(words[0]),
            tokens: std::array::from_fn(|i| tokens[i]),
            logprobs: std::array::from_fn(|i| f32::from_bits(logprobs[i])),
        }
    }

    /// The words of a row.
    pub fn to_words(&self) -> [u32; STATISTICS_WORDS] {
        let mut words = [0; STATISTICS_WORDS];
        words[0] = self.target.to_bits();
        for i in 0..TOP {
            words[1 + i] = self.tokens[i];
            words[1 + TOP + i] = self.logprobs[i].to_bits();
        }
        words
    }

    /// Of a row of logits; `target` beyond it means none.
    pub fn of(logits: &[f32], target: u32) -> Self {
        let mut tokens = [0_u32; TOP];
        let mut top = [f32::NEG_INFINITY; TOP];
        for (token, &logit) in (0..).zip(logits) {
            // NaN is never above: it stays out, and the sum below tells.
            if logit > top[TOP - 1] {
                let place = top.iter().position(|&other| logit > other).unwrap_or(TOP - 1);
                top[place..].rotate_right(1);
                tokens[place..].rotate_right(1);
                (top[place], tokens[place]) = (logit, token);
            }
        }
        let max = f64::from(top[0]);
        let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - max).exp()).sum();
        #[expect(clippy::cast_possible_truncation, reason = "reported in f32")]
        let logprob = |logit: f32| (f64::from(logit) - max - sum.ln()) as f32;
        let target = logits.get(target as usize).copied().unwrap_or(top[0]);
        Self { target: logprob(target), tokens, logprobs: top.map(logprob) }
    }

    /// Whether the numbers are usable: no logit was NaN or infinite.
    pub fn is_finite(&self) -> bool {
        self.target.is_finite() && self.logprobs[0].is_finite()
    }
}

#[cfg(feature = "cubecl")]
pub(super) mod gpu {
    use super::TOP;
    use cubecl::prelude::*;

    /// One cube a row. Each unit finds the largest logit of its columns below the last one found, and the cube the
    /// largest of these: once for each token that is told.
    #[cube(launch_unchecked)]
    pub(crate) fn kernel(
        logits: &[f32],
        targets: &[u32],
        next: &mut [u32],
        out: &mut [u32],
        #[comptime] width: usize,
        #[comptime] units: usize,
    ) {
        let row = CUBE_POS_X as usize;
        let start = row * width;
        let unit = UNIT_POS_X as usize;
        let mut best_logits = Shared::<[f32]>::new_slice(units);
        let mut best_tokens = Shared::<[u32]>::new_slice(units);
        let mut sums = Shared::<[f32]>::new_slice(units);
        let mut last_logit = f32::reinterpret(0x7f7f_ffffu32.runtime());
        let mut last_token = 0u32;
        let mut log_sum = 0.0f32;
        let words = comptime!(1 + 2 * TOP);
        #[unroll]
        for place in 0..TOP {
            let mut best = f32::reinterpret(0xff7f_ffffu32.runtime());
            let mut token = 0u32;
            let mut i = unit;
            while i < width {
                let logit = logits[start + i];
                let id = u32::cast_from(i);
                let below = logit < last_logit || (logit == last_logit && id > last_token);
                if (comptime!(place == 0) || below) && logit > best {
                    best = logit;
                    token = id;
                }
                i += units;
            }
            sync_cube();
            best_logits[unit] = best;
            best_tokens[unit] = token;
            sync_cube();
            last_logit = best_logits[0];
            last_token = best_tokens[0];
            for other in 1..units {
                let logit = best_logits[other];
                let id = best_tokens[other];
                if logit > last_logit || (logit == last_logit && id < last_token) {
                    last_logit = logit;
                    last_token = id;
                }
            }
            if comptime!(place == 0) {
                let max = last_logit;
                let mut sum = 0.0f32;
                let mut i = unit;
                while i < width {
                    sum += (logits[start + i] - max).exp();
                    i += units;
                }
                sums[unit] = sum;
                sync_cube();
                let mut total = 0.0f32;
                for other in 0..units {
                    total += sums[other];
                }
                log_sum = max + total.ln();
                if unit == 0 {
                    let target = targets[row];
                    let mut logit = max;
                    if target < comptime!(width as u32) {
                        logit = logits[start + usize::cast_from(target)];
                    }
                    out[row * words] = u32::reinterpret(logit - log_sum);
                    if row == 0 {
                        next[0] = last_token;
                    }
                }
            }
            if unit == 0 {
                out[row * words + 1 + place] = last_token;
                out[row * words + comptime!(1 + TOP + place)] = u32::reinterpret(last_logit - log_sum);
            }
        }
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_come_first_and_ties_go_to_the_lower() {
        let of = Candidates::of(&[1.0, 3.0, 2.0, 3.0, -1.0, 0.5], 2);
        assert_eq!(of.tokens, [1, 3, 2, 0, 5]);
        let sum: f32 = [1.0_f32, 3.0, 2.0, 3.0, -1.0, 0.5].iter().map(|x| x.exp()).sum();
        assert!((of.target - (2.0 - sum.ln())).abs() < 1e-6);
        assert_eq!(Candidates::from_words(&of.to_words()), of);
        assert!(!Candidates::of(&[1.0, f32::NAN], u32::MAX).is_finite());
        assert!(
            (Candidates::of(&[0.0, 9.0], u32::MAX).target - Candidates::of(&[0.0, 9.0], 1).target).abs()
                < 1e-9
        );
    }
}
