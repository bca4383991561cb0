//! Which spot, of those that the model has.

use crate::page::app::App;
use crate::page::format;
use crate::page::state::spots::spot_label;
use crate::page::state::{SpotChoice, State};
use leptos::prelude::*;

/// Radio buttons for the model's spots, and the name of another where one is loaded.
#[component]
pub(crate) fn SpotChoiceFields() -> impl IntoView {
    let app = App::get();
    let names = app.watch(State::spot_names);
    let chosen = app.watch(|state| state.spot_choice.key());
    let can_choose = app.watch(State::can_choose_spot);
    let about = app.watch(|state| {
        let whole = state.in_scope().map(|whole| format!("100 % is {}. ", format::parameters(whole)));
        let seed = state.spot.as_ref().map(|spot| {
            format!("The random arm loses as many in each tensor, drawn with seed {}.", spot.seed)
        });
        whole.unwrap_or_default() + &seed.unwrap_or_default()
    });
    let other = app.watch(|state| {
        (!matches!(state.spot_choice, SpotChoice::Named(_))).then(|| state.spot_choice.label())
    });
    let choice = move |name: String| {
        let (value, id, label) = (name.clone(), format!("scope-{name}"), spot_label(&name));
        let this = SpotChoice::Named(name);
        let checked = this.key();
        view! {
            <label class="choice">
                <input
                    type="radio"
                    name="spot"
                    value=value
                    data-testid=id
                    prop:checked=move || chosen.get() == checked
                    disabled=move || !can_choose.get()
                    on:change=move |_| app.act(|state| state.choose_spot(this.clone()))
                />
                <span>{label}</span>
            </label>
        }
    };
    view! {
        <fieldset class="choices-of">
            <legend>"Parameters that compete for the spot"</legend>
            {move || names.get().into_iter().map(choice).collect_view()}
            {move || other.get().map(|label| view! {
                <label class="choice" data-testid="spot-other">
                    <input type="radio" name="spot" checked/>
                    <span>{label}</span>
                </label>
            })}
        </fieldset>
        <p class="hint" data-testid="in-scope">
            {about}
        </p>
    }
}
