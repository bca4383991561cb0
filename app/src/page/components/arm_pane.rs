//! What one form of the model writes.

use crate::page::app::App;
use crate::page::delta;
use crate::page::state::arms;
use crate::protocol::{Arm, StopReason};
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use web_sys::{Element, KeyboardEvent};

/// The class of a bin of differences.
pub(super) fn bin_class(bin: i32) -> &'static str {
    match bin {
        i32::MIN..=-3 => "dm3",
        -2 => "dm2",
        -1 => "dm1",
        0 => "d0",
        1 => "dp1",
        2 => "dp2",
        3.. => "dp3",
    }
}

/// An arm: prompt, continuation token by token, and its numbers. Text only ever becomes text.
#[component]
pub(crate) fn ArmPane(
    /// Which.
    arm: Arm,
) -> impl IntoView {
    let app = App::get();
    let id = arms::id(arm);
    let phase = app.watch(move |state| state.arms.get(arm).phase.name());
    let count = app.watch(move |state| state.arms.get(arm).tokens.len());
    let epoch = app.watch(move |state| state.arms.get(arm).epoch as usize);
    let stop = app.watch(move |state| {
        state.arms.get(arm).stop.map(|stop| match stop {
            StopReason::Eos => "eos",
            StopReason::Length => "length",
        })
    });
    let prompt = app.watch(move |state| state.arms.prompt.clone());
    let subject = app.watch(move |state| state.arm_subject(arm));
    let note = app.watch(move |state| state.arm_note(arm));
    let nll = app.watch(move |state| {
        state.arms.get(arm).mean_nll().map_or_else(|| "–".to_owned(), |nll| format!("{nll:.2}"))
    });
    let change = app
        .watch(move |state| state.arms.get(arm).mean_delta().map_or_else(|| "–".to_owned(), delta::signed));
    let speed = app.watch(move |state| {
        state
            .arms
            .get(arm)
            .tokens_per_s
            .map_or_else(|| "–".to_owned(), |speed| format!("{speed:.1} tokens/s"))
    });
    let delta_id = if arm == Arm::Spot { "delta-nll".to_owned() } else { format!("delta-nll-{}", &id[4..]) };
    let in_tabs = move || app.phone.get();
    view! {
        <section
            class=format!("pane {id}")
            class:away=move || in_tabs() && app.tab.get() != arm
            id=id
            role=move || in_tabs().then_some("tabpanel")
            aria-labelledby=format!("{id}-title")
            data-testid=id
            data-arm-state=phase
            data-token-count=count
            data-stop=stop
        >
            <h3 id=format!("{id}-title")>
                <span class="mark" aria-hidden="true">{arms::mark(arm)}</span>
                {arms::title(arm)}
            </h3>
            <p class="subject">{subject}</p>
            <div class="completion">
                <span class="given">{prompt}</span>
                <Tokens arm count epoch/>
            </div>
            <p class="note">{note}</p>
            <dl class="numbers">
                <div>
                    <dt>"NLL"</dt>
                    <dd data-testid=format!("{id}-nll")>{nll}</dd>
                </div>
                {(arm != Arm::Original).then(|| view! {
                    <div>
                        <dt>"ΔNLL"</dt>
                        <dd data-testid=delta_id>{change}</dd>
                    </div>
                })}
                <div>
                    <dt>"Speed"</dt>
                    <dd data-testid=format!("{id}-speed")>{speed}</dd>
                </div>
            </dl>
        </section>
    }
}

fn place_of(element: &Element) -> Option<usize> {
    element.closest("[data-place]").ok().flatten()?.get_attribute("data-place")?.parse().ok()
}

