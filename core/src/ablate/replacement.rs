//! What takes the place of an ablated parameter.

use rand::{SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Largest factor of [`Replacement::Scale`], either sign.
const MAX_FACTOR: f32 = 100.0;

/// What takes the place of a parameter.
///
/// Zero is the paper's; it names the unexplored alternatives as a limitation. If a spot's effect were
/// one of *where* its parameters are and not of their being zero, the others would do as much.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Replacement {
    /// 0.
    #[default]
    Zero,
    /// The mean of all parameters of its tensor.
    Mean,
    /// Its negative.
    Flip,
    /// The value of another ablated parameter of its tensor: a random permutation of them, which
    /// keeps each tensor's distribution.
    Shuffle {
        /// Seed of the permutations.
        seed: u64,
    },
    /// Itself times a factor; 0 is [`Self::Zero`] but for the sign of zero, 1 changes nothing.
    Scale {
        /// The factor.
        factor: f32,
    },
}

/// A text that names no replacement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no replacement; expected zero, mean, flip, shuffle, shuffle=SEED, or scale=FACTOR with a factor from -100 to 100"
)]
pub struct UnknownReplacement(String);

impl Replacement {
    /// Whether a parameter's new value depends on it and its tensor alone, and not on what else is
    /// ablated.
    pub fn is_elementwise(self) -> bool {
        !matches!(self, Self::Shuffle { .. })
    }

    /// New values of the ablated parameters of tensor `tensor`, whose originals are given in rank
    /// order. `mean` is that of the whole tensor (read for [`Self::Mean`] only).
    pub fn values(self, tensor: u16, originals: &[f32], mean: f32) -> Vec<f32> {
        match self {
            Self::Zero => vec![0.0; originals.len()],
            Self::Mean => vec![mean; originals.len()],
            Self::Flip => originals.iter().map(|value| -value).collect(),
            Self::Scale { factor } => originals.iter().map(|value| value * factor).collect(),
            Self::Shuffle { seed } => {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                rng.set_stream(u64::from(tensor));
                let mut values = originals.to_vec();
                values.shuffle(&mut rng);
                values
            }
        }
    }
}

impl fmt::Display for Replacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero => f.write_str("zero"),
            Self::Mean => f.write_str("mean"),
            Self::Flip => f.write_str("flip"),
            Self::Shuffle { seed: 0 } => f.write_str("shuffle"),
            Self::Shuffle { seed } => write!(f, "shuffle={seed}"),
            Self::Scale { factor } => write!(f, "scale={factor}"),
        }
    }
}

impl FromStr for Replacement {
    type Err = UnknownReplacement;

    fn from_str(text: &str) -> Result<Self, UnknownReplacement> {
        let unknown = || UnknownReplacement(text.to_owned());
        match text.split_once('=') {
            None => match text {
                "zero" => Ok(Self::Zero),
                "mean" => Ok(Self::Mean),
                "flip" => Ok(Self::Flip),
                "shuffle" => Ok(Self::Shuffle { seed: 0 }),
                _ => Err(unknown()),
            },
            Some(("shuffle", seed)) => {
                seed.parse().map(|seed| Self::Shuffle { seed }).ok().ok_or_else(unknown)
            }
            Some(("scale", factor)) => match factor.parse::<f32>() {
                Ok(factor) if factor.abs() <= MAX_FACTOR => Ok(Self::Scale { factor }),
                _ => Err(unknown()),
            },
            Some(_) => Err(unknown()),
        }
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_others_are_refused() {
        for text in ["zero", "mean", "flip", "shuffle", "shuffle=7", "scale=0.5", "scale=-1"] {
            assert_eq!(text.parse::<Replacement>().unwrap().to_string(), text);
        }
        for bad in
            ["", "Zero", "scale", "scale=", "scale=nan", "scale=inf", "scale=101", "shuffle=-1", "mean=1"]
        {
            let error = bad.parse::<Replacement>().unwrap_err().to_string();
            assert!(error.contains("scale=FACTOR"), "{error}");
        }
    }

    #[test]
    fn a_shuffle_is_a_permutation_by_seed_and_tensor() {
        let originals: Vec<f32> = (0..100_u8).map(f32::from).collect();
        let values = |seed, tensor| Replacement::Shuffle { seed }.values(tensor, &originals, 0.0);
        let mut sorted = values(1, 3);
        assert_ne!(sorted, originals);
        assert_eq!(sorted, values(1, 3));
        assert_ne!(sorted, values(2, 3));
        assert_ne!(sorted, values(1, 4));
        sorted.sort_by(f32::total_cmp);
        assert_eq!(sorted, originals);
    }
}
