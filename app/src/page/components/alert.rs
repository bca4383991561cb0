//! The last failure.

use crate::page::app::App;
use leptos::prelude::*;

/// Stays until it is dismissed, or until what failed is tried again.
#[component]
pub(crate) fn Alert() -> impl IntoView {
    let app = App::get();
    let text = app.watch(|state| state.alert.clone());
    let dismiss = move |_| {
        app.act(|state| {
            state.dismiss();
            Vec::new()
        });
    };
    move || {
        text.get().map(|text| {
            view! {
                <div class="alert" role="alert" data-testid="alert">
                    <p>{text}</p>
                    <button type="button" class="plain" data-testid="dismiss" on:click=dismiss>
                        "Dismiss"
                    </button>
                </div>
            }
        })
    }
}
