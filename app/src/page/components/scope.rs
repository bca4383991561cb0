//! Which parameters compete for the spot.

use crate::page::app::App;
use crate::page::format;
use crate::page::state::{Scope, State};
use leptos::prelude::*;

/// Radio buttons for the scopes.
#[component]
pub(crate) fn ScopeChoice() -> impl IntoView {
    let app = App::get();
    let chosen = app.watch(|state| state.scope);
    let can_choose = app.watch(State::can_choose_scope);
    let whole = app.watch(|state| state.spot.as_ref().map(|spot| spot.parameters_in_scope));
    let choice = move |scope: Scope| {
        view! {
            <label class="choice">
                <input
                    type="radio"
                    name="scope"
                    value=scope.name()
                    data-testid=format!("scope-{}", scope.name())
                    prop:checked=move || chosen.get() == scope
                    disabled=move || !can_choose.get()
                    on:change=move |_| app.act(|state| state.choose_scope(scope))
                />
                <span>{scope.label()}</span>
            </label>
        }
    };
    view! {
        <fieldset class="scope">
            <legend>"Parameters that compete for the spot"</legend>
            {choice(Scope::All)}
            {choice(Scope::NoNorm)}
            <p class="hint" data-testid="in-scope">
                {move || whole.get().map(|whole| format!("100 % is {}.", format::parameters(whole)))}
            </p>
        </fieldset>
    }
}
