//! How many parameters are zero.

use crate::page::app::App;
use crate::page::slider::{LAST_TICK, PRESETS_PERCENT, Scale, count_for_percent};
use crate::page::state::State;
use leptos::prelude::*;

/// The slider, its value in words, and the preset shares.
#[component]
pub(crate) fn KControl() -> impl IntoView {
    let app = App::get();
    let tick = app.watch(State::tick);
    let last = app.watch(|state| state.scale().as_ref().map_or(LAST_TICK, Scale::last_tick));
    let text = app.watch(State::count_text);
    let can_choose = app.watch(|state| state.scale().is_some());
    let preview = move |event| {
        if let Ok(tick) = event_target_value(&event).parse() {
            app.change(|state| state.preview_tick(tick));
        }
    };
    // A page is ten ticks; browsers take a tenth of the range.
    let keys = move |event: web_sys::KeyboardEvent| {
        let step = match event.key().as_str() {
            "PageUp" => 10,
            "PageDown" => -10,
            _ => return,
        };
        event.prevent_default();
        app.act(|state| {
            state.preview_tick(state.tick().saturating_add_signed(step).min(last.get_untracked()));
            state.commit_count()
        });
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
                max=last
                step="1"
                aria-valuetext=text
                disabled=move || !can_choose.get()
                prop:value=move || tick.get().to_string()
                on:input=preview
                on:change=move |_| app.act(State::commit_count)
                on:keydown=keys
            />
            <div class="presets" role="group" aria-label="Preset shares">
                {PRESETS_PERCENT.map(|percent| view! { <Preset percent/> }).collect_view()}
            </div>
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
        let count = count_for_percent(state.in_scope()?, percent);
        // With levels, the nearest one stands for the share.
        Some(state.scale().map_or(count, |scale| scale.nearest(count)))
    };
    let available = app.watch(move |state| count_of(state).is_some());
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
