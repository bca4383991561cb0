//! Title, what computes, network, link and theme.

use super::theme::ThemeChoice;
use crate::page::app::App;
use crate::page::state::State;
use crate::page::state::engine::reason_advice;
use crate::protocol::Backend;
use leptos::prelude::*;
use wasm_bindgen_futures::JsFuture;

/// The page's first lines.
#[component]
pub(crate) fn Header() -> impl IntoView {
    view! {
        <header class="top">
            <div class="title">
                <h1>"Coding Spot"</h1>
                <div class="chips">
                    <BackendChip/>
                    <NetChip/>
                    <CopyLink/>
                    <ThemeChoice/>
                </div>
            </div>
            <p class="intro">
                "A paper claims that a very small set of a language model's parameters carries its ability to code: \
                 its coding spot. Load a model, set as many parameters of its spot to zero as you like, and compare: \
                 the model as it is, without its spot, and without as many parameters drawn at random."
            </p>
        </header>
    }
}

/// Always visible: WebGPU with its adapter, or the CPU with the reason.
#[component]
fn BackendChip() -> impl IntoView {
    let app = App::get();
    let kind = app.watch(|state| {
        state.engine.as_ref().map(|engine| match engine.backend {
            Backend::WebGpu => "webgpu",
            Backend::Cpu => "cpu",
        })
    });
    let text = app.watch(State::backend_text);
    let advice =
        app.watch(|state| state.engine.as_ref().and_then(|engine| engine.reason.as_ref()).map(reason_advice));
    let open = RwSignal::new(false);
    view! {
        <div class="chip" data-testid="backend" data-backend=kind>
            <span>{text}</span>
            <Show when=move || advice.get().is_some()>
                <button
                    type="button"
                    class="small"
                    data-testid="why"
                    aria-expanded=move || open.get().to_string()
                    on:click=move |_| open.update(|open| *open = !*open)
                >
                    "Why?"
                </button>
            </Show>
            <Show when=move || open.get() && advice.get().is_some()>
                <p class="why">{advice}</p>
            </Show>
        </div>
    }
}

/// There is a network, or what works without.
#[component]
fn NetChip() -> impl IntoView {
    let app = App::get();
    let net = app.watch(|state| state.net().0.to_owned());
    let text = app.watch(|state| state.net().1);
    view! {
        <p class="chip" data-testid="net" data-net=net hidden=move || text.with(String::is_empty)>
            {text}
        </p>
    }
}

/// Copies the address that brings the choices back.
#[component]
fn CopyLink() -> impl IntoView {
    let app = App::get();
    let said = RwSignal::new(None::<&'static str>);
    let by_hand = RwSignal::new(None::<String>);
    let copy = move |_| {
        let (link, local) = app.link();
        leptos::task::spawn_local(async move {
            let copied = JsFuture::from(window().navigator().clipboard().write_text(&link)).await.is_ok();
            by_hand.set((!copied).then_some(link));
            said.set(Some(match (copied, local) {
                (true, false) => "Link copied.",
                (true, true) => "Link copied. This link does not include your local files.",
                (false, false) => "Copy the link below.",
                (false, true) => "Copy the link below. This link does not include your local files.",
            }));
        });
    };
    view! {
        <div class="link">
            <button type="button" class="plain compact" data-testid="copy-link" on:click=copy>
                "Copy link"
            </button>
            <span class="hint" data-testid="link-said" aria-live="polite">{said}</span>
            {move || by_hand.get().map(|link| view! {
                <input type="text" readonly data-testid="link-text" aria-label="Link" prop:value=link/>
            })}
        </div>
    }
}
