//! What the model writes after the beginnings of held-out documents, before and after, and whether it parses.

mod log;
mod prompts;
mod shares;

pub(super) use log::CompletionLog;
pub(super) use prompts::PromptSet;
pub(super) use shares::findings;

use super::arms::Arm;
use super::findings::CompletionSettings;
use super::{CompletionOutcome, PAPER_KS, Request, Runs, ScopePlan, Subject, ascending};
use crate::output;
use crate::progress::Progress;
use anyhow::Context as _;
use codingspot_core::ablate::{Ablation, Replacement};
use codingspot_core::inference::{
    BatchOptions, Completion, Decoding, EndReason, GenerationJob, generate_batch,
};
use codingspot_core::llama::Llama;
use codingspot_core::spot::{Scope, count_of};
use codingspot_core::tokenizer::Tokenizer;
use codingspot_syntax::{Outcome, check};
use log::Written;
use prompts::Prompt;
use std::ops::ControlFlow;
use std::path::Path;

/// Rankings without which the model writes.
const ARMS: [Arm; 4] = [Arm::Spot, Arm::Random(1), Arm::Magnitude, Arm::MinusGeneral];

/// A form of the model that writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    /// What is removed: scope, place in [`ARMS`] and number of parameters; `None`: nothing.
    removed: Option<(Scope, usize, usize)>,
}

