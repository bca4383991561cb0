//! Random weights of any shape, for runs that ask how large a model may be and not what it says.
//!
//! A weight depends on the seed and its place alone, so parts can be made in any order and on any
//! number of threads. Only IEEE operations take part, and no library's logarithm or sine, so the
//! weights are the same bits on every machine.

use rand::{RngCore as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::f32::consts::{FRAC_PI_4, LN_2};

/// Weights of one chunk: each chunk of each tensor has a random stream of its own.
pub const CHUNK: usize = 1 << 18;

/// Values that are made together; what the compiler turns into vector instructions.
const BLOCK: usize = 512;

/// A distribution of weights: normal, around 0 for matrices and around 1 for the gains of norms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RandomWeights {
    /// Seed of `ChaCha8`.
    pub seed: u64,
    /// Standard deviation.
    pub std_dev: f32,
}

impl RandomWeights {
    /// Fills `values` with the weights of chunk `chunk` of tensor `tensor` (its index in the layout):
    /// [`CHUNK`] of them, or fewer for the first ones of the chunk.
    pub fn fill(&self, tensor: u32, chunk: u32, is_norm: bool, values: &mut [f32]) {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(u64::from(tensor) << 32 | u64::from(chunk));
        standard_normal(&mut rng, values);
        let mean = if is_norm { 1.0 } else { 0.0 };
        for value in values {
            *value = mean + self.std_dev * *value;
        }
    }
}

/// Fills `values` with standard normal numbers (Box and Muller 1958), at most 5.8 from 0.
fn standard_normal(rng: &mut ChaCha8Rng, values: &mut [f32]) {
    let mut bytes = [0_u8; 4 * BLOCK];
    let mut block = [0.0_f32; BLOCK];
    for values in values.chunks_mut(BLOCK) {
        rng.fill_bytes(&mut bytes);
        let (words, _) = bytes.as_chunks::<4>();
        let (radii, angles) = words.split_at(BLOCK / 2);
        let (first, second) = block.split_at_mut(BLOCK / 2);
        for (((x, y), radius), angle) in first.iter_mut().zip(second).zip(radii).zip(angles) {
            (*x, *y) = normal_pair(u32::from_le_bytes(*radius), u32::from_le_bytes(*angle));
        }
        values.copy_from_slice(&block[..values.len()]);
    }
}

/// Two independent standard normal numbers from 24 random bits for the radius, and 24 and two for the
/// angle.
#[expect(clippy::cast_possible_wrap, reason = "24 bits; signed integers become floats in one instruction")]
fn normal_pair(radius: u32, angle: u32) -> (f32, f32) {
    // √(−ln u) for u in (0, 1]; the 2 under the root goes into the angle's factor.
    let u = ((radius >> 8) + 1) as i32 as f32 * 2_f32.powi(-24);
    let radius = (-ln(u)).max(0.0).sqrt();
    // An angle in the first quadrant is π/4 + b; the signs choose the quadrant.
    let b = ((angle >> 8) as i32 - (1 << 23)) as f32 * (FRAC_PI_4 * 2_f32.powi(-23));
    let b2 = b * b;
    let sin = b * (1.0 + b2 * (-1.0 / 6.0 + b2 * (1.0 / 120.0 + b2 * (-1.0 / 5_040.0))));
    let cos = 1.0 + b2 * (-0.5 + b2 * (1.0 / 24.0 + b2 * (-1.0 / 720.0 + b2 * (1.0 / 40_320.0))));
    let x = radius * (cos - sin);
    let y = radius * (cos + sin);
    (f32::from_bits(x.to_bits() ^ angle << 31), f32::from_bits(y.to_bits() ^ angle >> 1 << 31))
}

