//! A spot in levels: what a slider in a browser steps through.
//!
//! A ranking of millions of parameters is cut at the counts that a person can choose. Of each level the
//! file holds the parameters that it adds, not their ranks or scores, which makes it a fifth of the size
//! of the ranking; a level can be decoded by itself.
//!
//! ```text
//! magic "CSLV" │ version: u32 │ length of header: u32 │ header: JSON │ levels
//! level:   for each tensor of the header, a segment
//! segment: count: LEB128 │ if it is above 0: Rice parameter r: u8 │ codes, padded with zeros to a byte
//! code of v: v >> r ones, a zero, the r lowest bits of v; from the lowest bit of each byte on
//! ```
//!
//! Integers are little endian. The values `v` of a segment are its first offset, then the number of
//! parameters that each further offset skips: `offset − previous − 1`.

mod read;
mod rice;
mod ticks;
mod write;

pub use read::{Levels, Segment};
pub use ticks::{PUBLISHED_PERCENT, TICKS, tick_counts};
pub use write::write_levels;

use serde::{Deserialize, Serialize};

/// First bytes of the file.
const MAGIC: [u8; 4] = *b"CSLV";
/// Version of the format.
const VERSION: u32 = 1;
/// Bytes before the header.
const PREFIX_BYTES: usize = 12;
/// Longest header, bytes.
const MAX_HEADER_BYTES: usize = 4 << 20;
/// Most levels.
const MAX_LEVELS: usize = 1 << 12;
/// Most tensors, which are counted with 16 bits.
const MAX_TENSORS: usize = 1 << 16;
/// Most elements of a tensor, which are counted with 32 bits.
const MAX_NUMEL: u64 = 1 << 32;

/// Why levels were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LevelsError {
    /// The bytes are not a spot in levels.
    #[error("not a spot in levels: {0}; fetch it or pack the model again")]
    Malformed(String),
    /// They are of another version.
    #[error("the spot has levels of version {found}, this build reads {VERSION}; pack the model again")]
    Version {
        /// Version in the file.
        found: u32,
    },
    /// The spot belongs to other weights.
    #[error(
        "the spot was made for weights {spot}, the model's are {model}; it was not applied. Take the spot of this model"
    )]
    OtherWeights {
        /// Fingerprint in the spot.
        spot: String,
        /// Fingerprint of the model.
        model: String,
    },
    /// The spot names tensors that the model does not have.
    #[error(
        "the spot's tensor {index} is {found}, the model's is {expected}; it was not applied. Take the spot of this model"
    )]
    OtherLayout {
        /// Index in the layout.
        index: usize,
        /// In the spot.
        found: String,
        /// In the model.
        expected: String,
    },
}

/// One tensor that a spot's indices refer to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LevelTensor {
    /// Hugging Face name.
    pub name: String,
    /// Shape, row-major.
    pub shape: Vec<u64>,
}

impl LevelTensor {
    /// Number of elements (saturating: shapes come from files).
    pub fn numel(&self) -> u64 {
        self.shape.iter().fold(1, |product, &d| product.saturating_mul(d))
    }
}

/// What a spot is: for which weights, from which scores, and at which counts it is cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LevelsHeader {
    /// Fingerprint of the weights that were scored, 64 hexadecimal digits.
    pub fingerprint: String,
    /// The model's tensors in layout order.
    pub tensors: Vec<LevelTensor>,
    /// Which parameters competed: `all`, `no-norm`, `no-embedding` or `blocks`.
    pub scope: String,
    /// Number of parameters that competed: 100 %.
    pub parameters_in_scope: u64,
    /// The largest k, percent, that the ranking holds.
    pub max_k: f64,
    /// How the scores were estimated.
    pub estimator: String,
    /// Languages whose scores were added, in order.
    pub languages: Vec<String>,
    /// Who competed with whom: `global`, `tensor` or `row`.
    pub group: String,
    /// For a control, what it is (for instance `random:1`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<String>,
    /// For a set made of others, how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub derived: Option<String>,
    /// Number of parameters up to and with each level, ascending; the last one is the whole ranking.
    pub levels: Vec<u64>,
}

impl LevelsHeader {
    /// Number of parameters in all levels.
    pub fn num_parameters(&self) -> u64 {
        self.levels.last().copied().unwrap_or(0)
    }

    /// What does not fit together, if something doesn't.
    fn check(&self) -> Result<(), LevelsError> {
        let malformed = |reason: String| Err(LevelsError::Malformed(reason));
        if self.tensors.len() > MAX_TENSORS || self.levels.len() > MAX_LEVELS {
            let (tensors, levels) = (self.tensors.len(), self.levels.len());
            return malformed(format!(
                "it has {tensors} tensors and {levels} levels, more than {MAX_TENSORS} and {MAX_LEVELS}"
            ));
        }
        if let Some(index) = self.tensors.iter().position(|tensor| !(1..=MAX_NUMEL).contains(&tensor.numel()))
        {
            return malformed(format!("its tensor {index} has no element, or more than {MAX_NUMEL}"));
        }
        if self.levels.first() == Some(&0) || !self.levels.is_sorted_by(|a, b| a < b) {
            return malformed("its levels are not ascending counts from 1 on".to_owned());
        }
        let total = self.tensors.iter().map(LevelTensor::numel).fold(0, u64::saturating_add);
        if self.num_parameters() > self.parameters_in_scope || self.parameters_in_scope > total {
            return malformed(format!(
                "it has {} parameters of {} in scope of {total} in the model, expected no more of one than of the next",
                self.num_parameters(),
                self.parameters_in_scope
            ));
        }
        if !(0.0..=100.0).contains(&self.max_k) {
            return malformed(format!("its max_k is {}, expected 0 to 100", self.max_k));
        }
        Ok(())
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;
