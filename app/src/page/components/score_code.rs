//! The spot of one's own code, on the map of the model.

use crate::page::app::App;
use crate::page::format;
use crate::page::state::{SpotChoice, State};
use crate::protocol::Snippet;
use leptos::html::{Input, Textarea};
use leptos::prelude::*;

/// Code, and a button that scores it.
#[component]
pub(crate) fn ScoreCode() -> impl IntoView {
    let app = App::get();
    let can_score = app.watch(State::can_generate);
    let said = app.watch(|state| {
        if let Some((done, total)) = state.scoring {
            return Some(format!("Batch {done} of {total}."));
        }
        state.spot.as_ref().filter(|spot| spot.choice == SpotChoice::Code).map(|spot| {
            format!("The spot of your code is loaded: it ranks {}.", format::parameters(spot.facts.len))
        })
    });
    let text = NodeRef::<Textarea>::new();
    let no_norm = NodeRef::<Input>::new();
    let score = move |_| {
        let mut documents = app.code.get_untracked();
        if let Some(text) =
            text.get_untracked().map(|text| text.value()).filter(|text| !text.trim().is_empty())
        {
            documents.push(Snippet { language: "code".to_owned(), text });
        }
        let no_norm = no_norm.get_untracked().is_some_and(|input| input.checked());
        app.act(|state| state.score_code(documents, no_norm));
    };
    view! {
        <p class="hint">
            "The loaded model is scored on your code (a forward and a backward pass for each document), and the \
             parameters with the highest scores become the spot, here, for models that fit."
        </p>
        <label class="field">
            <span>"Code"</span>
            <textarea rows="6" spellcheck="false" data-testid="score-text" node_ref=text></textarea>
        </label>
        <p class="hint" data-testid="score-files">
            {move || app.code.with(|code| match code.len() {
                0 => "Files of code can be dropped on the field for files above.".to_owned(),
                1 => "1 file is added.".to_owned(),
                many => format!("{many} files are added."),
            })}
        </p>
        <label class="choice">
            <input type="checkbox" checked node_ref=no_norm data-testid="score-no-norm"/>
            <span>"Leave the gains of norms out"</span>
        </label>
        <div class="actions">
            <button type="button" data-testid="score-run" disabled=move || !can_score.get() on:click=score>
                "Score and take its spot"
            </button>
            <p class="hint" data-testid="score-said">
                {said}
            </p>
        </div>
    }
}