/// ln x of a positive normal number, to about 1e-7.
#[expect(clippy::cast_possible_wrap, clippy::cast_sign_loss, reason = "bits of a float")]
fn ln(x: f32) -> f32 {
    // x = m · 2^e with m in [√½, √2).
    let e = (x.to_bits().wrapping_sub(std::f32::consts::FRAC_1_SQRT_2.to_bits()) as i32) >> 23;
    let m = f32::from_bits(x.to_bits().wrapping_sub((e as u32) << 23));
    // ln m = 2 artanh s
    let s = (m - 1.0) / (m + 1.0);
    let s2 = s * s;
    2.0 * s * (1.0 + s2 * (1.0 / 3.0 + s2 * (0.2 + s2 * (1.0 / 7.0 + s2 * (1.0 / 9.0))))) + e as f32 * LN_2
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn logarithm_is_accurate(x in 1e-8_f32..=1.0) {
            let exact = f64::from(x).ln();
            prop_assert!((f64::from(ln(x)) - exact).abs() <= 3e-7 * exact.abs().max(1.0), "{x}");
        }

        #[test]
        fn pairs_lie_on_the_circle(radius: u32, angle: u32) {
            let (x, y) = normal_pair(radius, angle);
            let u = (f64::from(radius >> 8) + 1.0) / 2_f64.powi(24);
            let squared = f64::from(x).powi(2) + f64::from(y).powi(2);
            prop_assert!((squared + 2.0 * u.ln()).abs() < 1e-5 * (1.0 - u.ln()), "{squared}");
            let turn = (f64::from(angle >> 8) / 2_f64.powi(24)) * std::f64::consts::FRAC_PI_2;
            let expected = (-2.0 * u.ln()).sqrt() * turn.cos();
            let sign = if angle & 1 == 0 { 1.0 } else { -1.0 };
            prop_assert!((f64::from(x) * sign - expected).abs() < 1e-5, "{x} {expected}");
        }
    }

    #[test]
    fn moments_and_tails_are_those_of_a_normal_distribution() {
        let mut values = vec![0.0; CHUNK];
        let weights = RandomWeights { seed: 7, std_dev: 0.5 };
        weights.fill(3, 1, false, &mut values);
        let n = CHUNK as f64;
        let moment = |power| values.iter().map(|&v| (f64::from(v) / 0.5).powi(power)).sum::<f64>() / n;
        for (power, expected, tolerance) in [(1, 0.0, 0.01), (2, 1.0, 0.02), (3, 0.0, 0.03), (4, 3.0, 0.1)] {
            assert!((moment(power) - expected).abs() < tolerance, "{power}: {}", moment(power));
        }
        let beyond = |limit: f32| values.iter().filter(|v| v.abs() > 0.5 * limit).count() as f64 / n;
        for (limit, expected) in [(1.0, 0.3173), (2.0, 0.0455), (3.0, 0.0027)] {
            assert!((beyond(limit) / expected - 1.0).abs() < 0.1, "{limit}: {}", beyond(limit));
        }
    }

    #[test]
    fn the_place_and_the_seed_decide() {
        let of = |seed, tensor, chunk, len| {
            let mut values = vec![0.0; len];
            RandomWeights { seed, std_dev: 0.02 }.fill(tensor, chunk, false, &mut values);
            values
        };
        let base = of(0, 0, 0, 1000);
        assert_eq!(of(0, 0, 0, 1000), base);
        assert_eq!(of(0, 0, 0, 700), base[..700]);
        for other in [of(1, 0, 0, 1000), of(0, 1, 0, 1000), of(0, 0, 1, 1000)] {
            assert_ne!(other, base);
        }
        let mut gains = vec![0.0; 1000];
        RandomWeights { seed: 0, std_dev: 0.02 }.fill(0, 0, true, &mut gains);
        assert!(gains.iter().all(|gain| (gain - 1.0).abs() < 0.12));
        // The bits are part of what a seed means.
        assert_eq!(
            base[..3].iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
            [3_163_673_547, 1_015_465_120, 3_161_785_555]
        );
    }
}
