//! The three arms side by side; one at a time in narrow windows.

use super::arm_pane::ArmPane;
use super::compare_strip::CompareStrip;
use super::token_detail::TokenDetail;
use crate::page::app::App;
use crate::page::state::{State, arms};
use crate::protocol::{Arm, RunMode};
use js_sys::Array;
use leptos::prelude::*;
use wasm_bindgen::{JsCast as _, JsValue};
use web_sys::{Blob, HtmlAnchorElement, Url};

/// Panes, the strip that compares them, and what is known of a token.
#[component]
pub(crate) fn AbPanel() -> impl IntoView {
    let app = App::get();
    let source = app.watch(State::source);
    let about = app.watch(about);
    let can_save = app.watch(|state| state.arms.live && state.is_free() && state.recording().is_some());
    view! {
        <section class="ab" data-testid="ab-panel" data-source=source aria-labelledby="ab-title">
            <div class="ab-head">
                <h2 id="ab-title">"What it writes"</h2>
                <span class="badge" data-testid="ab-source">
                    {move || match source.get() {
                        "recorded" => "Recorded",
                        "live" => "Live",
                        _ => "Nothing yet",
                    }}
                </span>
                <p class="hint" data-testid="ab-about">{about}</p>
                <Show when=move || can_save.get()>
                    <button type="button" class="plain compact" data-testid="save-run" on:click=move |_| save(app)>
                        "Save run"
                    </button>
                </Show>
            </div>
            <CompareStrip/>
            <Tabs/>
            <div class="panes">{arms::ALL.map(|arm| view! { <ArmPane arm/> }).collect_view()}</div>
            <Legend/>
            <TokenDetail/>
        </section>
    }
}

fn about(state: &State) -> String {
    match (&state.recorded, state.arms.live) {
        (Some(recorded), false) => format!(
            "{} on {}, spot: {}, k = {}.",
            recorded.model,
            recorded.computed_by,
            recorded.spot,
            state.count_text_of(recorded.count),
        ),
        (None, false) => "Load a model and generate.".to_owned(),
        (_, true) => match state.mode {
            RunMode::SameText => "Every arm scores the tokens that the original wrote.".to_owned(),
            RunMode::OwnText => {
                "Every arm writes its own text; ΔNLL stops where it leaves the original's.".to_owned()
            }
        },
    }
}

/// Tabs of narrow windows.
#[component]
fn Tabs() -> impl IntoView {
    let app = App::get();
    let step = move |event: web_sys::KeyboardEvent| {
        let place = arms::ALL.iter().position(|arm| *arm == app.tab.get_untracked()).unwrap_or(0);
        let next = match event.key().as_str() {
            "ArrowRight" => (place + 1) % 3,
            "ArrowLeft" => (place + 2) % 3,
            _ => return,
        };
        event.prevent_default();
        app.tab.set(arms::ALL[next]);
        if let Some(tab) = document().get_element_by_id(&format!("tab-{}", arms::id(arms::ALL[next]))) {
            drop(tab.unchecked_into::<web_sys::HtmlElement>().focus());
        }
    };
    view! {
        <Show when=move || app.phone.get()>
            <div class="tabs" role="tablist" aria-label="Arms" on:keydown=step>
                {arms::ALL.map(|arm| {
                    let id = arms::id(arm);
                    view! {
                        <button
                            type="button"
                            role="tab"
                            id=format!("tab-{id}")
                            class=format!("plain {id}")
                            data-testid=format!("tab-{id}")
                            aria-controls=id
                            aria-selected=move || (app.tab.get() == arm).to_string()
                            tabindex=move || if app.tab.get() == arm { "0" } else { "-1" }
                            on:click=move |_| app.tab.set(arm)
                        >
                            <span class="mark" aria-hidden="true">{arms::mark(arm)}</span>
                            {match arm { Arm::Original => "Original", Arm::Spot => "Spot", Arm::Random => "Random" }}
                        </button>
                    }
                }).collect_view()}
            </div>
        </Show>
    }
}

/// The colour bar of differences.
#[component]
fn Legend() -> impl IntoView {
    let bins = [
        (-3, "≤ −3"),
        (-2, "−3 to −1"),
        (-1, "−1 to −0.1"),
        (0, "about 0"),
        (1, "0.1 to 1"),
        (2, "1 to 3"),
        (3, "≥ 3"),
    ];
    view! {
        <div class="legend" data-testid="delta-legend">
            <span>"ΔNLL, nats per token:"</span>
            {bins.map(|(bin, text)| view! { <span class=format!("tok {}", super::arm_pane::bin_class(bin))>{text}</span> }).collect_view()}
        </div>
    }
}

/// Offers what is on show as a file, in the form in which the page reads recorded runs.
fn save(app: App) {
    let Some(recording) = app.state.with_untracked(State::recording) else { return };
    let text = serde_json::to_string(&recording).unwrap_or_default();
    let Ok(blob) = Blob::new_with_str_sequence(&Array::of1(&JsValue::from_str(&text))) else { return };
    let Ok(url) = Url::create_object_url_with_blob(&blob) else { return };
    if let Ok(anchor) = document().create_element("a") {
        let anchor: HtmlAnchorElement = anchor.unchecked_into();
        anchor.set_href(&url);
        anchor.set_download("codingspot-run.json");
        anchor.click();
    }
    gloo::timers::callback::Timeout::new(10_000, move || drop(Url::revoke_object_url(&url))).forget();
}
