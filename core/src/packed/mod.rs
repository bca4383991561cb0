//! A Llama whose weights stay packed on the device, for one sequence at a time: what a browser tab runs.
//!
//! It is the model of [`crate::llama`] with its matrices in 4, 8, 16 or 32 bits ([`codingspot_pack::Encoding`]), computed by
//! [`crate::kernels::packed`]. A [`Mask`] switches parameters off and on again in place.

mod estimate;
mod load;
mod mask;
mod model;
mod place;
mod ranking;
mod run;
mod unpack;

pub use estimate::{MemoryNeeds, memory_needs};
pub use load::{LoadError, PackedLoader, load_checkpoint};
pub use mask::{Mask, MaskChange};
pub use model::PackedLlama;
pub use ranking::RankingBuilder;
pub use run::{GenerationEnd, Scored, Step};

use crate::kernels::packed::ComputeError;

/// Why a packed model can't be made, or can't run.
#[derive(Debug, thiserror::Error)]
pub enum PackedError {
    /// The device failed.
    #[error(transparent)]
    Device(#[from] ComputeError),
    /// Rows of a tensor came twice, too many, or in another encoding.
    #[error("tensor {name}: {reason}")]
    Rows {
        /// Tensor.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A shape that the packed layout does not hold.
    #[error("{what} is {found}, a packed model needs {expected}; choose f32 or another model")]
    Shape {
        /// Which number.
        what: &'static str,
        /// Its value.
        found: usize,
        /// What it should be.
        expected: &'static str,
    },
    /// The tokens can't be run.
    #[error(transparent)]
    Forward(#[from] crate::llama::ForwardError),
    /// The model gave no usable distribution.
    #[error(
        "the logits after token {position} are not finite: the ablated model overflows, or the device fails"
    )]
    NonFiniteLogits {
        /// Position of the last token before them.
        position: usize,
    },
    /// A sampling setting is out of range.
    #[error(transparent)]
    Sampling(#[from] crate::sampling::SamplingError),
    /// The spot does not belong to the model.
    #[error(transparent)]
    Spot(#[from] crate::spot::SpotError),
}
