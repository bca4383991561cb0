//! Many sequences at once: likelihoods of continuations and generated texts, for evaluations.
//!
//! | Part | What it does |
//! |---|---|
//! | [`KvStore`] | keys and values of all sequences, by rows |
//! | [`loglikelihoods`] | how likely continuations are, everything that sequences share computed once |
//! | [`generate_batch`] | texts after prompts, sequences joining and leaving as they go |
//!
//! Nothing is padded: a pass is a list of tokens, each with its position and the rows of the keys that it sees
//! ([`kernels::span_attention`](crate::kernels::span_attention)). On the CPU what comes out of a token is the same to the
//! bit whatever runs beside it and however its sequence was cut, so that results depend neither on batches nor
//! on what is shared.

mod batch;
mod loglikelihood;
mod pass;
mod store;
mod tree;

pub use batch::{BatchOptions, Completion, Decoding, EndReason, GenerationJob, generate_batch};
pub use loglikelihood::{LoglikelihoodOptions, LoglikelihoodSum, ScoredSequence, loglikelihoods};
pub use store::KvStore;
