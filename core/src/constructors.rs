//! Constructors of a WebAssembly program.

use std::sync::Once;

/// Runs the constructors of everything that is linked (`CubeCL`'s compiler registers its operations in them), once. A
/// program for `wasm32-unknown-unknown` has to call it before anything else.
///
/// Without a call to it the linker takes the program for a command, and has every exported function run all constructors
/// again each time that JavaScript calls it: several times for each kernel that is launched.
pub fn run_constructors() {
    static ONCE: Once = Once::new();

    #[expect(unsafe_code, reason = "a symbol of the linker's")]
    unsafe extern "C" {
        fn __wasm_call_ctors();
    }

    ONCE.call_once(|| {
        // SAFETY: the linker makes the function; it takes and gives nothing, and runs once.
        #[expect(unsafe_code, reason = "a symbol of the linker's")]
        unsafe {
            __wasm_call_ctors();
        }
    });
}
