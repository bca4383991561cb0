//! The page: what computes is tested natively; the rest draws and talks to the worker.

pub mod announce;
#[cfg(test)]
mod charts;
pub mod delta;
#[cfg(any(test, target_arch = "wasm32"))]
pub mod dose;
pub mod fault;
pub mod files;
pub mod format;
pub mod heat;
pub mod link;
pub mod python_protocol;
pub mod slider;
pub mod state;

#[cfg(target_arch = "wasm32")]
mod app;
#[cfg(target_arch = "wasm32")]
#[expect(unreachable_pub, reason = "`component` makes public functions, whatever it is told")]
mod components;
#[cfg(target_arch = "wasm32")]
mod fetch;
#[cfg(target_arch = "wasm32")]
mod python_frame;
#[cfg(target_arch = "wasm32")]
mod worker;

#[cfg(target_arch = "wasm32")]
pub use app::start;