/// The tokens, each drawn once: a list that only grows. One stop of the tab key; arrows go from token to token.
#[component]
fn Tokens(
    /// Whose.
    arm: Arm,
    /// How many there are.
    count: Memo<usize>,
    /// Changes when they begin anew.
    epoch: Memo<usize>,
) -> impl IntoView {
    let app = App::get();
    let id = arms::id(arm);
    let has_any = Memo::new(move |_| count.get() > 0);
    let look = move |event: web_sys::Event| {
        if let Some(place) = event.target().and_then(|target| place_of(target.dyn_ref::<Element>()?)) {
            app.picked.set(Some(place));
        }
    };
    let keys = move |event: KeyboardEvent| {
        let last = count.get_untracked().saturating_sub(1);
        let now = app.picked.get_untracked().unwrap_or(0).min(last);
        let next = match event.key().as_str() {
            "ArrowRight" | "ArrowDown" => (now + 1).min(last),
            "ArrowLeft" | "ArrowUp" => now.saturating_sub(1),
            "Home" => 0,
            "End" => last,
            _ => return,
        };
        event.prevent_default();
        app.picked.set(Some(next));
    };
    let focus = move |_| {
        if app.picked.get_untracked().is_none() && count.get_untracked() > 0 {
            app.picked.set(Some(0));
        }
    };
    view! {
        <pre
            class="tokens"
            data-testid=format!("{id}-text")
            role=move || has_any.get().then_some("listbox")
            aria-label=move || has_any.get().then(|| format!("Tokens: {}", arms::title(arm)))
            aria-activedescendant=move || {
                app.picked.get().filter(|place| *place < count.get()).map(|place| format!("{id}-{place}"))
            }
            tabindex=move || has_any.get().then_some("0")
            on:click=move |event| look(event.into())
            on:mouseover=move |event| look(event.into())
            on:keydown=keys
            on:focus=focus
        >
            <For
                each=move || { let epoch = epoch.get(); (0..count.get()).map(move |place| (epoch, place)) }
                key=|key| *key
                let:key
            >
                <Token arm place=key.1/>
            </For>
        </pre>
    }
}

/// A token. Its difference is known when it comes, as the original comes first.
#[component]
fn Token(
    /// Whose.
    arm: Arm,
    /// Its place in the continuation.
    place: usize,
) -> impl IntoView {
    let app = App::get();
    let found = app.state.with_untracked(|state| {
        let view = state.arms.get(arm);
        let token = view.tokens.get(place)?;
        let parts = arm != Arm::Original && view.divergence() == Some(place);
        Some((token.token, token.text.clone(), token.logprob, state.arms.delta(arm, place), parts))
    });
    found.map(|(token, text, logprob, change, parts)| {
        let class = match change {
            Some(change) => format!("tok {}", bin_class(delta::bin(change))),
            None => "tok".to_owned(),
        };
        let label = match change {
            Some(change) => {
                format!("{}: NLL {:.2}, ΔNLL {}", spoken(&text), -logprob, delta::signed(f64::from(change)))
            }
            None => format!("{}: NLL {:.2}", spoken(&text), -logprob),
        };
        view! {
            {parts.then(|| view! {
                <span class="divergence" data-testid="divergence-mark" role="option" aria-selected="false" aria-label="From here on its text is its own">
                </span>
            })}
            <span
                class=class
                class:picked=move || app.picked.get() == Some(place)
                id=format!("{}-{place}", arms::id(arm))
                role="option"
                aria-selected=move || (app.picked.get() == Some(place)).to_string()
                aria-label=label
                data-place=place
                data-token=token
            >
                {lines(&text)}
            </span>
        }
    })
}

/// The text with a sign, drawn by the style sheet, before each end of a line.
fn lines(text: &str) -> Vec<AnyView> {
    let mut parts = Vec::new();
    for (place, line) in text.split('\n').enumerate() {
        if place > 0 {
            parts.push(view! { <span class="nl" aria-hidden="true"></span> }.into_any());
            parts.push("\n".into_any());
        }
        if !line.is_empty() {
            parts.push(line.to_owned().into_any());
        }
    }
    parts
}

/// A token as it is read aloud.
pub(super) fn spoken(text: &str) -> String {
    match text {
        "" => "(no text)".to_owned(),
        text if text.chars().all(char::is_whitespace) => {
            text.replace('\n', "newline ").replace('\t', "tab ").replace(' ', "space ").trim().to_owned()
        }
        text => text.trim().to_owned(),
    }
}
