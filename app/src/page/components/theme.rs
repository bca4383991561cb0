//! Light, dark, or as the system has it.

use gloo::storage::{LocalStorage, Storage as _};
use leptos::prelude::*;

/// Where the choice is kept; boot.js reads it before anything is drawn.
const KEY: &str = "codingspot.theme";

/// The choice of theme.
#[component]
pub(crate) fn ThemeChoice() -> impl IntoView {
    let kept = LocalStorage::get::<String>(KEY).unwrap_or_default();
    let theme =
        RwSignal::new(if ["light", "dark"].contains(&kept.as_str()) { kept } else { "auto".to_owned() });
    let choose = move |event| {
        let name = event_target_value(&event);
        if let Some(root) = document().document_element() {
            drop(match name.as_str() {
                "light" | "dark" => root.set_attribute("data-theme", &name),
                _ => root.remove_attribute("data-theme"),
            });
        }
        // A browser that keeps nothing still has the theme for this visit.
        drop(LocalStorage::set(KEY, &name));
        theme.set(name);
    };
    view! {
        <label class="theme">
            <span>"Theme"</span>
            <select data-testid="theme" prop:value=theme on:change=choose>
                <option value="auto">"Auto"</option>
                <option value="light">"Light"</option>
                <option value="dark">"Dark"</option>
            </select>
        </label>
    }
}
