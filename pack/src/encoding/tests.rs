//! What encodings keep, how far they are off, and that codes can be edited one at a time.

use super::*;
use proptest::prelude::*;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Sums of uniform numbers: near a normal distribution, without a library's logarithm.
fn weights(len: usize, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| (0..6).map(|_| random.random_range(-0.02_f32..0.02)).sum()).collect()
}

fn round_trip(values: &[f32], cols: usize, encoding: Encoding) -> Vec<f32> {
    let packed = pack_rows(values, cols, encoding);
    let rows = (values.len() / cols) as u64;
    assert_eq!(packed.words.len() as u64, encoding.num_words(rows, cols as u64));
    assert_eq!(packed.scales.len() as u64, encoding.num_scale_words(rows, cols as u64));
    let mut bytes = Vec::new();
    packed.extend_bytes(&mut bytes);
    assert_eq!(PackedRows::from_bytes(&bytes, rows, cols as u64, encoding), Some(packed.clone()));
    for wrong in [&bytes[1..], &[bytes.as_slice(), &[0]].concat()] {
        assert_eq!(PackedRows::from_bytes(wrong, rows, cols as u64, encoding), None);
    }
    unpack_rows(&packed.words, &packed.scales, cols, encoding)
}

fn mean_squared_error(left: &[f32], right: &[f32]) -> f64 {
    let squares = left.iter().zip(right).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
    squares.sum::<f64>() / left.len() as f64
}

/// A value that is zero of either sign, usual, tiny or huge.
fn any_weight() -> impl Strategy<Value = f32> {
    prop_oneof![
        Just(0.0),
        Just(-0.0),
        -1.0_f32..1.0,
        (-1e-3_f32..1e-3),
        any::<f32>().prop_filter("finite", |value| value.is_finite()),
    ]
}

proptest! {
    #[test]
    fn singles_come_back_bit_for_bit(values in proptest::collection::vec(any_weight(), 1..40)) {
        let back = round_trip(&values, 1, Encoding::F32);
        prop_assert!(values.iter().zip(&back).all(|(a, b)| a.to_bits() == b.to_bits()));
    }

    #[test]
    fn halves_come_back_bit_for_bit(bits in proptest::collection::vec(any::<u16>(), 8)) {
        let values: Vec<f32> = bits.iter().map(|&bits| f16::from_bits(bits).to_f32()).collect();
        prop_assume!(values.iter().all(|value| value.is_finite()));
        let back = round_trip(&values, 4, Encoding::F16);
        prop_assert!(values.iter().zip(&back).all(|(a, b)| a.to_bits() == b.to_bits()));
    }

    #[test]
    fn every_value_stays_finite_and_within_its_block(values in proptest::collection::vec(any_weight(), 96)) {
        for encoding in [Encoding::F16, Encoding::Q8, Encoding::Q4] {
            let back = round_trip(&values, 32, encoding);
            for (block, decoded) in values.chunks(BLOCK).zip(back.chunks(BLOCK)) {
                let largest = block.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
                for (value, decoded) in block.iter().zip(decoded) {
                    prop_assert!(decoded.is_finite());
                    prop_assert!(decoded.abs() <= largest * 1.15 + f32::MIN_POSITIVE, "{value} {decoded}");
                    prop_assert!(*value != 0.0 || *decoded == 0.0);
                }
            }
        }
    }

    #[test]
    fn q8_is_off_by_half_a_scale_at_most(values in proptest::collection::vec(any_weight(), 64)) {
        let packed = pack_rows(&values, 64, Encoding::Q8);
        let back = unpack_rows(&packed.words, &packed.scales, 64, Encoding::Q8);
        for (index, (value, decoded)) in values.iter().zip(&back).enumerate() {
            let scale = scale(&packed.scales, index / BLOCK);
            // A scale below the normal numbers is itself rounded to few bits.
            let bound = if scale < 1e-36 { 1e-35 } else { 0.51 * f64::from(scale) };
            prop_assert!((f64::from(*value) - f64::from(*decoded)).abs() <= bound, "{value} {decoded} {scale}");
        }
    }

    #[test]
    fn codes_are_edited_one_at_a_time(
        values in proptest::collection::vec(-1.0_f32..1.0, 64),
        element in 0_usize..64,
    ) {
        for encoding in Encoding::ALL {
            let packed = pack_rows(&values, 32, encoding);
            let all = unpack_rows(&packed.words, &packed.scales, 32, encoding);
            let scale = if encoding.has_scales() { scale(&packed.scales, element / BLOCK) } else { 0.0 };
            let original = code(&packed.words, element, encoding);
            prop_assert_eq!(value_of(original, scale, encoding).to_bits(), all[element].to_bits());
            let mut words = packed.words.clone();
            set_code(&mut words, element, 0, encoding);
            let ablated = unpack_rows(&words, &packed.scales, 32, encoding);
            for (index, (now, before)) in ablated.iter().zip(&all).enumerate() {
                prop_assert_eq!(now.to_bits(), if index == element { 0 } else { before.to_bits() });
            }
            // Bits above the element's own change nothing.
            set_code(&mut words, element, original | !mask(encoding), encoding);
            prop_assert_eq!(words, packed.words);
        }
    }
}

