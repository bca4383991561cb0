//! The status line: for eyes at once, for ears at most every five seconds.

use crate::page::announce::{Announcer, Turn};
use crate::page::app::{App, now_ms};
use crate::page::state::{Phase, State};
use gloo::timers::callback::Timeout;
use leptos::prelude::*;

/// A line that may change with every token, and a live region that speaks of what has happened.
#[component]
pub(crate) fn Status() -> impl IntoView {
    let app = App::get();
    let line = app.watch(State::line_text);
    let text = app.watch(State::status_text);
    let spoken = RwSignal::new(String::new());
    let announcer = StoredValue::new(Announcer::default());
    // What is there from the beginning is one announcement, not three.
    let begun = app.watch(|state| state.looked_up && state.phase != Phase::Starting);
    Effect::new(move |_| {
        let text_now = text.get();
        if begun.get() {
            offer(announcer, spoken, text, text_now, false);
        }
    });
    view! {
        <p class="status" data-testid="status-line" aria-hidden="true">{line}</p>
        <p class="heard" role="status" data-testid="status">{spoken}</p>
    }
}

fn offer(
    announcer: StoredValue<Announcer>,
    spoken: RwSignal<String>,
    current: Memo<String>,
    text: String,
    due: bool,
) {
    let mut turn = Turn::Nothing;
    announcer.update_value(|announcer| turn = announcer.offer(&text, now_ms(), due));
    match turn {
        Turn::Now => spoken.set(text),
        Turn::Later(wait) => {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few seconds")]
            let wait = wait.max(0.0) as u32;
            Timeout::new(wait, move || offer(announcer, spoken, current, current.get_untracked(), true))
                .forget();
        }
        Turn::Nothing => {}
    }
}
