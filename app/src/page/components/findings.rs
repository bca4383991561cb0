//! What a study of the model found, recorded: the report's own figures.

use crate::page::app::App;
use codingspot_plot::Figures;
use gloo::net::http::Request;
use leptos::prelude::*;

/// Longest file of figures that is read, bytes.
const MAX_BYTES: usize = 16 << 20;
/// Figures that are shown, by name; the scope follows.
const SHOWN: [&str; 4] = ["dose-code", "dose-gap", "location", "matrix"];

/// Figures beside the model, if there are any: `figures.json`, as `codingspot report --figures` writes it.
#[component]
pub(crate) fn Findings() -> impl IntoView {
    let app = App::get();
    let found = RwSignal::new(None::<Figures>);
    let url = app.state.with_untracked(|state| format!("{}figures.json", state.model_url()));
    leptos::task::spawn_local(async move {
        // Without the file there is nothing to show, and nothing is wrong.
        let Ok(response) = Request::get(&url).send().await else { return };
        if !response.ok() {
            return;
        }
        if let Ok(text) = response.text().await
            && text.len() <= MAX_BYTES
        {
            found.set(Figures::from_json(&text).ok());
        }
    });
    let scope = app.watch(|state| state.scope);
    let source = move || if found.with(Option::is_some) { "recorded" } else { "none" };
    // The figures escape all text that is in them.
    let figures = move || {
        let scope = scope.get().name();
        let html = |figures: &Figures| {
            let shown = SHOWN.iter().filter_map(|name| figures.get(&format!("{name}-{scope}")));
            shown.map(|figure| (figure.id.clone(), figure.html())).collect::<Vec<_>>()
        };
        found.with(|figures| figures.as_ref().map(html).unwrap_or_default())
    };
    view! {
        <section
            class="findings"
            data-testid="findings"
            data-source=source
            aria-labelledby="findings-title"
            hidden=move || found.with(Option::is_none)
        >
            <h2 id="findings-title">"What a study of this model found"</h2>
            <p class="hint">
                "Recorded on held-out texts, not computed in this tab. Parameters of the spot and of its controls were \
                 set to zero, from one of them to five percent; shaded bands are 95 % intervals."
            </p>
            <For each=figures key=|(id, _)| id.clone() let:figure>
                <div class="card figure" data-testid=format!("figure-{}", figure.0) inner_html=figure.1></div>
            </For>
        </section>
    }
}
