//! Whether a manifest fits together.

use super::plan::{num_bytes, row_step};
use super::{
    MANIFEST, MAX_FILE_BYTES, MAX_PIECE_BYTES, MAX_SHARD_BYTES, Manifest, ManifestError, SpotEntry,
    TensorEntry, is_file_name,
};
use crate::encoding::Encoding;
use std::collections::BTreeSet;
use std::fmt::Display;

/// Most tensors: a spot counts them with 16 bits.
const MAX_TENSORS: usize = 1 << 16;
/// Most elements of a tensor: a spot counts them with 32 bits.
const MAX_NUMEL: u64 = 1 << 32;
/// Longest name of a model, tensor, spot or language, bytes.
const MAX_NAME: usize = 256;

fn invalid(place: impl Display, found: impl Display, expected: impl Display) -> ManifestError {
    ManifestError::Invalid {
        place: place.to_string(),
        found: found.to_string(),
        expected: expected.to_string(),
    }
}

fn check_hash(place: &str, hash: &str) -> Result<(), ManifestError> {
    if hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
        return Ok(());
    }
    Err(invalid(place, shown(hash), "64 lower-case hexadecimal digits"))
}

fn check_name(place: &str, name: &str) -> Result<(), ManifestError> {
    if !name.is_empty() && name.len() <= MAX_NAME && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(invalid(place, shown(name), format!("a name of 1 to {MAX_NAME} bytes")))
}

/// A text of the file, cut and escaped for a message.
fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(80).collect::<String>())
}

/// Checks all of it.
pub(super) fn check(manifest: &Manifest) -> Result<(), ManifestError> {
    check_name("name", &manifest.name)?;
    check_hash("fingerprint", &manifest.fingerprint)?;
    check_files(manifest)?;
    check_tensors(manifest)?;
    let mut names = BTreeSet::new();
    for spot in &manifest.spots {
        if !names.insert(&spot.name) {
            return Err(invalid("the name of a spot", shown(&spot.name), "another than that of the others"));
        }
        check_spot(spot, manifest.num_parameters())?;
    }
    if let Some(quality) = &manifest.quality {
        check_name("quality.corpus", &quality.corpus)?;
        for nats in [quality.nats_per_token, quality.nats_per_token_f32] {
            if !(0.0..1e6).contains(&nats) {
                return Err(invalid("a loss in quality", nats, "a number of nats from 0 to a million"));
            }
        }
    }
    Ok(())
}

/// Names, sizes and hashes of all files.
fn check_files(manifest: &Manifest) -> Result<(), ManifestError> {
    let files = manifest.files.iter().map(|file| (&file.name, file.bytes, MAX_FILE_BYTES));
    let shards = manifest.shards.iter().map(|shard| (&shard.name, shard.bytes, MAX_SHARD_BYTES));
    let spots = manifest.spots.iter().map(|spot| (&spot.file, spot.bytes, MAX_FILE_BYTES));
    let mut names = BTreeSet::from([MANIFEST]);
    let mut total = 0_u64;
    for (name, bytes, limit) in files.chain(shards).chain(spots) {
        if !is_file_name(name) {
            let expected = "a plain name of at most 200 letters, digits, dots, lines and underscores";
            return Err(invalid("the name of a file", shown(name), expected));
        }
        if !names.insert(name) {
            return Err(invalid("the name of a file", shown(name), "another than that of the others"));
        }
        if !(1..=limit).contains(&bytes) {
            return Err(invalid(format!("the size of {name}"), bytes, format!("1 to {limit} bytes")));
        }
        total = total.saturating_add(bytes);
    }
    for file in &manifest.files {
        check_hash(&format!("the hash of {}", file.name), &file.blake3)?;
    }
    if manifest.file("config.json").is_none() {
        return Err(invalid("files", "without config.json", "one with the model's config.json"));
    }
    if manifest.total_bytes != total {
        return Err(invalid("total_bytes", manifest.total_bytes, format!("{total}, the sum of its files")));
    }
    Ok(())
}

/// Tensors are whole, and their pieces fill the shards in order.
fn check_tensors(manifest: &Manifest) -> Result<(), ManifestError> {
    if manifest.tensors.is_empty() || manifest.tensors.len() > MAX_TENSORS {
        return Err(invalid("the number of tensors", manifest.tensors.len(), format!("1 to {MAX_TENSORS}")));
    }
    let mut names = BTreeSet::new();
    let mut next = (0, 0);
    for tensor in &manifest.tensors {
        check_name("the name of a tensor", &tensor.name)?;
        if !names.insert(&tensor.name) {
            return Err(invalid(
                "the name of a tensor",
                shown(&tensor.name),
                "another than that of the others",
            ));
        }
        check_shape(tensor)?;
        check_pieces(manifest, tensor, &mut next)?;
    }
    let end = manifest.shards.len().checked_sub(1).map(|last| (last, manifest.shards[last].bytes));
    if end != Some(next) {
        let found = format!("in shard {} at byte {}", next.0, next.1);
        return Err(invalid("the end of the last piece", found, "the end of the last shard"));
    }
    Ok(())
}

