//! The whole page.

use super::ab_panel::AbPanel;
use super::alert::Alert;
use super::figures::{DosePanel, LanguageFigures, LocationFigure};
use super::header::Header;
use super::heatmap::HeatMap;
use super::k_control::KControl;
use super::languages::LanguageLosses;
use super::loader::Loader;
use super::mode::ModeChoice;
use super::panel::Panel;
use super::prompt::Prompt;
use super::score_code::ScoreCode;
use super::spot_choice::SpotChoiceFields;
use super::tests::PythonTests;
use crate::page::app::App;
use leptos::prelude::*;

/// Header, controls, arms, panels, footer.
#[component]
pub(crate) fn Page() -> impl IntoView {
    let phase = App::get().watch(|state| state.phase.name());
    view! {
        <Header/>
        <main data-testid="app" data-state=phase>
            <Alert/>
            <Loader/>
            <Prompt/>
            <section class="card spot" aria-labelledby="spot-title">
                <h2 id="spot-title">"Spot and mode"</h2>
                <SpotChoiceFields/>
                <ModeChoice/>
            </section>
            <div class="card sticky">
                <KControl/>
            </div>
            <AbPanel/>
            <div class="panels">
                <Panel name="where" title="Where: layers and modules">
                    <HeatMap/>
                    <LocationFigure/>
                </Panel>
                <Panel name="how-much" title="How much: dose and response">
                    <DosePanel/>
                </Panel>
                <Panel name="languages" title="Languages: overlap and loss">
                    <LanguageLosses/>
                    <LanguageFigures/>
                </Panel>
                <Panel name="tests" title="Tests: Python, pass or fail">
                    <PythonTests/>
                </Panel>
                <Panel name="your-code" title="The spot of your own code">
                    <ScoreCode/>
                </Panel>
            </div>
        </main>
        <footer class="bottom">
            <p>
                "Everything runs in this browser. Nothing that you type, and nothing that the model writes, is sent \
                 anywhere."
            </p>
            <p>
                "NLL is the mean negative log-likelihood of the tokens that a pane shows, as its own model scores \
                 them, in nats per token: low means that the model was sure of them. ΔNLL is the arm's less the \
                 original's on the same tokens after the same text."
            </p>
        </footer>
    }
}