/// Scope, arm and number of parameters of a form.
type FormKey = (Option<&'static str>, String, usize);

impl Form {
    const ORIGINAL: Self = Self { removed: None };

    fn scope(self) -> Option<Scope> {
        self.removed.map(|(scope, ..)| scope)
    }

    fn arm(self) -> String {
        self.removed.map_or_else(|| super::points::ORIGINAL.to_owned(), |(_, arm, _)| ARMS[arm].name())
    }

    /// What tells forms apart.
    fn key(self) -> FormKey {
        (self.scope().map(Scope::name), self.arm(), self.count())
    }

    fn count(self) -> usize {
        self.removed.map_or(0, |(_, _, count)| count)
    }
}

/// All forms of a scope at the paper's k and the study's own, as far as there are any: arm by arm, ascending.
fn forms_of(plan: &ScopePlan, request: &Request) -> Vec<Form> {
    let ks = PAPER_KS.into_iter().chain([request.k]).filter(|&k| k <= request.max_k);
    let at = |k: f64| usize::try_from(count_of(plan.parameters, k)).unwrap_or(usize::MAX).max(1);
    let counts = ascending(ks.map(at));
    let form = |arm: usize| counts.iter().map(move |&count| Form { removed: Some((plan.scope, arm, count)) });
    (0..ARMS.len()).flat_map(form).collect()
}

/// The original, and all forms of every scope.
fn forms(plans: &[ScopePlan], request: &Request) -> Vec<Form> {
    let ablated = plans.iter().flat_map(|plan| forms_of(plan, request));
    std::iter::once(Form::ORIGINAL).chain(ablated).collect()
}

/// Opens what was written so far.
pub(super) fn open(
    path: &Path,
    request: &Request,
    plans: &[ScopePlan],
    sets: &[PromptSet],
) -> anyhow::Result<CompletionLog> {
    CompletionLog::open(path, &forms(plans, request), sets)
}

/// Prompts of every language, if completions are asked for and there can be any.
pub(super) fn prompts(
    subject: &Subject,
    request: &Request,
    names: &[String],
) -> anyhow::Result<Option<Vec<PromptSet>>> {
    let Some(settings) = request.completions else { return Ok(None) };
    let context = subject.config.max_position_embeddings;
    let room = context.saturating_sub(settings.tokens).min(prompts::MAX_TOKENS);
    anyhow::ensure!(
        room >= prompts::MIN_ROOM,
        "--completion-tokens {} leaves {room} of the context's {context} tokens for prompts, expected {} or more; take \
         fewer, or --completions 0",
        settings.tokens,
        prompts::MIN_ROOM
    );
    let Some(tokenizer) = &subject.tokenizer else {
        output::note("The model has no tokenizer.json, so it completes nothing");
        return Ok(None);
    };
    let sets = names
        .iter()
        .map(|name| {
            let documents = subject.held_out.read(name)?;
            let prose = *name == request.general;
            PromptSet::new(name, prose, &documents, tokenizer, settings.prompts, room)
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    if sets.iter().all(|set| set.prompts.is_empty()) {
        output::note("No held-out document has a beginning to complete");
        return Ok(None);
    }
    Ok(Some(sets))
}

/// Writes what is missing of the completions. The model is left as it was.
pub(super) fn complete(
    subject: &mut Subject,
    request: &Request,
    settings: CompletionSettings,
    runs: &Runs,
    plans: &[ScopePlan],
    sets: &[PromptSet],
    log: &mut CompletionLog,
) -> anyhow::Result<()> {
    let missing = |log: &CompletionLog, form: Form| -> Vec<(usize, usize)> {
        let places = (0..sets.len()).flat_map(|set| (0..sets[set].prompts.len()).map(move |p| (set, p)));
        places.filter(|&(set, prompt)| log.get(form, set, prompt).is_none()).collect()
    };
    let total: usize = forms(plans, request).into_iter().map(|form| missing(log, form).len()).sum();
    if total == 0 {
        return Ok(());
    }
    let tokenizer = subject.tokenizer.as_ref().context("prompts came from a tokenizer")?;
    let mut writer =
        Writer { tokenizer, settings, sets, progress: Progress::new("Completing", total as u64), done: 0 };
    let wanted = missing(log, Form::ORIGINAL);
    writer.write(&subject.loaded.model, Form::ORIGINAL, 0.0, &wanted, log)?;
    for plan in plans {
        let rankings = runs.rankings(request, plan.scope);
        for (arm, ranking) in ARMS.iter().enumerate() {
            let of_arm: Vec<Form> = forms_of(plan, request)
                .into_iter()
                .filter(|form| form.removed.is_some_and(|(_, of, _)| of == arm))
                .filter(|&form| !missing(log, form).is_empty())
                .collect();
            let Some(most) = of_arm.iter().map(|form| form.count()).max() else { continue };
            let spot = rankings.of(ranking, &subject.loaded.model)?;
            super::check_long_enough(spot.len(), most, ranking)?;
            let mut ablation = pollster::block_on(Ablation::with_replacement(
                &subject.loaded.model,
                &subject.loaded.fingerprint,
                spot,
                Replacement::Zero,
            ))?;
            for form in of_arm {
                writer.progress.rename(&format!("Completing, {}", plan.name(ranking)));
                ablation.set(&mut subject.loaded.model, form.count());
                let k = 100.0 * form.count() as f64 / plan.parameters as f64;
                let wanted = missing(log, form);
                let written = writer.write(&subject.loaded.model, form, k, &wanted, log);
                if written.is_err() {
                    ablation.set(&mut subject.loaded.model, 0);
                }
                written?;
            }
            ablation.set(&mut subject.loaded.model, 0);
        }
    }
    writer.progress.finish();
    Ok(())
}

/// What takes part in writing.
struct Writer<'a> {
    tokenizer: &'a Tokenizer,
    settings: CompletionSettings,
    sets: &'a [PromptSet],
    progress: Progress,
    done: u64,
}

impl Writer<'_> {
    /// Completes the prompts at `wanted` (set and prompt), the likeliest token each time.
    fn write(
        &mut self,
        model: &Llama,
        form: Form,
        k: f64,
        wanted: &[(usize, usize)],
        log: &mut CompletionLog,
    ) -> anyhow::Result<()> {
        if wanted.is_empty() {
            return Ok(());
        }
        let job = |&(set, prompt): &(usize, usize)| GenerationJob {
            prompt: self.sets[set].prompts[prompt].ids.clone(),
            max_tokens: self.settings.tokens,
            stop: Vec::new(),
            decoding: Decoding::AfterPrompt,
            seed: 0,
        };
        let jobs: Vec<GenerationJob> = wanted.iter().map(job).collect();
        let mut failed = None;
        let (sets, progress, done) = (self.sets, &mut self.progress, &mut self.done);
        let generated = generate_batch(
            model,
            Some(self.tokenizer),
            &jobs,
            BatchOptions::default(),
            async |job, completion| {
                let (set, prompt) = wanted[job];
                let pushed = judge(&sets[set], &sets[set].prompts[prompt], completion)
                    .and_then(|written| log.push(sets, form, k, (set, prompt), written));
                if let Err(error) = pushed {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
                *done += 1;
                progress.set(*done);
                ControlFlow::Continue(())
            },
        );
        pollster::block_on(generated)?;
        failed.map_or(Ok(()), Err)?;
        log.sync()
    }
}

/// A completion, and whether it parses, in a language whose grammar there is.
fn judge(set: &PromptSet, prompt: &Prompt, completion: Completion) -> anyhow::Result<Written> {
    let finished = completion.end_reason == EndReason::Eos;
    let outcome = set
        .grammar
        .map(|language| check(language, &prompt.text, &completion.text, finished))
        .transpose()
        .with_context(|| format!("document {} of {}", prompt.document, set.name))?;
    let (outcome, error_byte) = match outcome {
        None => (None, None),
        Some(Outcome::Parses) => (Some(CompletionOutcome::Parses), None),
        Some(Outcome::SyntaxError { byte }) => (Some(CompletionOutcome::SyntaxError), Some(byte)),
        Some(Outcome::Blank) => (Some(CompletionOutcome::Blank), None),
    };
    let tokens = completion.ids.len() as u64;
    Ok(Written { completion: completion.text, tokens, finished, outcome, error_byte })
}
