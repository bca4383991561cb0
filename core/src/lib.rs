//! Find the parameters of a Llama that carry an ability, switch them off, and measure what is lost.
//!
//! The method is that of "Exploring Coding Spot": a parameter's score for a language is
//! `|∂L/∂θ|·|θ|` on code in that language ([`score`]), scores are summed over languages, the top
//! k % are the spot ([`spot`]), and the spot is set to zero ([`ablate`]).
//!
//! This crate knows neither files, threads nor screens: it takes bytes, configs and devices, and
//! builds for native targets and `wasm32-unknown-unknown` alike. Whatever may read back from a
//! device is `async`, because a browser can't block. Callers choose burn's backend.

pub mod ablate;
pub mod checkpoint;
pub mod config;
#[cfg(target_arch = "wasm32")]
mod constructors;
pub mod corpus;
pub mod eval;
pub mod generate;
mod given;
pub mod inference;
pub mod kernels;
pub mod layout;
pub mod llama;
pub mod optimizer;
pub mod packed;
pub mod sampling;
pub mod score;
pub mod spot;
pub mod synth;
pub mod tensor_name;
pub mod tokenizer;
pub mod train;

pub use burn::tensor::Device;
#[cfg(target_arch = "wasm32")]
pub use constructors::run_constructors;
