//! A name for weights that depends on their values alone.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// BLAKE3 over (name, storage type, shape, BLAKE3 of the bytes) of every tensor in layout order.
///
/// Sharding and the order inside the files don't change it; a single changed weight does. A spot
/// carries the fingerprint of the weights that it was made from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The first eight hexadecimal digits, for people.
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// A text that is not 64 hexadecimal digits.
#[derive(Debug, thiserror::Error)]
#[error("a fingerprint has 64 hexadecimal digits, found {0:?}")]
pub struct FingerprintParseError(String);

impl FromStr for Fingerprint {
    type Err = FingerprintParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || FingerprintParseError(text.chars().take(80).collect());
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(refuse());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).ok().ok_or_else(refuse)?;
            *byte = u8::from_str_radix(pair, 16).ok().ok_or_else(refuse)?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = FingerprintParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

/// Collects the digests of tensors, which may come in any order.
#[derive(Debug)]
pub struct FingerprintBuilder {
    digests: Vec<Option<blake3::Hash>>,
}

impl FingerprintBuilder {
    /// For a model of `num_tensors` tensors.
    pub fn new(num_tensors: usize) -> Self {
        Self { digests: vec![None; num_tensors] }
    }

    /// Sets the digest of the tensor at `index` of the layout; `data` has absorbed its bytes.
    pub fn set(&mut self, index: usize, name: &str, dtype: &str, shape: &[usize], data: &blake3::Hasher) {
        let mut hasher = blake3::Hasher::new();
        let shape: Vec<String> = shape.iter().map(ToString::to_string).collect();
        // NUL separates: it can't occur in a name or a number, so no two tensors share a record.
        hasher.update(format!("{name}\0{dtype}\0{}\0", shape.join(",")).as_bytes());
        hasher.update(data.finalize().as_bytes());
        self.digests[index] = Some(hasher.finalize());
    }

    /// The fingerprint, once every tensor was set.
    pub fn finish(&self) -> Option<Fingerprint> {
        let mut hasher = blake3::Hasher::new();
        for digest in &self.digests {
            hasher.update(digest.as_ref()?.as_bytes());
        }
        Some(Fingerprint(*hasher.finalize().as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_bad_text_is_refused() {
        let mut builder = FingerprintBuilder::new(1);
        assert!(builder.finish().is_none());
        builder.set(0, "w", "F32", &[2, 3], blake3::Hasher::new().update(b"abc"));
        let fingerprint = builder.finish().unwrap();
        assert_eq!(fingerprint.to_string().parse::<Fingerprint>().unwrap(), fingerprint);
        for bad in ["", "00", &"g".repeat(64), &"+a".repeat(32), &"é".repeat(32)] {
            assert!(bad.parse::<Fingerprint>().is_err());
        }
    }

    #[test]
    fn name_type_shape_and_bytes_all_count() {
        let of = |name: &str, dtype: &str, shape: &[usize], bytes: &[u8]| {
            let mut builder = FingerprintBuilder::new(1);
            builder.set(0, name, dtype, shape, blake3::Hasher::new().update(bytes));
            builder.finish().unwrap()
        };
        let base = of("w", "F32", &[2, 3], b"abc");
        assert_ne!(base, of("v", "F32", &[2, 3], b"abc"));
        assert_ne!(base, of("w", "F16", &[2, 3], b"abc"));
        assert_ne!(base, of("w", "F32", &[3, 2], b"abc"));
        assert_ne!(base, of("w", "F32", &[2, 3], b"abd"));
    }
}
