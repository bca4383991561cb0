//! Levels come back as they went in, small, and damage is noticed.

use super::*;
use proptest::prelude::*;
use rand::{Rng as _, SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeSet;

fn header(shapes: &[Vec<u64>], levels: Vec<u64>) -> LevelsHeader {
    let tensors: Vec<LevelTensor> = (0..)
        .zip(shapes)
        .map(|(index, shape): (usize, _)| LevelTensor { name: format!("t{index}"), shape: shape.clone() })
        .collect();
    LevelsHeader {
        fingerprint: "ab".repeat(32),
        parameters_in_scope: tensors.iter().map(LevelTensor::numel).sum(),
        tensors,
        scope: "all".to_owned(),
        max_k: 1.0,
        estimator: "signed".to_owned(),
        languages: vec!["rust".to_owned()],
        group: "global".to_owned(),
        control: None,
        derived: None,
        levels,
    }
}

/// `len` different parameters, uniform over all tensors, in random order.
fn ranking(shapes: &[Vec<u64>], len: usize, seed: u64) -> (Vec<u16>, Vec<u32>) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut ends = Vec::new();
    let mut end = 0;
    for shape in shapes {
        end += shape.iter().product::<u64>();
        ends.push(end);
    }
    // One of each of `len` equal runs, with no two alike.
    let run = end / len as u64;
    let mut positions: Vec<u64> = (0..len as u64).map(|i| i * run + random.random_range(0..run)).collect();
    positions.shuffle(&mut random);
    let place = |position: u64| {
        let tensor = ends.partition_point(|&end| end <= position);
        let start = if tensor == 0 { 0 } else { ends[tensor - 1] };
        (u16::try_from(tensor).expect("few tensors"), u32::try_from(position - start).expect("small"))
    };
    positions.into_iter().map(place).unzip()
}

fn assert_round_trip(header: &LevelsHeader, tensor: &[u16], offset: &[u32]) -> Vec<u8> {
    let bytes = write_levels(header, tensor, offset).expect("it is a ranking");
    let levels = Levels::open(bytes.clone()).expect("it was just written");
    assert_eq!(levels.header(), header);
    let mut start = 0;
    for (level, &end) in header.levels.iter().enumerate() {
        let end = usize::try_from(end).expect("small");
        let places = tensor[start..end].iter().zip(&offset[start..end]);
        let mut expected: Vec<(usize, u32)> = places.map(|(t, o)| (usize::from(*t), *o)).collect();
        expected.sort_unstable();
        let found: Vec<(usize, u32)> = levels
            .level(level)
            .flat_map(|segment| segment.offsets.into_iter().map(move |offset| (segment.tensor, offset)))
            .collect();
        assert_eq!(found, expected);
        start = end;
    }
    bytes
}

/// Shapes of Llama-3.2-3B.
fn llama_3b() -> Vec<Vec<u64>> {
    let mut shapes = vec![vec![128_256, 3072]];
    for _ in 0..28 {
        for [rows, cols] in
            [[3072, 3072], [1024, 3072], [1024, 3072], [3072, 3072], [8192, 3072], [8192, 3072], [3072, 8192]]
        {
            shapes.push(vec![rows, cols]);
        }
        shapes.extend([vec![3072], vec![3072]]);
    }
    shapes.push(vec![3072]);
    shapes
}

#[test]
fn a_uniform_spot_of_a_3b_model_takes_less_than_two_bytes_a_parameter() {
    // A spot of 0.25 % that lies nowhere in particular: the hardest one to make small.
    let shapes = llama_3b();
    let parameters: u64 = shapes.iter().map(|shape| shape.iter().product::<u64>()).sum();
    let len = parameters / 400;
    let (tensor, offset) = ranking(&shapes, usize::try_from(len).unwrap(), 1);
    let header = header(&shapes, tick_counts(parameters, len));
    assert!(header.levels.len() > 150);
    let bytes = assert_round_trip(&header, &tensor, &offset);
    let each = bytes.len() as f64 / len as f64;
    println!("{len} parameters in {} levels: {} bytes, {each:.3} each", header.levels.len(), bytes.len());
    assert!(each < 2.0, "{each}");
}

#[test]
fn ticks_go_from_one_to_all_and_include_what_was_published() {
    let counts = tick_counts(3_212_749_824, 8_031_875);
    assert_eq!((counts[0], counts.last()), (1, Some(&8_031_875)));
    for published in [80_319, 321_275, 2_891_475, 8_031_875] {
        assert!(counts.contains(&published), "{published}");
    }
    assert!(counts.is_sorted_by(|a, b| a < b) && counts.len() <= 204);
    // From where neighbours differ, steps have one ratio: 1.083.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded, not negative")]
    let ticks: Vec<u64> =
        (60..200).map(|t| 8_031_875_f64.powf(f64::from(t) / 199.0).round() as u64).collect();
    assert!(ticks.iter().all(|tick| counts.contains(tick)));
    assert!(tick_counts(1000, 0).is_empty());
    assert_eq!(tick_counts(1000, 1), [1]);
    assert_eq!(tick_counts(400, 3), [1, 2, 3]);
}

fn small() -> (LevelsHeader, Vec<u8>) {
    let shapes = [vec![50, 40], vec![7], vec![30, 30]];
    let (tensor, offset) = ranking(&shapes, 90, 3);
    let header = header(&shapes, vec![1, 5, 40, 90]);
    let bytes = assert_round_trip(&header, &tensor, &offset);
    (header, bytes)
}

