//! From the values of a block to codes and a scale.
//!
//! Plain IEEE operations in a fixed order: the same values give the same bits on any machine. Sums run
//! in [`LANES`] partial sums, which is what lets the compiler use vectors without changing the order.

use super::BLOCK;
use half::bf16;

/// Partial sums.
const LANES: usize = 8;
/// 1.5 · 2²³: added to a number of magnitude below 2²², the sum's lowest bits are that number rounded to
/// the nearest integer, ties to even. Unlike `round`, it needs no newer instruction to be fast.
const ROUNDING: f32 = 12_582_912.0;

/// Steps of tenths to either side of −8 that are tried for largest / scale (llama.cpp's
/// `make_qx_quants` tries the same).
const STEPS: i16 = 9;

/// Words and scale of a block in `q8`.
pub(super) fn quantise_q8(block: &[f32; BLOCK]) -> ([u32; 8], bf16) {
    let scale = bf16::from_f32(largest(block).abs() / 127.0);
    let codes = codes::<-127, 127>(block, scale.to_f32());
    let (fours, _) = codes.as_chunks::<4>();
    let mut words = [0; 8];
    for (word, four) in words.iter_mut().zip(fours) {
        *word = u32::from_le_bytes(four.map(i8::cast_unsigned));
    }
    (words, scale)
}

/// Words and scale of a block in `q4`.
pub(super) fn quantise_q4(block: &[f32; BLOCK]) -> ([u32; 4], bf16) {
    let scale = scale_q4(block);
    let codes = codes::<-8, 7>(block, scale.to_f32());
    let (eights, _) = codes.as_chunks::<8>();
    let mut words = [0; 4];
    for (word, eight) in words.iter_mut().zip(eights) {
        let nibbles = eight.map(|code| u32::from(code.cast_unsigned() & 0xF));
        *word = nibbles.iter().rev().fold(0, |word, nibble| word << 4 | nibble);
    }
    (words, scale)
}

/// The value of largest magnitude, the first of equals.
fn largest(block: &[f32; BLOCK]) -> f32 {
    block.iter().fold(0.0, |largest: f32, &value| if value.abs() > largest.abs() { value } else { largest })
}

/// The nearest codes for this scale; 0 for scale 0.
fn codes<const LOW: i8, const HIGH: i8>(block: &[f32; BLOCK], scale: f32) -> [i8; BLOCK] {
    if scale == 0.0 {
        return [0; BLOCK];
    }
    // Clamped before it is rounded, as the bounds are whole; the cast then cuts nothing.
    #[expect(clippy::cast_possible_truncation, reason = "a whole number between the bounds")]
    block.map(|value| {
        let units = (value / scale).clamp(f32::from(LOW), f32::from(HIGH));
        (units + ROUNDING - ROUNDING) as i8
    })
}

/// The scale of a `q4` block of any finite values.
fn scale_q4(block: &[f32; BLOCK]) -> bf16 {
    let magnitude = largest(block).abs();
    if magnitude == 0.0 {
        return bf16::ZERO;
    }
    // Squares stay inside f32's range when the values are moved there by a power of two.
    let (into, back) = if magnitude < exp2(-50) {
        (exp2(100), exp2(-100))
    } else if magnitude > exp2(50) {
        (exp2(-100), exp2(100))
    } else {
        return best_scale(block);
    };
    let scale = bf16::from_f32(best_scale(&block.map(|value| value * into)).to_f32() * back);
    // Near f32's largest number, rounding the scale up would make −8 times it infinite.
    if (8.0 * scale.to_f32()).is_finite() { scale } else { bf16::from_bits(scale.to_bits() - 1) }
}

/// 2 to a power between −126 and 127.
fn exp2(power: i32) -> f32 {
    f32::from_bits((power + 127).cast_unsigned() << 23)
}

/// The scale of least squared error of those tried, for a block whose largest magnitude is between
/// 2⁻⁵⁰ and 2⁵⁰.
fn best_scale(block: &[f32; BLOCK]) -> bf16 {
    let largest = largest(block);
    // Codes for a fixed set of trial scales; of each, the scale that fits these codes best leaves an
    // error of Σx² − (Σxc)² / Σc².
    let mut best = (0.0, 0.0);
    for step in -STEPS..=STEPS {
        let per_unit = -(8.0 + 0.1 * f32::from(step)) / largest;
        let (xc, cc) = products(block, per_unit);
        let explained = xc * xc / cc;
        if explained > best.0 {
            best = (explained, xc / cc);
        }
    }
    // The scale is stored with 8 bits, so that its neighbours and the plain choices may be better.
    let nearest = bf16::from_f32(best.1);
    let neighbours = [nearest.to_bits(), nearest.to_bits() + 1, nearest.to_bits() - 1].map(bf16::from_bits);
    let plain = [largest / -8.0, largest.abs() / 7.0].map(bf16::from_f32);
    let mut chosen = (f32::INFINITY, nearest);
    for scale in plain.into_iter().chain(neighbours) {
        let error = squared_error(block, scale.to_f32());
        if error < chosen.0 {
            chosen = (error, scale);
        }
    }
    chosen.1
}

/// `Σ value · code` and `Σ code²` for the nearest codes of `value · per_unit`.
fn products(block: &[f32; BLOCK], per_unit: f32) -> (f32, f32) {
    let (mut xc, mut cc) = ([0.0; LANES], [0.0; LANES]);
    for values in block.as_chunks::<LANES>().0 {
        for lane in 0..LANES {
            let units = values[lane] * per_unit;
            let code = units.max(-8.0).min(7.0) + ROUNDING - ROUNDING;
            xc[lane] += values[lane] * code;
            cc[lane] += code * code;
        }
    }
    (xc.iter().sum(), cc.iter().sum())
}

/// The squared error of the nearest codes for this scale.
fn squared_error(block: &[f32; BLOCK], scale: f32) -> f32 {
    let mut sums = [0.0; LANES];
    for values in block.as_chunks::<LANES>().0 {
        for lane in 0..LANES {
            let code = (values[lane] / scale).max(-8.0).min(7.0) + ROUNDING - ROUNDING;
            let error = values[lane] - code * scale;
            sums[lane] += error * error;
        }
    }
    sums.iter().sum()
}
