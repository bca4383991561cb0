//! The whole page.

use super::alert::Alert;
use super::arm_pane::ArmPane;
use super::backend::BackendChip;
use super::findings::Findings;
use super::k_control::KControl;
use super::loader::Loader;
use super::prompt::Prompt;
use super::scope::ScopeChoice;
use crate::page::app::App;
use crate::protocol::Arm;
use leptos::prelude::*;

/// Header, controls, panes, footer.
#[component]
pub(crate) fn Page() -> impl IntoView {
    let phase = App::get().watch(|state| state.phase.name());
    view! {
        <header class="top">
            <div class="title">
                <h1>"Coding Spot"</h1>
                <BackendChip/>
            </div>
            <p class="intro">
                "A paper claims that a very small set of a language model's parameters carries its ability to code: \
                 its coding spot. This page loads a small model, sets the parameters of its spot to zero, and shows \
                 what it writes with them and without them, side by side. You choose how many."
            </p>
        </header>
        <main data-testid="app" data-state=phase>
            <Alert/>
            <Loader/>
            <div class="controls">
                <Prompt/>
                <section class="card" aria-labelledby="spot-title">
                    <h2 id="spot-title">"Spot"</h2>
                    <KControl/>
                    <ScopeChoice/>
                </section>
            </div>
            <div class="panes">
                <ArmPane arm=Arm::Original/>
                <ArmPane arm=Arm::Spot/>
            </div>
            <Findings/>
        </main>
        <footer class="bottom">
            <p>
                "Everything runs in this browser. Nothing that you type, and nothing that the model writes, is sent \
                 anywhere."
            </p>
            <p>
                "NLL is the mean negative log-likelihood of the tokens that a pane shows, as its own model scores \
                 them, in nats per token: low means that the model was sure of what it wrote."
            </p>
        </footer>
    }
}
