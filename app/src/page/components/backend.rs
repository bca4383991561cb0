//! What computes.

use crate::page::app::App;
use crate::page::state::State;
use crate::protocol::Backend;
use leptos::prelude::*;

/// Always visible: WebGPU with its adapter, or the CPU with the reason.
#[component]
pub(crate) fn BackendChip() -> impl IntoView {
    let app = App::get();
    let kind = app.watch(|state| {
        state.engine.as_ref().map(|engine| match engine.backend {
            Backend::WebGpu => "webgpu",
            Backend::Flex => "cpu",
        })
    });
    let text = app.watch(State::backend_text);
    view! {
        <p class="chip" data-testid="backend" data-backend=kind>
            {text}
        </p>
    }
}
