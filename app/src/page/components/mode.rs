//! Whether ablated arms score the original's text or write their own.

use crate::page::app::App;
use crate::protocol::RunMode;
use leptos::prelude::*;

/// Two radio buttons.
#[component]
pub(crate) fn ModeChoice() -> impl IntoView {
    let app = App::get();
    let same = app.watch(|state| state.mode == RunMode::SameText);
    let choice = move |mode: RunMode, name: &'static str, label: &'static str, hint: &'static str| {
        view! {
            <label class="choice">
                <input
                    type="radio"
                    name="mode"
                    value=name
                    data-testid=format!("mode-{name}")
                    prop:checked=move || same.get() == (mode == RunMode::SameText)
                    on:change=move |_| app.act(|state| state.choose_mode(mode))
                />
                <span><strong>{label}</strong> {hint}</span>
            </label>
        }
    };
    view! {
        <fieldset class="choices-of" data-testid="mode">
            <legend>"Mode"</legend>
            {choice(RunMode::SameText, "same", "Same text", ": all arms score the original's tokens")}
            {choice(RunMode::OwnText, "own", "Own text", ": each arm writes its own")}
        </fieldset>
    }
}
