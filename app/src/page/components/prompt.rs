//! What the model continues.

use super::focus::pass_focus;
use super::settings::SettingsFields;
use crate::page::app::App;
use crate::page::state::State;
use leptos::ev;
use leptos::html::Button;
use leptos::prelude::*;

/// Prompt, settings, and the buttons that generate, stop and go on.
#[component]
pub(crate) fn Prompt() -> impl IntoView {
    let app = App::get();
    let running = app.watch(State::is_running);
    let can_generate = app.watch(State::can_generate);
    let can_stop = app.watch(State::can_stop);
    let can_continue = app.watch(State::can_continue);
    let has_model = app.watch(|state| state.model.is_some());
    let generate_button = NodeRef::<Button>::new();
    let stop_button = NodeRef::<Button>::new();
    pass_focus(running, stop_button, generate_button);

    let keys = window_event_listener(ev::keydown, move |event| {
        if event.key() == "Enter" && (event.ctrl_key() || event.meta_key()) {
            event.prevent_default();
            app.generate();
        } else if event.key() == "Escape" && can_stop.get_untracked() {
            app.act(State::stop);
        }
    });
    on_cleanup(move || keys.remove());

    view! {
        <form
            class="card"
            aria-labelledby="prompt-title"
            novalidate
            on:submit=move |event| {
                event.prevent_default();
                app.generate();
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
                prop:value=app.prompt
                on:input=move |event| app.prompt.set(event_target_value(&event))
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
                            <Show when=move || can_continue.get()>
                                <button
                                    type="button"
                                    class="plain"
                                    data-testid="continue"
                                    on:click=move |_| app.act(State::continue_run)
                                >
                                    "Continue"
                                </button>
                            </Show>
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
                <p class="hint">
                    {move || if has_model.get() { "Ctrl+Enter generates, Esc stops." } else { "Load a model to generate." }}
                </p>
            </div>
            <SettingsFields settings=app.settings/>
        </form>
    }
}
