//! Every arm's loss in one line, whatever pane is shown.

use crate::page::app::App;
use crate::page::delta;
use crate::page::state::arms;
use leptos::prelude::*;

/// The strip of narrow windows.
#[component]
pub(crate) fn CompareStrip() -> impl IntoView {
    let app = App::get();
    view! {
        <ul class="strip" data-testid="compare-strip" aria-label="NLL of every arm">
            {arms::ALL.map(|arm| {
                let numbers = app.watch(move |state| {
                    let view = state.arms.get(arm);
                    let nll = view.mean_nll().map_or_else(|| "–".to_owned(), |nll| format!("{nll:.2}"));
                    let change = view.mean_delta().filter(|_| arm != crate::protocol::Arm::Original);
                    (nll, change.map(delta::signed))
                });
                view! {
                    <li class=arms::id(arm)>
                        <span class="mark" aria-hidden="true">{arms::mark(arm)}</span>
                        <span class="heard">{arms::title(arm)} ": "</span>
                        <strong>{move || numbers.get().0}</strong>
                        <span>{move || numbers.get().1.map(|change| format!(" {change}"))}</span>
                    </li>
                }
            }).collect_view()}
        </ul>
    }
}
