//! From the values of a block to codes and a scale.
//!
//! Plain IEEE operations in a fixed order: the same values give the same bits on any machine. Several
//! trial scales are summed side by side, which is what lets the compiler use vectors without changing
//! the order of a sum.

use super::BLOCK;
use half::bf16;

/// Trial scales that are looked at side by side.
const LANES: usize = 8;
/// 1.5 · 2²³: added to a number of magnitude below 2²², the sum's lowest bits are that number rounded to
/// the nearest integer, ties to even. Unlike `round`, it needs no newer instruction to be fast.
const ROUNDING: f32 = 12_582_912.0;

/// What largest / scale is in the trials: −8 and some tenths to either side (llama.cpp's
/// `make_qx_quants` tries likewise).
const TRIALS: [[f32; LANES]; 2] =
    [[-8.0, -7.9, -7.8, -7.7, -7.6, -7.5, -7.4, -7.3], [-8.1, -8.2, -8.3, -8.4, -8.5, -8.6, -8.7, -7.2]];

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
    // Each trial gives codes; of these, the scale that fits them best, Σxc / Σc², leaves an error of
    // Σx² − (Σxc)² / Σc².
    let mut best = (0.0, 0.0);
    for trials in TRIALS {
        let (xc, cc) = products(block, trials.map(|units| units / largest));
        for (xc, cc) in xc.into_iter().zip(cc) {
            let explained = xc * xc / cc;
            if explained > best.0 {
                best = (explained, xc / cc);
            }
        }
    }
    // The scale is stored with 8 bits, so that its neighbours and the plain choices may be better.
    let nearest = bf16::from_f32(best.1).to_bits();
    let near = |step: i16| bf16::from_bits(nearest.wrapping_add_signed(step));
    let plain = [largest / -8.0, largest.abs() / 7.0].map(bf16::from_f32);
    let scales = [plain[0], plain[1], near(0), near(-1), near(1), near(-2), near(2), near(3)];
    let errors = squared_errors(block, scales.map(bf16::to_f32));
    let mut chosen = 0;
    for (index, error) in errors.iter().enumerate() {
        if *error < errors[chosen] {
            chosen = index;
        }
    }
    scales[chosen]
}

/// `Σ value · code` and `Σ code²` for the nearest codes of `value · per_unit`, for each of `per_unit`.
fn products(block: &[f32; BLOCK], per_unit: [f32; LANES]) -> ([f32; LANES], [f32; LANES]) {
    let (mut xc, mut cc) = ([0.0; LANES], [0.0; LANES]);
    for &value in block {
        for lane in 0..LANES {
            let code = (value * per_unit[lane]).clamp(-8.0, 7.0) + ROUNDING - ROUNDING;
            xc[lane] += value * code;
            cc[lane] += code * code;
        }
    }
    (xc, cc)
}

/// The squared errors of the nearest codes for each of these scales, none of them 0.
fn squared_errors(block: &[f32; BLOCK], scales: [f32; LANES]) -> [f32; LANES] {
    let per_unit = scales.map(f32::recip);
    let mut sums = [0.0; LANES];
    for &value in block {
        for lane in 0..LANES {
            let code = (value * per_unit[lane]).clamp(-8.0, 7.0) + ROUNDING - ROUNDING;
            let error = value - code * scales[lane];
            sums[lane] += error * error;
        }
    }
    sums
}
