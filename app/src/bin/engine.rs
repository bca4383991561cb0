//! The worker: owns the device, the model and the spot.

#[cfg(target_arch = "wasm32")]
fn main() {
    codingspot_app::engine::start();
}

#[cfg(not(target_arch = "wasm32"))]
fn main() {}
