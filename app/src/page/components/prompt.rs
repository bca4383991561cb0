//! What the model continues.

use super::loader::focus_if_lost;
use super::settings::SettingsFields;
use crate::page::app::App;
use crate::page::state::{Settings, State};
use gloo::timers::callback::Timeout;
use leptos::ev;
use leptos::html::Button;
use leptos::prelude::*;

const FIRST_PROMPT: &str = "fn main() {\n    let mut total = 0;\n    for i in 0..10 {\n";

/// Prompt, settings, and the buttons that generate and stop.
#[component]
pub(crate) fn Prompt() -> impl IntoView {
    let app = App::get();
    let prompt = RwSignal::new(FIRST_PROMPT.to_owned());
    let settings = RwSignal::new(Settings::default());
    let progress = app.watch(State::run_text);
    let running = app.watch(|state| state.run_text().is_some());
    let can_generate = app.watch(State::can_generate);
    let can_stop = app.watch(State::can_stop);
    let generate_button = NodeRef::<Button>::new();
    let stop_button = NodeRef::<Button>::new();

    let generate = move || {
        app.act(|state| state.generate(prompt.get_untracked(), &settings.read_untracked()));
    };
    let keys = window_event_listener(ev::keydown, move |event| {
        if event.key() == "Enter" && (event.ctrl_key() || event.meta_key()) {
            event.prevent_default();
            generate();
        } else if event.key() == "Escape" && can_stop.get_untracked() {
            app.act(State::stop);
        }
    });
    on_cleanup(move || keys.remove());

    // The button with the focus goes away: the focus goes on to the one that takes its place.
    Effect::new(move |before: Option<bool>| {
        let running = running.get();
        if before.is_some_and(|before| before != running) {
            Timeout::new(0, move || {
                let next = if running { stop_button } else { generate_button };
                if let Some(button) = next.get_untracked() {
                    focus_if_lost(&button);
                }
            })
            .forget();
        }
        running
    });

    view! {
        <form
            class="card"
            aria-labelledby="prompt-title"
            novalidate
            on:submit=move |event| {
                event.prevent_default();
                generate();
            }
        >
            <h2 id="prompt-title">
                <label for="prompt">"Prompt"</label>
            </h2>
            <textarea
                id="prompt"
                data-testid="prompt"
                rows="5"
                spellcheck="false"
                autocapitalize="off"
                autocomplete="off"
                prop:value=FIRST_PROMPT
                on:input=move |event| prompt.set(event_target_value(&event))
            ></textarea>
            <div class="actions">
                <Show
                    when=move || running.get()
                    fallback=move || {
                        view! {
                            <button
                                type="submit"
                                data-testid="generate"
                                node_ref=generate_button
                                aria-keyshortcuts="Control+Enter"
                                disabled=move || !can_generate.get()
                            >
                                "Generate"
                            </button>
                        }
                    }
                >
                    <button
                        type="button"
                        data-testid="stop"
                        node_ref=stop_button
                        aria-keyshortcuts="Escape"
                        disabled=move || !can_stop.get()
                        on:click=move |_| app.act(State::stop)
                    >
                        "Stop"
                    </button>
                </Show>
                <p class="hint" data-testid="run-progress">
                    {move || progress.get().unwrap_or_else(|| "Ctrl+Enter generates, Esc stops.".to_owned())}
                </p>
            </div>
            <SettingsFields settings/>
        </form>
    }
}