#[test]
fn any_rows_are_taken_out_of_bytes() {
    // Three blocks a row, so that rows begin in either half of a scale word.
    let (rows, cols) = (5, 96);
    let values = weights(rows * cols, 4);
    for encoding in Encoding::ALL {
        let mut bytes = Vec::new();
        let packed = pack_rows(&values, cols, encoding);
        packed.extend_bytes(&mut bytes);
        let all = unpack_rows(&packed.words, &packed.scales, cols, encoding);
        for start in 0..=rows {
            for end in start..=rows {
                let wanted = start as u64..end as u64;
                let part = PackedRows::rows_from_bytes(&bytes, rows as u64, cols as u64, encoding, wanted);
                let part = part.expect("they are there");
                let part = unpack_rows(&part.words, &part.scales, cols, encoding);
                assert_eq!(part, all[start * cols..end * cols], "{encoding} {start}..{end}");
            }
        }
        let past = 4..rows as u64 + 1;
        assert_eq!(PackedRows::rows_from_bytes(&bytes, rows as u64, cols as u64, encoding, past), None);
    }
}

#[test]
fn words_lie_as_the_format_says() {
    let q8 = PackedRows { words: vec![0x81_7F_FF_01; 8], scales: vec![0x4000_3F80] };
    let values = unpack_rows(&q8.words, &q8.scales, 32, Encoding::Q8);
    assert_eq!(values[..4], [1.0, -1.0, 127.0, -127.0]);
    let q4 = PackedRows { words: vec![0x7F_81_23_45; 8], scales: vec![0x4000_3F80] };
    let values = unpack_rows(&q4.words, &q4.scales, 32, Encoding::Q4);
    assert_eq!(values[..8], [5.0, 4.0, 3.0, 2.0, 1.0, -8.0, -1.0, 7.0]);
    assert_eq!(values[32..40], [10.0, 8.0, 6.0, 4.0, 2.0, -16.0, -2.0, 14.0]);
    assert_eq!(unpack_rows(&[0xC000_3C00], &[], 2, Encoding::F16), [1.0, -2.0]);
    let ramp: Vec<f32> = (0..32).map(|i| [-8.0, 7.0, 3.0, 0.0, 1.0, -1.0, 5.0, 2.0][i % 8]).collect();
    let packed = pack_rows(&ramp, 32, Encoding::Q4);
    assert_eq!(packed, PackedRows { words: vec![0x25_F1_03_78; 4], scales: vec![0x3F80] });
}

#[test]
fn a_zero_code_is_plus_zero_even_under_a_negative_scale() {
    // The largest value is positive, so that −8 times a negative scale is nearest to it.
    let mut values = vec![0.0_f32; 32];
    values[0] = 8.0;
    let packed = pack_rows(&values, 32, Encoding::Q4);
    assert!(scale(&packed.scales, 0) < 0.0);
    let back = unpack_rows(&packed.words, &packed.scales, 32, Encoding::Q4);
    assert_eq!(back[0].to_bits(), 8.0_f32.to_bits());
    assert!(back[1..].iter().all(|value| value.to_bits() == 0));
    for encoding in Encoding::ALL {
        assert_eq!(value_of(0, -1.0, encoding).to_bits(), 0);
    }
}

#[test]
fn a_block_of_zeros_has_scale_zero() {
    for encoding in [Encoding::Q8, Encoding::Q4] {
        let packed = pack_rows(&[0.0, -0.0].repeat(16), 32, encoding);
        assert!(packed.words.iter().chain(&packed.scales).all(|&word| word == 0));
    }
}

#[test]
fn q4_is_nearer_than_the_plain_scale() {
    let values = weights(1 << 15, 1);
    let plain: Vec<f32> = values
        .chunks(BLOCK)
        .flat_map(|block| {
            let largest = block.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
            let scale = bf16::from_f32(largest / 7.0).to_f32();
            block.iter().map(move |value| (value / scale).round().clamp(-8.0, 7.0) * scale)
        })
        .collect();
    let ours = round_trip(&values, 64, Encoding::Q4);
    let (ours_error, plain_error) = (mean_squared_error(&values, &ours), mean_squared_error(&values, &plain));
    assert!(ours_error < 0.85 * plain_error, "{ours_error:e} against {plain_error:e}");
    for ((block, ours), plain) in values.chunks(32).zip(ours.chunks(32)).zip(plain.chunks(32)) {
        assert!(mean_squared_error(block, ours) <= mean_squared_error(block, plain) * (1.0 + 1e-5));
    }
}

#[test]
fn errors_scale_with_powers_of_two() {
    // Moving all values by a power of two moves scales by it and leaves codes alone, also where the
    // squares of values leave f32's range.
    let values = weights(1 << 10, 2);
    let base = pack_rows(&values, 32, Encoding::Q4);
    for power in [-110, -60, 60, 110] {
        let factor = 2.0_f32.powi(power);
        let moved: Vec<f32> = values.iter().map(|value| value * factor).collect();
        let packed = pack_rows(&moved, 32, Encoding::Q4);
        assert_eq!(packed.words, base.words, "2^{power}");
        for block in 0..values.len() / BLOCK {
            let (moved, base) = (scale(&packed.scales, block), scale(&base.scales, block));
            assert_eq!(moved.to_bits(), (base * factor).to_bits());
        }
    }
}

#[test]
fn the_largest_finite_numbers_stay_finite() {
    for value in [f32::MAX, f32::MIN] {
        for encoding in Encoding::ALL {
            let back = round_trip(&[value; 32], 32, encoding);
            assert!(
                back.iter().all(|back| back.is_finite() && back.signum() == value.signum()),
                "{encoding}"
            );
        }
    }
}

#[test]
fn rows_that_an_encoding_does_not_fit_get_the_next() {
    use Encoding::{F16, F32, Q4, Q8};
    let of = |cols| Encoding::ALL.map(|encoding| encoding.for_cols(cols));
    assert_eq!(of(64), [F32, F16, Q8, Q4]);
    assert_eq!(of(34), [F32, F16, F16, F16]);
    assert_eq!(of(33), [F32, F32, F32, F32]);
    assert_eq!("q4".parse(), Ok(Q4));
    assert!("q5".parse::<Encoding>().is_err());
}