fn check_shape(tensor: &TensorEntry) -> Result<(), ManifestError> {
    let TensorEntry { name, shape, encoding, .. } = tensor;
    let small = !shape.contains(&0) && tensor.numel() <= MAX_NUMEL;
    let fits = match shape.len() {
        1 => *encoding == Encoding::F32,
        2 => encoding.fits(tensor.cols()),
        _ => false,
    };
    if small && fits {
        return Ok(());
    }
    let expected =
        format!("a vector in f32, or a matrix that its encoding fits, of 1 to {MAX_NUMEL} elements");
    Err(invalid(name, format!("{encoding} of shape {:?}", &shape[..shape.len().min(4)]), expected))
}

/// Pieces of one tensor; `next` is the shard and byte at which the next one has to begin.
fn check_pieces(
    manifest: &Manifest,
    tensor: &TensorEntry,
    next: &mut (usize, u64),
) -> Result<(), ManifestError> {
    let (name, rows, cols, encoding) = (&tensor.name, tensor.rows(), tensor.cols(), tensor.encoding);
    let mut first_row = 0_u64;
    for piece in &tensor.pieces {
        let left = rows - first_row;
        let place = |what: &str| format!("{what} of the piece of {name} at row {first_row}");
        if !(1..=left).contains(&piece.rows) {
            return Err(invalid(place("the number of rows"), piece.rows, format!("1 to {left}")));
        }
        if piece.rows < left && !piece.rows.is_multiple_of(row_step(encoding, cols)) {
            return Err(invalid(place("the number of rows"), piece.rows, "an even one"));
        }
        let bytes = num_bytes(encoding, piece.rows, cols);
        if piece.bytes != bytes || bytes > MAX_PIECE_BYTES {
            let expected = format!("{bytes}, which its rows take, and at most {MAX_PIECE_BYTES}");
            return Err(invalid(place("the size"), piece.bytes, expected));
        }
        check_hash(&place("the hash"), &piece.blake3)?;
        let shard_bytes = |shard: usize| manifest.shards.get(shard).map(|shard| shard.bytes);
        // A shard that is full is followed by the next one.
        if shard_bytes(next.0) == Some(next.1) {
            *next = (next.0 + 1, 0);
        }
        let found = (usize::try_from(piece.shard).unwrap_or(usize::MAX), piece.offset);
        if found != *next || shard_bytes(next.0).is_none_or(|end| next.1 + bytes > end) {
            let expected = format!("shard {} at byte {}, inside the shard", next.0, next.1);
            let found = format!("shard {} at byte {}", piece.shard, piece.offset);
            return Err(invalid(place("the place"), found, expected));
        }
        next.1 += bytes;
        first_row += piece.rows;
    }
    if first_row != rows {
        return Err(invalid(format!("the number of rows in the pieces of {name}"), first_row, rows));
    }
    Ok(())
}

fn check_spot(spot: &SpotEntry, parameters: u64) -> Result<(), ManifestError> {
    let name = &spot.name;
    check_name("the name of a spot", name)?;
    let place = |what: &str| format!("{what} of the spot {}", shown(name));
    check_hash(&place("the hash"), &spot.blake3)?;
    check_name(&place("the scope"), &spot.scope)?;
    spot.languages.iter().try_for_each(|language| check_name(&place("a language"), language))?;
    let optional = [("the control", &spot.control), ("the derivation", &spot.derived)];
    for (what, text) in optional {
        text.iter().try_for_each(|text| check_name(&place(what), text))?;
    }
    if !(0.0..=100.0).contains(&spot.max_k) {
        return Err(invalid(place("max_k"), spot.max_k, "0 to 100"));
    }
    if spot.parameters_in_scope > parameters {
        let expected = format!("at most the model's {parameters}");
        return Err(invalid(place("the scope's number of parameters"), spot.parameters_in_scope, expected));
    }
    if spot.len > spot.parameters_in_scope {
        let expected = format!("at most the scope's {}", spot.parameters_in_scope);
        return Err(invalid(place("the length"), spot.len, expected));
    }
    Ok(())
}
