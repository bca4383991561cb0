//! Keeps the focus when what has it goes away.

use gloo::timers::callback::Timeout;
use leptos::html::Button;
use leptos::prelude::*;

/// Hands the focus on between two buttons of which one is there while `on`, the other else.
pub(super) fn pass_focus(on: Memo<bool>, while_on: NodeRef<Button>, otherwise: NodeRef<Button>) {
    Effect::new(move |before: Option<bool>| {
        let on = on.get();
        if before.is_some_and(|before| before != on) {
            Timeout::new(0, move || {
                let next = if on { while_on } else { otherwise };
                if let Some(button) = next.get_untracked() {
                    focus_if_lost(&button);
                }
            })
            .forget();
        }
        on
    });
}

/// Focuses an element when nothing else has the focus.
fn focus_if_lost(element: &web_sys::HtmlElement) {
    let lost = document().active_element().is_none_or(|active| active.tag_name() == "BODY");
    if lost {
        // A refused focus costs a key press, no more.
        drop(element.focus());
    }
}
