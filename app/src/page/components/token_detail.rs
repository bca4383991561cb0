//! What each arm thought at one place of the text.

use super::arm_pane::spoken;
use crate::page::app::App;
use crate::page::delta;
use crate::page::state::arms;
use leptos::prelude::*;

/// The five likeliest tokens of each arm at the place that is looked at.
#[component]
pub(crate) fn TokenDetail() -> impl IntoView {
    let app = App::get();
    // Tokens that come change nothing here unless one comes at that place.
    let there = app.watch(move |state| {
        let picked = app.picked.get()?;
        let there = arms::ALL.map(|arm| {
            let view = state.arms.get(arm);
            (view.epoch, view.tokens.len() > picked)
        });
        Some(format!("{picked} {there:?}"))
    });
    view! {
        <div class="detail" data-testid="token-detail">
            {move || match there.get().and(app.picked.get_untracked()) {
                None => view! {
                    <p class="hint">"Point at a token, tap it, or go to it with the arrow keys: its likeliest alternatives appear here."</p>
                }.into_any(),
                Some(place) => rows(app, place).into_any(),
            }}
        </div>
    }
}

fn rows(app: App, place: usize) -> impl IntoView {
    let rows = arms::ALL.map(|arm| {
        let (token, change) = app.state.with_untracked(|state| {
            (state.arms.get(arm).tokens.get(place).cloned(), state.arms.delta(arm, place))
        });
        let name = view! {
            <th scope="row" class=arms::id(arm)>
                <span class="mark" aria-hidden="true">{arms::mark(arm)}</span>
                {arms::title(arm)}
            </th>
        };
        match token {
            None => view! { <tr>{name} <td colspan="4" class="hint">"No token here."</td></tr> }.into_any(),
            Some(token) => {
                let top = token.top.iter().map(|one| {
                    let share = f64::from(one.logprob).exp() * 100.0;
                    let same = one.token == token.token;
                    view! {
                        <li class:same=same>
                            <code>{shown(&one.text)}</code>
                            " "
                            {format!("{share:.1} %")}
                        </li>
                    }
                });
                view! {
                    <tr>
                        {name}
                        <td><code>{shown(&token.text)}</code></td>
                        <td class="n">{format!("{:.2}", -token.logprob)}</td>
                        <td class="n">{change.map_or_else(|| "–".to_owned(), |change| delta::signed(f64::from(change)))}</td>
                        <td><ol class="top">{top.collect_view()}</ol></td>
                    </tr>
                }
                .into_any()
            }
        }
    });
    view! {
        <div class="scroll" tabindex="0" role="group" aria-label="Token detail">
            <table>
                <caption>{format!("Token {} of the continuation", place + 1)}</caption>
                <thead>
                    <tr>
                        <th scope="col">"Arm"</th>
                        <th scope="col">"Token"</th>
                        <th scope="col" class="n">"NLL"</th>
                        <th scope="col" class="n">"ΔNLL"</th>
                        <th scope="col">"Five likeliest"</th>
                    </tr>
                </thead>
                <tbody>{rows.into_iter().collect_view()}</tbody>
            </table>
        </div>
    }
}

/// A token with its ends visible.
fn shown(text: &str) -> String {
    if text.is_empty() || text.chars().all(|c| c.is_whitespace() && c != '\n') {
        return if text.is_empty() { spoken(text) } else { "␣".repeat(text.chars().count()) };
    }
    text.replace('\n', "⏎").replace('\t', "⇥").replace(' ', "␣")
}
