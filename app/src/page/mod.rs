//! The page: [`state`], [`slider`] and [`format`] compute and are tested natively; the rest draws
//! and talks to the worker.

#[cfg(test)]
mod charts;
pub mod format;
pub mod slider;
pub mod state;

#[cfg(target_arch = "wasm32")]
mod app;
#[cfg(target_arch = "wasm32")]
#[expect(unreachable_pub, reason = "`component` makes public functions, whatever it is told")]
mod components;
#[cfg(target_arch = "wasm32")]
mod worker;

#[cfg(target_arch = "wasm32")]
pub use app::start;
