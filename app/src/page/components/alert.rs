//! The last failure.

use crate::page::app::App;
use crate::page::state::State;
use leptos::prelude::*;

/// Stays until it is dismissed, or until what failed is tried again.
#[component]
pub(crate) fn Alert() -> impl IntoView {
    let app = App::get();
    let alert = app.watch(|state| state.alert.clone());
    move || {
        alert.get().map(|alert| {
            let actions = alert.actions.into_iter().map(|action| {
                let (name, label) = (action.name(), action.label());
                view! {
                    <button type="button" data-testid=name on:click=move |_| app.take_action(&action)>
                        {label}
                    </button>
                }
            });
            view! {
                <div class="alert" role="alert" data-testid="alert" data-kind=alert.kind.name()>
                    <p>{alert.text}</p>
                    {actions.collect_view()}
                    <button
                        type="button"
                        class="plain"
                        data-testid="dismiss"
                        on:click=move |_| app.change(State::dismiss)
                    >
                        "Dismiss"
                    </button>
                </div>
            }
        })
    }
}
