//! What one form of the model writes.

use crate::page::app::App;
use crate::page::format;
use crate::page::state::{ArmPhase, ArmView};
use crate::protocol::{Arm, StopReason};
use leptos::prelude::*;

/// An arm: prompt, continuation, and its numbers. Text only ever becomes text.
#[component]
pub(crate) fn ArmPane(
    /// Which.
    arm: Arm,
) -> impl IntoView {
    let app = App::get();
    let (id, mark, title) = match arm {
        Arm::Original => ("arm-original", "●", "Original"),
        Arm::Spot => ("arm-spot", "▲", "Spot removed"),
    };
    let phase = app.watch(move |state| state.arm(arm).phase);
    let tokens = app.watch(move |state| state.arm(arm).tokens);
    let stop = app.watch(move |state| {
        state.arm(arm).stop.map(|stop| match stop {
            StopReason::Eos => "eos",
            StopReason::Length => "length",
        })
    });
    let prompt = app.watch(move |state| state.arm(arm).prompt.clone());
    let text = app.watch(move |state| state.arm(arm).text.clone());
    let subject = app.watch(move |state| subject(arm, state.arm(arm)));
    let note = app.watch(move |state| note(state.arm(arm)));
    let nll = app.watch(move |state| {
        state.arm(arm).mean_nll().map_or_else(|| "–".to_owned(), |nll| format!("{nll:.2} nats per token"))
    });
    let speed = app.watch(move |state| {
        state.arm(arm).tokens_per_s.map_or_else(|| "–".to_owned(), |speed| format!("{speed:.1} tokens/s"))
    });
    view! {
        <section
            class=format!("pane {id}")
            aria-labelledby=format!("{id}-title")
            data-testid=id
            data-arm-state=move || phase.get().name()
            data-token-count=tokens
            data-stop=stop
        >
            <h2 id=format!("{id}-title")>
                <span class="mark" aria-hidden="true">{mark}</span>
                {title}
            </h2>
            <p class="subject">{subject}</p>
            <div class="completion">
                <span class="given">{prompt}</span>
                <pre data-testid=format!("{id}-text")>{text}</pre>
            </div>
            <p class="note">{note}</p>
            <dl class="numbers">
                <div>
                    <dt>"NLL"</dt>
                    <dd data-testid=format!("{id}-nll")>{nll}</dd>
                </div>
                <div>
                    <dt>"Speed"</dt>
                    <dd data-testid=format!("{id}-speed")>{speed}</dd>
                </div>
            </dl>
        </section>
    }
}

fn subject(arm: Arm, view: &ArmView) -> String {
    match arm {
        Arm::Original => "The model as it is.".to_owned(),
        Arm::Spot if view.phase == ArmPhase::Empty => "The model with its spot set to zero.".to_owned(),
        Arm::Spot if view.count == 0 => "Nothing ablated: the same model.".to_owned(),
        Arm::Spot => format!("{} set to zero.", format::parameters(view.count)),
    }
}

fn note(view: &ArmView) -> String {
    let tokens = format::tokens(view.tokens.into());
    match (view.phase, view.stop) {
        (ArmPhase::Empty, _) => "Nothing generated yet.".to_owned(),
        (ArmPhase::Waiting, _) => "Waiting for its turn.".to_owned(),
        (ArmPhase::Running, _) => format!("{} of {}.", view.tokens, format::tokens(view.max_tokens.into())),
        (ArmPhase::Stopped, _) => format!("Stopped at token {}.", view.tokens),
        (ArmPhase::Finished, Some(StopReason::Eos)) => format!("{tokens}; the model ended the text."),
        (ArmPhase::Finished, _) => format!("{tokens}; the limit."),
    }
}
