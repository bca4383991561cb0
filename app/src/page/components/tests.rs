//! Python: each arm completes functions, and their tests run in a closed frame.

use crate::page::app::App;
use crate::page::format;
use crate::page::state::python::{Problem, TestRow, Verdict, entry_point};
use crate::page::state::{State, arms};
use leptos::html::{Iframe, Textarea};
use leptos::prelude::*;

/// Buttons, results, one's own problem, and the frame.
#[component]
pub(crate) fn PythonTests() -> impl IntoView {
    let app = App::get();
    let can_run = app.watch(|state| state.can_generate() && !state.tests.problems.is_empty());
    let rows = app.watch(|state| state.tests.rows.iter().map(|row| row.problem.slug()).collect::<Vec<_>>());
    let python = app.watch(|state| state.tests.python.clone());
    let trouble = app.watch(|state| state.tests.trouble.clone());
    let removed = app.watch(|state| format::parameters(state.tests.count));
    let about = move || match (trouble.get(), python.get(), app.python_bytes.get()) {
        (Some(trouble), ..) => trouble,
        (_, Some(version), _) => format!(
            "Python {version}. {} removed in the ablated arms; greedy completions of at most 128 tokens.",
            removed.get()
        ),
        (.., Some((done, total))) if total > 0.0 => {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts of bytes")]
            let (done, total) = (format::bytes(done as u64), format::bytes(total as u64));
            format!("Fetching Python: {done} of {total}.")
        }
        (.., Some(_)) => "Starting Python.".to_owned(),
        _ => {
            "Every arm completes short functions; their tests run in this tab, in a frame without a network. \
              The first run fetches Python (about 13 MB)."
                .to_owned()
        }
    };
    view! {
        <div class="actions">
            <button
                type="button"
                data-testid="py-run"
                disabled=move || !can_run.get()
                on:click=move |_| app.act(|state| state.run_tests(None))
            >
                "Run Python tests"
            </button>
            <p class="hint" data-testid="py-about">{about}</p>
        </div>
        <Show when=move || !rows.with(Vec::is_empty)>
            <Results/>
        </Show>
        <OwnProblem/>
        <Show when=move || app.python_bytes.get().is_some()>
            <Frame/>
        </Show>
    }
}

/// A row a problem.
#[component]
fn Results() -> impl IntoView {
    let app = App::get();
    let rows = app.watch(|state| state.tests.rows.iter().map(|row| row.problem.slug()).collect::<Vec<_>>());
    let passed = |arm| {
        app.watch(move |state| {
            let (passed, all) = state.tests.passed(arm);
            format!("{passed} of {all}")
        })
    };
    view! {
        <div class="scroll" tabindex="0" role="group" aria-label="Results of tests">
            <table class="verdicts" data-testid="py-table">
                <thead>
                    <tr>
                        <th scope="col">"Problem"</th>
                        {arms::ALL.map(|arm| view! {
                            <th scope="col" class=arms::id(arm)>
                                <span class="mark" aria-hidden="true">{arms::mark(arm)}</span>
                                {arms::title(arm)}
                            </th>
                        }).collect_view()}
                    </tr>
                </thead>
                <tbody>
                    {move || rows.get().into_iter().enumerate().map(|(row, slug)| view! { <ResultRow row slug/> }).collect_view()}
                </tbody>
                <tfoot>
                    <tr data-testid="py-passed">
                        <th scope="row">"Passed"</th>
                        {arms::ALL.map(|arm| view! { <td>{passed(arm)}</td> }).collect_view()}
                    </tr>
                </tfoot>
            </table>
        </div>
    }
}

/// What the arms made of a problem.
#[component]
fn ResultRow(
    /// Its place.
    row: usize,
    /// Its name in test ids.
    slug: String,
) -> impl IntoView {
    let app = App::get();
    let found = app.watch(move |state| state.tests.rows.get(row).cloned());
    let name = app
        .state
        .with_untracked(|state| state.tests.rows.get(row).map(|row| row.problem.entry_point.clone()));
    view! {
        <tr data-testid=format!("py-result-{slug}")>
            <th scope="row"><code>{name}</code></th>
            {(0..3).map(|place| view! {
                <td>{move || found.get().map(|row| verdict(&row, place))}</td>
            }).collect_view()}
        </tr>
    }
}

fn verdict(row: &TestRow, place: usize) -> impl IntoView + use<> {
    let verdict = row.verdicts[place].clone();
    let class = match verdict {
        Verdict::Passed => "verdict passed",
        Verdict::Failed(_) | Verdict::SyntaxError(_) | Verdict::TimedOut(_) => "verdict failed",
        _ => "verdict",
    };
    let detail = verdict.detail().to_owned();
    let completion = row.completions[place].clone();
    let arm = arms::id(arms::ALL[place]);
    let has_code = !completion.is_empty() || verdict.is_final();
    view! {
        <span class=class data-verdict=verdict.word() data-arm=arm>{verdict.word()}</span>
        {has_code.then(|| view! {
            <details class="program">
                <summary>"Code"</summary>
                {(!detail.is_empty()).then(|| view! { <p class="hint" data-testid="py-detail">{detail}</p> })}
                <pre>{completion}</pre>
            </details>
        })}
    }
}

/// A function of one's own with its tests.
#[component]
fn OwnProblem() -> impl IntoView {
    let app = App::get();
    let can_run = app.watch(State::can_generate);
    let prompt = NodeRef::<Textarea>::new();
    let tests = NodeRef::<Textarea>::new();
    let run = move |_| {
        let (Some(prompt), Some(tests)) = (prompt.get_untracked(), tests.get_untracked()) else { return };
        let (prompt, test) = (prompt.value(), tests.value());
        match entry_point(&prompt).map(str::to_owned) {
            Some(entry_point) => {
                let own = Problem { task_id: "own".to_owned(), prompt, entry_point, test };
                app.act(|state| state.run_tests(Some(own)));
            }
            None => app.change(|state| {
                state.refuse("The prompt has no line that begins with def and a name. Write the function's first line.");
            }),
        }
    };
    view! {
        <details class="own" data-testid="own-problem">
            <summary>"Your own problem"</summary>
            <label class="field">
                <span>"Function to complete"</span>
                <textarea
                    rows="4"
                    spellcheck="false"
                    data-testid="own-prompt"
                    node_ref=prompt
                    prop:value="def double(x):\n    \"\"\"Return twice x.\"\"\"\n"
                ></textarea>
            </label>
            <label class="field">
                <span>"Tests"</span>
                <textarea
                    rows="4"
                    spellcheck="false"
                    data-testid="own-tests"
                    node_ref=tests
                    prop:value="def check(candidate):\n    assert candidate(2) == 4\n"
                ></textarea>
            </label>
            <button type="button" class="plain" data-testid="own-run" disabled=move || !can_run.get() on:click=run>
                "Run this problem"
            </button>
        </details>
    }
}

/// The closed frame; drawn only when Python is asked for.
#[component]
fn Frame() -> impl IntoView {
    let app = App::get();
    let frame = NodeRef::<Iframe>::new();
    Effect::new(move |_| {
        if let Some(frame) = frame.get() {
            app.mount_python(frame);
        }
    });
    view! {
        <iframe
            class="heard"
            title="Python"
            sandbox="allow-scripts"
            data-testid="py-frame"
            tabindex="-1"
            aria-hidden="true"
            node_ref=frame
        ></iframe>
    }
}
