//! Sampling settings.

use crate::page::state::{MAX_NEW_TOKENS, Settings};
use leptos::prelude::*;

/// Four fields that are seldom needed.
#[component]
pub(crate) fn SettingsFields(
    /// The settings, as typed.
    settings: RwSignal<Settings>,
) -> impl IntoView {
    // The fields aren't told what was typed into them: half a number would be taken away.
    let first = settings.get_untracked();
    view! {
        <details class="settings" data-testid="settings">
            <summary>"Settings"</summary>
            <div class="fields">
                <label>
                    <span>"Max tokens"</span>
                    <input
                        type="number"
                        data-testid="max-tokens"
                        min="1"
                        max=MAX_NEW_TOKENS
                        step="1"
                        prop:value=first.max_tokens
                        on:input=move |event| settings.update(|settings| settings.max_tokens = event_target_value(&event))
                    />
                </label>
                <label>
                    <span>"Temperature"</span>
                    <input
                        type="number"
                        data-testid="temperature"
                        min="0"
                        max="5"
                        step="any"
                        prop:value=first.temperature
                        on:input=move |event| settings.update(|settings| settings.temperature = event_target_value(&event))
                    />
                </label>
                <label>
                    <span>"Top-p"</span>
                    <input
                        type="number"
                        data-testid="top-p"
                        min="0"
                        max="1"
                        step="any"
                        prop:value=first.top_p
                        on:input=move |event| settings.update(|settings| settings.top_p = event_target_value(&event))
                    />
                </label>
                <label>
                    <span>"Seed"</span>
                    <input
                        type="number"
                        data-testid="seed"
                        min="0"
                        step="1"
                        prop:value=first.seed
                        on:input=move |event| settings.update(|settings| settings.seed = event_target_value(&event))
                    />
                </label>
            </div>
            <p class="hint">"At temperature 0 the likeliest token is taken each time, whatever top-p is. The seed also draws the random arm."</p>
        </details>
    }
}