#[test]
fn truncation_and_what_follows_are_noticed() {
    let (_, bytes) = small();
    for len in 0..bytes.len() {
        assert!(Levels::open(bytes[..len].to_vec()).is_err(), "{len} bytes were taken");
    }
    assert!(Levels::open([bytes.as_slice(), &[0]].concat()).is_err());
    let mut newer = bytes;
    newer[4] = 2;
    assert_eq!(Levels::open(newer), Err(LevelsError::Version { found: 2 }));
}

#[test]
fn counts_that_nothing_stands_for_allocate_nothing() {
    // A count of 2³⁰ in the first segment, with a scope that would allow it.
    let header = LevelsHeader { levels: vec![1 << 30], ..header(&[vec![1 << 31]], vec![]) };
    let mut bytes = write_levels(&LevelsHeader { levels: vec![1], ..header.clone() }, &[0], &[5]).unwrap();
    let json = serde_json::to_vec(&header).unwrap();
    bytes.truncate(8);
    bytes.extend(u32::try_from(json.len()).unwrap().to_le_bytes());
    bytes.extend(json);
    bytes.extend([0x80, 0x80, 0x80, 0x80, 0x04, 0, 0, 0]);
    let error = Levels::open(bytes).unwrap_err();
    assert!(error.to_string().contains("level 0 is damaged in t0"), "{error}");
}

#[test]
fn rankings_that_do_not_fit_are_refused() {
    let header = header(&[vec![2, 3]], vec![2]);
    for (tensor, offset) in [
        (vec![0, 0], vec![1, 1]),
        (vec![0, 0], vec![1, 6]),
        (vec![0, 1], vec![1, 0]),
        (vec![0], vec![1]),
        (vec![0, 0], vec![1]),
    ] {
        assert!(matches!(write_levels(&header, &tensor, &offset), Err(LevelsError::Malformed(_))));
    }
    for levels in [vec![0, 2], vec![2, 2], vec![3, 2], vec![7]] {
        let header = LevelsHeader { levels, ..header.clone() };
        assert!(matches!(header.check(), Err(LevelsError::Malformed(_))));
    }
    assert!(
        Levels::open(write_levels(&LevelsHeader { levels: vec![], ..header }, &[], &[]).unwrap()).is_ok()
    );
}

#[test]
fn only_the_model_of_the_spot_is_taken() {
    let (header, bytes) = small();
    let levels = Levels::open(bytes).unwrap();
    let tensors = || header.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice()));
    levels.check(&header.fingerprint, tensors()).unwrap();
    let other = "cd".repeat(32);
    assert!(matches!(levels.check(&other, tensors()), Err(LevelsError::OtherWeights { .. })));
    let fewer = levels.check(&header.fingerprint, tensors().take(2));
    assert!(matches!(fewer, Err(LevelsError::OtherLayout { index: 2, .. })));
    let more = levels.check(&header.fingerprint, tensors().chain([("t3", [1].as_slice())]));
    assert!(matches!(more, Err(LevelsError::OtherLayout { index: 3, .. })));
    let renamed = tensors().map(|(name, shape)| (if name == "t1" { "u1" } else { name }, shape));
    let text = levels.check(&header.fingerprint, renamed).unwrap_err().to_string();
    assert!(text.contains("t1 [7]") && text.contains("u1 [7]"), "{text}");
    assert_eq!(
        [0, 1, 4, 5, 89, 1000].map(|n| levels.level_of(n)),
        [None, Some(0), Some(0), Some(1), Some(2), Some(3)]
    );
}

proptest! {
    #[test]
    fn any_ranking_comes_back(
        places in proptest::collection::btree_set((0_u16..3, 0_u32..2000), 1..200),
        cuts in proptest::collection::btree_set(1_usize..200, 0..6),
        seed: u64,
    ) {
        let mut places: Vec<(u16, u32)> = places.into_iter().collect();
        places.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let levels: BTreeSet<usize> =
            cuts.into_iter().filter(|&cut| cut < places.len()).chain([places.len()]).collect();
        let header = header(&[vec![2000], vec![40, 50], vec![2000, 1]], levels.into_iter().map(|n| n as u64).collect());
        let (tensor, offset): (Vec<u16>, Vec<u32>) = places.into_iter().unzip();
        assert_round_trip(&header, &tensor, &offset);
    }

    #[test]
    fn changed_bits_are_refused_or_give_what_the_header_says(
        bits in proptest::collection::vec(any::<proptest::sample::Index>(), 1..4),
    ) {
        let (_, mut bytes) = small();
        for bit in bits {
            let bit = bit.index(8 * bytes.len());
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        if let Ok(levels) = Levels::open(bytes) {
            let mut before = 0;
            for level in 0..levels.len() {
                let mut count = 0;
                for segment in levels.level(level) {
                    let numel = levels.header().tensors[segment.tensor].numel();
                    prop_assert!(segment.offsets.is_sorted_by(|a, b| a < b));
                    prop_assert!(segment.offsets.iter().all(|&offset| u64::from(offset) < numel));
                    count += segment.offsets.len() as u64;
                }
                prop_assert_eq!(before + count, levels.header().levels[level]);
                before += count;
            }
        }
    }

    #[test]
    fn codes_of_any_values_come_back(values in proptest::collection::vec(
        prop_oneof![0_u32..100, any::<u32>()], 1..20), parameter in 20_u8..=32,
    ) {
        let mut bytes = Vec::new();
        rice::write(&values, parameter, &mut bytes);
        let mut reader = rice::Reader::new(&bytes);
        for &value in &values {
            prop_assert_eq!(reader.next(parameter, 1 << 32), Some(u64::from(value)));
        }
        prop_assert_eq!(reader.finish(), Some(bytes.len()));
    }
}
