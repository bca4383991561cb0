//! A section that folds: open in wide windows, closed in narrow ones.

use crate::page::app::App;
use leptos::prelude::*;

/// A section with a title.
#[component]
pub(crate) fn Panel(
    /// Test id of the section.
    name: &'static str,
    /// Its title.
    title: &'static str,
    /// Its content.
    children: Children,
) -> impl IntoView {
    let app = App::get();
    view! {
        <details class=format!("card panel {name}") data-testid=name prop:open=move || !app.phone.get()>
            <summary>
                <h2>{title}</h2>
            </summary>
            {children()}
        </details>
    }
}
