//! Every arm's loss in one line, whatever pane is shown.

use crate::page::app::App;
use crate::page::delta;
use crate::page::state::arms;
use crate::protocol::Arm;
use leptos::prelude::*;

/// The strip of narrow windows.
#[component]
pub(crate) fn CompareStrip() -> impl IntoView {
    let app = App::get();
    view! {
        <ul class="strip" data-testid="compare-strip" aria-label="NLL of every arm">
            {arms::ALL.map(|arm| {
                let nll = app.watch(move |state| {
                    state.arms.get(arm).mean_nll().map_or_else(|| "–".to_owned(), |nll| format!("{nll:.2}"))
                });
                let change = app.watch(move |state| {
                    let change = state.arms.get(arm).mean_delta().filter(|_| arm != Arm::Original);
                    change.map_or_else(String::new, |change| format!(" {}", delta::signed(change)))
                });
                view! {
                    <li class=arms::id(arm)>
                        <span class="mark" aria-hidden="true">{arms::mark(arm)}</span>
                        <span class="heard">{arms::title(arm)} ": "</span>
                        <strong>{nll}</strong>
                        <span>{change}</span>
                    </li>
                }
            }).collect_view()}
        </ul>
    }
}
