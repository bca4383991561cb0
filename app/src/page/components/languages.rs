//! The loss of each arm on languages, measured here.

use crate::page::app::App;
use crate::page::format;
use crate::page::state::languages::Loss;
use crate::page::state::{State, arms};
use leptos::prelude::*;

/// A button, and a row a language.
#[component]
pub(crate) fn LanguageLosses() -> impl IntoView {
    let app = App::get();
    let can_run = app.watch(|state| state.can_generate() && !state.languages.texts.is_empty());
    let names = app.watch(|state| {
        state.languages.texts.iter().map(|one| (one.id.clone(), one.name.clone())).collect::<Vec<_>>()
    });
    let about = app.watch(|state| {
        if state.languages.rows.is_empty() {
            "Three short texts of each language, which the model has not seen, scored by every arm."
                .to_owned()
        } else {
            format!(
                "Nats per token, ± half of a 95 % interval over texts; {} removed.",
                format::parameters(state.languages.count)
            )
        }
    });
    view! {
        <div class="actions">
            <button
                type="button"
                data-testid="nll-run"
                disabled=move || !can_run.get()
                on:click=move |_| app.act(State::measure_languages)
            >
                "Measure loss by language"
            </button>
            <p class="hint">{about}</p>
        </div>
        <div class="scroll" tabindex="0" role="group" aria-label="Loss by language">
            <table class="losses">
                <thead>
                    <tr>
                        <th scope="col">"Language"</th>
                        {arms::ALL.map(|arm| view! {
                            <th scope="col" class=arms::id(arm)>
                                <span class="mark" aria-hidden="true">{arms::mark(arm)}</span>
                                {arms::title(arm)}
                            </th>
                        }).collect_view()}
                        <th scope="col" class="n">"Tokens"</th>
                    </tr>
                </thead>
                <tbody>
                    {move || names.get().into_iter().map(|(id, name)| view! { <LanguageRow id name/> }).collect_view()}
                </tbody>
            </table>
        </div>
    }
}

/// The losses on a language.
#[component]
fn LanguageRow(
    /// Its id.
    id: String,
    /// Its name.
    name: String,
) -> impl IntoView {
    let app = App::get();
    let test_id = format!("nll-row-{id}");
    let row = app.watch(move |state| {
        let end = state.languages.axis_end();
        let row = state.languages.rows.iter().find(|row| row.id == id);
        (end, row.map_or([None; 3], |row| row.losses))
    });
    let live = move || if row.get().1.iter().any(Option::is_some) { "live" } else { "none" };
    view! {
        <tr data-testid=test_id data-source=live>
            <th scope="row">{name}</th>
            {(0..3).map(|place| view! {
                <td class=arms::id(arms::ALL[place])>
                    {move || { let (end, losses) = row.get(); losses[place].map(|loss| bar(&loss, end)) }}
                </td>
            }).collect_view()}
            <td class="n">{move || row.get().1.iter().flatten().next().map(|loss| loss.tokens)}</td>
        </tr>
    }
}

/// A loss as a number and as a bar with its interval.
fn bar(loss: &Loss, end: f64) -> impl IntoView + use<> {
    let place = |value: f64| (value / end * 100.0).clamp(0.0, 100.0);
    let half = loss.half_width.unwrap_or(0.0);
    view! {
        <span>{loss.text()}</span>
        <svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
            <rect x="0" y="1" width=place(loss.mean) height="6"></rect>
            <line x1=place(loss.mean - half) x2=place(loss.mean + half) y1="4" y2="4"></line>
        </svg>
    }
}
