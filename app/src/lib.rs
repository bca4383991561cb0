//! The page of codingspot: what its two programs share.
//!
//! `page` draws (Leptos, main thread); `engine` owns the model (a worker). They speak
//! [`protocol`].

pub mod protocol;

#[cfg(all(target_arch = "wasm32", feature = "engine"))]
pub mod engine;
// Natively too: what the page computes is tested there.
#[cfg(any(not(target_arch = "wasm32"), feature = "page"))]
pub mod page;
