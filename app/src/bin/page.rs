//! The page: draws on the main thread.

#[cfg(target_arch = "wasm32")]
fn main() {
    codingspot_app::page::start();
}

#[cfg(not(target_arch = "wasm32"))]
fn main() {}
