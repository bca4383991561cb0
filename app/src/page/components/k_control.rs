//! How many parameters are zero.

use crate::page::app::App;
use crate::page::slider::{LAST_TICK, PRESETS_PERCENT, count_for_percent};
use crate::page::state::State;
use leptos::prelude::*;

/// The slider, its value in words, and the preset shares.
#[component]
pub(crate) fn KControl() -> impl IntoView {
    let app = App::get();
    let tick = app.watch(State::tick);
    let text = app.watch(State::count_text);
    let has_spot = app.watch(|state| state.spot.is_some());
    let preview = move |event| {
        if let Ok(tick) = event_target_value(&event).parse() {
            app.act(|state| {
                state.preview_tick(tick);
                Vec::new()
            });
        }
    };
    view! {
        <div class="k">
            <div class="k-head">
                <label for="k-slider">"Parameters set to zero (k)"</label>
                <span class="k-value" data-testid="k-value">{text}</span>
            </div>
            <input
                type="range"
                id="k-slider"
                data-testid="k-slider"
                min="0"
                max=LAST_TICK
                step="1"
                aria-valuetext=text
                aria-describedby="k-hint"
                disabled=move || !has_spot.get()
                prop:value=move || tick.get().to_string()
                on:input=preview
                on:change=move |_| app.act(State::commit_count)
            />
            <div class="presets" role="group" aria-label="Preset shares">
                {PRESETS_PERCENT.map(|percent| view! { <Preset percent/> }).collect_view()}
            </div>
            <p class="hint" id="k-hint">
                "At 0 both panes are alike. After a run, a new value runs the right pane again."
            </p>
        </div>
    }
}

/// A button that chooses an exact count.
#[component]
fn Preset(
    /// Share of the parameters in scope.
    percent: f64,
) -> impl IntoView {
    let app = App::get();
    let count_of = move |state: &State| {
        state.spot.as_ref().map(|spot| count_for_percent(spot.parameters_in_scope, percent))
    };
    let available = app.watch(move |state| {
        count_of(state).zip(state.spot.as_ref()).is_some_and(|(count, spot)| count <= spot.len)
    });
    let chosen = app.watch(move |state| count_of(state) == Some(state.count));
    let choose = move |_| {
        app.act(|state| {
            if let Some(count) = count_of(state) {
                state.preview_count(count);
            }
            state.commit_count()
        });
    };
    view! {
        <button
            type="button"
            class="plain preset"
            data-testid=format!("k-preset-{percent}")
            aria-pressed=move || chosen.get().to_string()
            disabled=move || !available.get()
            on:click=choose
        >
            {format!("{percent} %")}
        </button>
    }
}
