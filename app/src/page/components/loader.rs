//! Status, and the buttons that load, cancel, resume and delete.

use super::focus::pass_focus;
use super::models::Models;
use super::status::Status;
use crate::page::app::{App, now_ms};
use crate::page::state::loading::Loading;
use crate::page::state::{Phase, State};
use leptos::html::Button;
use leptos::prelude::*;

/// Status, load, cancel, progress, and the choice of models.
#[component]
pub(crate) fn Loader() -> impl IntoView {
    let app = App::get();
    let label = app.watch(State::load_label);
    let can_load = app.watch(State::can_load);
    let can_cancel = app.watch(State::can_cancel);
    let loading = app.watch(|state| state.loading.is_some());
    let offered = app.watch(|state| !state.is_chosen_loaded() && state.loading.is_none());
    let cancelled = app.watch(|state| state.phase == Phase::Cancelled);
    let kept = app.watch(|state| state.phase == Phase::Cancelled && state.kept_bytes > 0);
    let needs = app.watch(State::needs_text);
    let load_button = NodeRef::<Button>::new();
    let cancel_button = NodeRef::<Button>::new();
    pass_focus(loading, cancel_button, load_button);

    view! {
        <section class="loader" aria-label="Model">
            <Status/>
            <Show when=move || offered.get()>
                <button
                    type="button"
                    data-testid=move || if cancelled.get() { "resume" } else { "load" }
                    node_ref=load_button
                    disabled=move || !can_load.get()
                    on:click=move |_| app.act(|state| state.load(now_ms()))
                >
                    {move || if cancelled.get() { "Resume".to_owned() } else { label.get() }}
                </button>
            </Show>
            <Show when=move || kept.get()>
                <button
                    type="button"
                    class="plain"
                    data-testid="delete-partial"
                    on:click=move |_| app.act(State::delete_partial)
                >
                    "Delete"
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
            {move || needs.get().map(|text| view! { <p class="hint needs" data-testid="needs">{text}</p> })}
            <Models/>
        </section>
    }
}

/// How far loading is.
#[component]
fn ProgressBar() -> impl IntoView {
    let app = App::get();
    let percent = app.watch(|state| state.loading.as_ref().map_or(0, Loading::percent));
    let text = app.watch(|state| state.loading.as_ref().map(|loading| loading.text(&state.chosen_title())));
    view! {
        <div
            class="track"
            role="progressbar"
            aria-label="Loading the model"
            aria-valuemin="0"
            aria-valuemax="100"
            aria-valuenow=percent
            aria-valuetext=text
            data-testid="progress"
        >
            <div class="fill" style:width=move || format!("{}%", percent.get())></div>
        </div>
    }
}
