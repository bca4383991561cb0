//! What a study of the model found, recorded: the report's own figures.

use crate::page::app::App;
use crate::page::dose;
use codingspot_plot::Figures;
use leptos::prelude::*;

/// The scope whose figures are shown: that of the spot, or of the chosen one.
fn scope(app: App) -> Memo<String> {
    app.watch(|state| match &state.spot {
        Some(spot) => spot.facts.scope.clone(),
        None => state.spot_choice.key(),
    })
}

fn has(app: App, name: &'static str, scope: Memo<String>) -> Memo<bool> {
    Memo::new(move |_| {
        let id = format!("{name}-{}", scope.get());
        app.figures.with(|figures| figures.as_ref().is_some_and(|figures| figures.get(&id).is_some()))
    })
}

/// A recorded figure, in the scope that is chosen. The figure escapes all text that is in it.
#[component]
fn Recorded(
    /// Its name, to which the scope is added.
    name: &'static str,
    /// Test id, where it has one of its own.
    #[prop(default = "")]
    test_id: &'static str,
    /// Marks the count that is chosen now.
    #[prop(default = false)]
    marked: bool,
) -> impl IntoView {
    let app = App::get();
    let scope = scope(app);
    let there = has(app, name, scope);
    // What was told the worker: dragging redraws nothing.
    let count = app.watch(|state| state.mask.count.unwrap_or(0));
    let html = move || {
        let id = format!("{name}-{}", scope.get());
        let count = if marked { count.get() } else { 0 };
        let draw = |figures: &Figures| {
            figures.get(&id).map(|figure| if marked { dose::html(figure, count) } else { figure.html() })
        };
        app.figures.with(|figures| figures.as_deref().and_then(draw).unwrap_or_default())
    };
    view! {
        <div
            class="figure"
            data-testid=move || if test_id.is_empty() { format!("figure-{name}-{}", scope.get()) } else { test_id.to_owned() }
            data-source=move || if there.get() { "recorded" } else { "none" }
            hidden=move || !there.get()
            inner_html=html
        ></div>
    }
}

/// Where no study is recorded, a line says so.
#[component]
fn Missing(
    /// The figure that would be there.
    name: &'static str,
) -> impl IntoView {
    let app = App::get();
    let there = has(app, name, scope(app));
    view! {
        <p class="hint">
            {move || if there.get() {
                "Recorded on held-out texts, not computed in this tab. Shaded bands are 95 % intervals."
            } else {
                "No study of this model and spot is recorded here."
            }}
        </p>
    }
}

/// Enrichment at the largest share.
#[component]
pub(crate) fn LocationFigure() -> impl IntoView {
    view! { <Recorded name="location"/> }
}

/// Loss over the number of removed parameters, with the control and chance.
#[component]
pub(crate) fn DosePanel() -> impl IntoView {
    view! {
        <Missing name="dose-code"/>
        <Recorded name="dose-code" test_id="dose-chart" marked=true/>
        <Recorded name="dose-gap"/>
    }
}

/// How alike the spots of languages are, and what each costs the others.
#[component]
pub(crate) fn LanguageFigures() -> impl IntoView {
    view! {
        <Missing name="languages"/>
        <Recorded name="languages" test_id="overlap"/>
        <Recorded name="matrix"/>
    }
}
