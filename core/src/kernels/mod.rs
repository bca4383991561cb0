//! The operations of scoring that lie between the matrix products, and the products themselves.
//!
//! Every operation has a composed form over burn's tensors: the reference, and what GPUs run (burn
//! fuses it there). On the CPU backend a form of its own does the same in one pass over memory,
//! vectorised for the processor it finds and spread over threads, with the same result whatever
//! their number: loops are cut at fixed places and partial sums are added in order.

pub mod adamw;
pub mod argmax;
pub mod attention;
#[cfg(feature = "flex")]
mod bf16;
pub mod bias;
#[cfg(feature = "flex")]
mod cpu;
pub mod cross_entropy;
#[cfg(feature = "cubecl")]
mod gpu;
pub mod matmul;
pub mod packed;
pub mod rms_norm;
pub mod rotary;
pub mod span_attention;
pub mod sums;
pub mod swiglu;
