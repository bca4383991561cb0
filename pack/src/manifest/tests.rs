//! Plans make manifests that are taken; every way in which one can lie is noticed.

use super::*;
use crate::encoding::{pack_rows, unpack_rows};
use proptest::prelude::*;

/// Tensors of a small model whose embedding takes several pieces and shards in f32.
const TENSORS: [(&str, &[u64]); 5] = [
    ("embed", &[70_000, 288]),
    ("odd_blocks", &[5, 96]),
    ("halves", &[3, 34]),
    ("odd", &[3, 33]),
    ("norm", &[288]),
];

fn manifest(encoding: Encoding) -> Manifest {
    let plan = plan(TENSORS, encoding).expect("all of them have a form");
    let hash = "ab".repeat(32);
    let tensors = TENSORS
        .iter()
        .zip(&plan.tensors)
        .map(|(&(name, shape), planned)| TensorEntry {
            name: name.to_owned(),
            shape: shape.to_vec(),
            encoding: planned.encoding,
            pieces: planned
                .pieces
                .iter()
                .map(|piece| PieceEntry {
                    rows: piece.rows,
                    shard: piece.shard,
                    offset: piece.offset,
                    bytes: piece.bytes,
                    blake3: hash.clone(),
                })
                .collect(),
        })
        .collect();
    let shards: Vec<ShardEntry> = (1..)
        .zip(&plan.shards)
        .map(|(number, &bytes)| ShardEntry { name: format!("weights-{number:05}.bin"), bytes })
        .collect();
    let total_bytes = 100 + 7 + plan.shards.iter().sum::<u64>();
    Manifest {
        format: FORMAT,
        name: "small".to_owned(),
        fingerprint: hash.clone(),
        encoding,
        files: vec![FileEntry { name: "config.json".to_owned(), bytes: 100, blake3: hash.clone() }],
        shards,
        tensors,
        quality: Some(Quality {
            corpus: "eval".to_owned(),
            seq_len: 256,
            tokens: 1000,
            nats_per_token: 2.5,
            nats_per_token_f32: 2.4,
        }),
        spots: vec![SpotEntry {
            name: "all".to_owned(),
            file: "spot-all.levels".to_owned(),
            bytes: 7,
            blake3: hash,
            max_k: 1.0,
            parameters_in_scope: 1000,
            len: 10,
            scope: "all".to_owned(),
            languages: vec!["rust".to_owned()],
            control: None,
            derived: None,
        }],
        total_bytes,
    }
}

#[test]
fn plans_make_manifests_that_come_back() {
    for encoding in Encoding::ALL {
        let manifest = manifest(encoding);
        let bytes = manifest.to_bytes().unwrap();
        assert_eq!(Manifest::parse(&bytes).unwrap(), manifest);
        let encodings: Vec<Encoding> = manifest.tensors.iter().map(|tensor| tensor.encoding).collect();
        assert_eq!(encodings[..2], [encoding; 2]);
        assert_eq!(encodings[2], if encoding == Encoding::F32 { Encoding::F32 } else { Encoding::F16 });
        assert_eq!(encodings[3..], [Encoding::F32; 2]);
        assert_eq!(
            manifest.num_parameters(),
            TENSORS.iter().map(|t| t.1.iter().product::<u64>()).sum::<u64>()
        );
        // Pieces follow each other in rows and in bytes.
        let mut ends = std::collections::BTreeMap::new();
        let mut rows = [0; TENSORS.len()];
        for piece in manifest.pieces() {
            assert_eq!(piece.first_row, rows[piece.tensor]);
            rows[piece.tensor] += piece.rows;
            let end = ends.entry(piece.shard).or_insert(0);
            assert_eq!(piece.range.start, *end);
            *end = piece.range.end;
        }
        let ends: Vec<u64> = ends.into_values().collect();
        assert_eq!(ends, manifest.shards.iter().map(|shard| shard.bytes).collect::<Vec<_>>());
        assert!(ends.iter().all(|&end| end <= MAX_SHARD_BYTES));
    }
    assert!(manifest(Encoding::F32).shards.len() > 2);
}

