//! Status line, and the buttons that load and cancel.

use crate::page::app::{App, now_ms};
use crate::page::state::{Phase, Progress, State};
use gloo::timers::callback::Timeout;
use leptos::html::Button;
use leptos::prelude::*;

/// Status, load, cancel, progress.
#[component]
pub(crate) fn Loader() -> impl IntoView {
    let app = App::get();
    let status = app.watch(State::status_text);
    let label = app.watch(State::load_label);
    let can_load = app.watch(State::can_load);
    let can_cancel = app.watch(State::can_cancel);
    let loading = app.watch(|state| state.progress.is_some());
    let offered = app.watch(|state| state.model.is_none() && state.progress.is_none());
    let load_button = NodeRef::<Button>::new();
    let cancel_button = NodeRef::<Button>::new();

    // The button with the focus goes away: the focus goes on to the one that takes its place.
    Effect::new(move |before: Option<bool>| {
        let loading = loading.get();
        if before.is_some_and(|before| before != loading) {
            Timeout::new(0, move || {
                let next = if loading { cancel_button } else { load_button };
                if let Some(button) = next.get_untracked() {
                    focus_if_lost(&button);
                }
            })
            .forget();
        }
        loading
    });

    view! {
        <section class="loader" aria-label="Model">
            <p class="status" role="status" data-testid="status">
                {status}
            </p>
            <Show when=move || offered.get()>
                <button
                    type="button"
                    data-testid="load"
                    node_ref=load_button
                    disabled=move || !can_load.get()
                    on:click=move |_| app.act(|state| state.load(now_ms()))
                >
                    {label}
                </button>
            </Show>
            <Show when=move || loading.get()>
                <button
                    type="button"
                    class="plain"
                    data-testid="cancel"
                    node_ref=cancel_button
                    disabled=move || !can_cancel.get()
                    on:click=move |_| app.act(State::cancel)
                >
                    "Cancel"
                </button>
                <ProgressBar/>
            </Show>
        </section>
    }
}

/// How far loading is.
#[component]
fn ProgressBar() -> impl IntoView {
    let app = App::get();
    let percent = app.watch(|state| state.progress.as_ref().map_or(0, Progress::percent));
    let text = app.watch(|state| state.progress.as_ref().map(|progress| progress.text(&state.model_name())));
    let stopping = app.watch(|state| state.phase == Phase::Loading && !state.can_cancel());
    view! {
        <div class="progress">
            <div
                class="track"
                role="progressbar"
                aria-label="Loading the model"
                aria-valuemin="0"
                aria-valuemax="100"
                aria-valuenow=percent
                aria-valuetext=text
            >
                <div class="fill" style:width=move || format!("{}%", percent.get())></div>
            </div>
            <p data-testid="progress-text">
                {move || if stopping.get() { Some("Stopping.".to_owned()) } else { text.get() }}
            </p>
        </div>
    }
}

/// Focuses an element when nothing else has the focus.
pub(super) fn focus_if_lost(element: &web_sys::HtmlElement) {
    let lost = document().active_element().is_none_or(|active| active.tag_name() == "BODY");
    if lost {
        // A refused focus costs a key press, no more.
        drop(element.focus());
    }
}