#[test]
fn what_does_not_fit_together_is_refused() {
    type Lie = (&'static str, fn(&mut Manifest));
    let lies: [Lie; 29] = [
        ("name", |m| m.name = "a\nb".to_owned()),
        ("fingerprint", |m| m.fingerprint = "AB".repeat(32)),
        ("total_bytes", |m| m.total_bytes += 1),
        ("config.json", |m| m.files[0].name = "config2.json".to_owned()),
        ("../x", |m| m.files[0].name = "../x".to_owned()),
        (".hidden", |m| m.shards[0].name = ".hidden".to_owned()),
        ("manifest.json", |m| m.spots[0].file = "manifest.json".to_owned()),
        ("another than", |m| m.shards[1].name = m.shards[0].name.clone()),
        ("the size of config.json", |m| m.files[0].bytes = u64::MAX),
        ("the hash of config.json", |m| m.files[0].blake3 = "é".repeat(32)),
        ("the size of weights", |m| m.shards[0].bytes = MAX_SHARD_BYTES + 1),
        ("number of tensors", |m| m.tensors.clear()),
        ("the name of a tensor", |m| m.tensors[1].name = m.tensors[0].name.clone()),
        ("halves", |m| m.tensors[2].encoding = Encoding::Q8),
        ("norm", |m| m.tensors[4].encoding = Encoding::F16),
        ("norm", |m| m.tensors[4].shape = vec![]),
        ("norm", |m| m.tensors[4].shape = vec![1, 2, 144]),
        ("embed", |m| m.tensors[0].shape = vec![u64::MAX, u64::MAX]),
        ("embed", |m| m.tensors[0].shape = vec![0, 288]),
        ("embed", |m| m.tensors[0].shape[0] += 1),
        ("number of rows", |m| m.tensors[0].pieces[0].rows = u64::MAX),
        ("number of rows", |m| m.tensors[0].pieces[0].rows = 0),
        ("the size of the piece", |m| m.tensors[0].pieces[0].bytes -= 4),
        ("the hash of the piece", |m| m.tensors[0].pieces[0].blake3.truncate(63)),
        ("the place of the piece", |m| m.tensors[0].pieces[1].offset = u64::MAX),
        ("the place of the piece", |m| m.tensors[0].pieces[1].shard = u32::MAX),
        ("end of the last", |m| {
            m.tensors.pop();
        }),
        ("max_k", |m| m.spots[0].max_k = f64::NAN),
        ("the length", |m| m.spots[0].len = 1001),
    ];
    for (expected, lie) in lies {
        let mut lying = manifest(Encoding::F32);
        lie(&mut lying);
        let text = lying.to_bytes().unwrap_err().to_string();
        assert!(text.contains(expected) && text.len() < 600, "{expected}: {text}");
    }
    let text = String::from_utf8(manifest(Encoding::Q8).to_bytes().unwrap()).unwrap();
    let newer = text.replacen("\"format\":1", "\"format\":2", 1);
    assert!(matches!(Manifest::parse(newer.as_bytes()), Err(ManifestError::Version { found: 2 })));
    let long = vec![b' '; 1 + usize::try_from(MAX_MANIFEST_BYTES).unwrap()];
    assert!(matches!(Manifest::parse(&long), Err(ManifestError::TooLong { .. })));
    for bad in ["", "{}", "[1]", "{\"format\":1}", "\u{0}"] {
        assert!(matches!(Manifest::parse(bad.as_bytes()), Err(ManifestError::Malformed(_))), "{bad}");
    }
}

#[test]
fn pieces_of_odd_blocks_have_even_rows() {
    // Three blocks a row; 90 bytes of words and scales for q4's row of 96 elements, nearly.
    let odd = plan([("odd", [200_001, 96].as_slice())], Encoding::Q4).unwrap();
    let pieces = &odd.tensors[0].pieces;
    assert!(pieces.len() > 1);
    assert!(pieces[..pieces.len() - 1].iter().all(|piece| piece.rows.is_multiple_of(2)));
    assert_eq!(pieces.iter().map(|piece| piece.rows).sum::<u64>(), 200_001);
}

#[test]
fn tensors_without_a_form_are_refused() {
    for shape in [&[][..], &[0], &[2, 0], &[2, 2, 2]] {
        assert!(matches!(plan([("bad", shape)], Encoding::Q8), Err(PlanError::Shape { .. })));
    }
    let long = plan([("long", [MAX_PIECE_BYTES / 4 + 1].as_slice())], Encoding::Q8);
    assert!(matches!(long, Err(PlanError::RowTooLong { .. })));
    let long = plan([("long", [2, MAX_PIECE_BYTES * 2].as_slice())], Encoding::Q4);
    assert!(matches!(long, Err(PlanError::RowTooLong { .. })));
}

#[test]
fn a_changed_piece_is_noticed() {
    let values: Vec<f32> = (0_u8..64).map(|i| f32::from(i) - 31.5).collect();
    let packed = pack_rows(&values, 32, Encoding::Q8);
    let mut bytes = Vec::new();
    packed.extend_bytes(&mut bytes);
    let entry = TensorEntry {
        name: "w".to_owned(),
        shape: vec![2, 32],
        encoding: Encoding::Q8,
        pieces: vec![PieceEntry {
            rows: 2,
            shard: 0,
            offset: 0,
            bytes: bytes.len() as u64,
            blake3: blake3::hash(&bytes).to_string(),
        }],
    };
    let piece = Piece::new(0, &entry, 0, &entry.pieces[0]);
    let rows = piece.decode(&bytes).unwrap();
    assert_eq!(rows, packed);
    assert!((unpack_rows(&rows.words, &rows.scales, 32, Encoding::Q8)[63] - 31.5).abs() < 0.2);
    assert!(matches!(piece.decode(&bytes[1..]), Err(PieceError::Length { .. })));
    for bit in 0..8 * bytes.len() {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(piece.decode(&flipped), Err(PieceError::Hash { .. })));
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Manifest::parse(&bytes).is_err());
    }

    #[test]
    fn a_changed_digit_never_panics(place in any::<proptest::sample::Index>(), digit in b'0'..=b'9') {
        let mut bytes = manifest(Encoding::Q4).to_bytes().unwrap();
        let digits: Vec<usize> = (0..bytes.len()).filter(|&i| bytes[i].is_ascii_digit()).collect();
        bytes[digits[place.index(digits.len())]] = digit;
        if let Ok(manifest) = Manifest::parse(&bytes) {
            // What is taken is whole.
            prop_assert_eq!(Manifest::parse(&manifest.to_bytes().unwrap()).unwrap(), manifest);
        }
    }

    #[test]
    fn any_shapes_make_a_plan_that_is_taken(
        shapes in proptest::collection::vec((1_u64..100_000, 1_u64..200), 1..6),
        encoding in proptest::sample::select(Encoding::ALL.to_vec()),
    ) {
        let shapes: Vec<[u64; 2]> = shapes.into_iter().map(|(rows, cols)| [rows, cols]).collect();
        let plan = plan(shapes.iter().map(|shape| ("w", shape.as_slice())), encoding).unwrap();
        prop_assert!(plan.shards.iter().all(|&bytes| bytes <= MAX_SHARD_BYTES && bytes > 0));
        for (shape, tensor) in shapes.iter().zip(&plan.tensors) {
            prop_assert_eq!(tensor.pieces.iter().map(|piece| piece.rows).sum::<u64>(), shape[0]);
            prop_assert!(tensor.pieces.iter().all(|piece| piece.bytes <= MAX_PIECE_BYTES));
        }
    }
}
