//! From completions to shares.

use super::{CompletionLog, Form, PromptSet, forms};
use crate::study::findings::{
    CompletionFindings, CompletionLanguage, CompletionOutcome, CompletionSample, CompletionSettings,
    Estimate, FormFinding, SampleText, ShareFinding,
};
use crate::study::losses::LEVEL;
use crate::study::{Request, ScopePlan, role};
use anyhow::Context as _;
use codingspot_stats::proportion::{Paired, wilson};

/// Samples of every language: its first prompts.
const SAMPLES: usize = 5;

/// Completions of some prompts, counted.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    parsing: u32,
    blank: u32,
    /// The original's, then the form's.
    paired: Paired,
}

impl Tally {
    fn add(&mut self, original: CompletionOutcome, form: CompletionOutcome) {
        self.parsing += u32::from(form == CompletionOutcome::Parses);
        self.blank += u32::from(form == CompletionOutcome::Blank);
        self.paired.add(form == CompletionOutcome::Parses, original == CompletionOutcome::Parses);
    }

    fn plus(self, other: Self) -> Self {
        let (one, two) = (self.paired, other.paired);
        Self {
            parsing: self.parsing + other.parsing,
            blank: self.blank + other.blank,
            paired: Paired {
                both: one.both + two.both,
                first: one.first + two.first,
                second: one.second + two.second,
                neither: one.neither + two.neither,
            },
        }
    }

    /// Shares with their intervals; `None` of no prompts.
    fn finding(self, form: Form) -> anyhow::Result<Option<ShareFinding>> {
        let Paired { both, first, second, neither } = self.paired;
        let prompts = both + first + second + neither;
        if prompts == 0 {
            return Ok(None);
        }
        let share = |successes: u32| -> anyhow::Result<Estimate> {
            let interval = wilson(successes, prompts, LEVEL)?;
            let value = f64::from(successes) / f64::from(prompts);
            Ok(Estimate { value, low: interval.low, high: interval.high })
        };
        let difference = if form == Form::ORIGINAL {
            None
        } else {
            let (value, interval) = self.paired.difference(LEVEL)?;
            Some(Estimate { value, low: interval.low, high: interval.high })
        };
        let (parsing, blank) = (share(self.parsing)?, share(self.blank)?);
        Ok(Some(ShareFinding { prompts: u64::from(prompts), parsing, blank, difference }))
    }
}

/// What the completions say.
pub(in crate::study) fn findings(
    request: &Request,
    settings: CompletionSettings,
    plans: &[ScopePlan],
    sets: &[PromptSet],
    log: &CompletionLog,
) -> anyhow::Result<CompletionFindings> {
    let languages = sets.iter().map(|set| CompletionLanguage {
        name: set.name.clone(),
        role: role(request, &set.name),
        parsed: set.grammar.is_some(),
        prompts: set.prompts.len(),
        passed_over: set.passed_over,
    });
    let parameters = |form: Form| {
        let plan = plans.iter().find(|plan| Some(plan.scope) == form.scope());
        plan.map_or(1, |plan| plan.parameters.max(1))
    };
    let form_finding = |form: Form| -> anyhow::Result<FormFinding> {
        let tallies = sets.iter().enumerate().map(|(set, _)| tally(log, sets, form, set));
        let tallies = tallies.collect::<anyhow::Result<Vec<Tally>>>()?;
        let scored = sets.iter().zip(&tallies).filter(|(set, _)| request.languages.contains(&set.name));
        let code = scored.fold(Tally::default(), |sum, (_, tally)| sum.plus(*tally));
        Ok(FormFinding {
            scope: form.scope(),
            arm: form.arm(),
            k: 100.0 * form.count() as f64 / parameters(form) as f64,
            count: form.count() as u64,
            code: code.finding(form)?,
            languages: tallies.into_iter().map(|tally| tally.finding(form)).collect::<anyhow::Result<_>>()?,
        })
    };
    // The original, and the spot of every scope at the study's own k.
    let shown: Vec<Form> = std::iter::once(Form::ORIGINAL)
        .chain(plans.iter().map(|plan| Form { removed: Some((plan.scope, 0, plan.count)) }))
        .collect();
    let samples = sets.iter().enumerate().flat_map(|(set, prompts)| {
        let first = prompts.prompts.iter().enumerate().take(SAMPLES);
        first.map(move |(place, prompt)| (set, place, prompt))
    });
    let samples = samples
        .map(|(set, place, prompt)| {
            let text = |&form: &Form| -> anyhow::Result<SampleText> {
                let written = log.get(form, set, place).context("a completion is missing")?;
                Ok(SampleText {
                    scope: form.scope(),
                    arm: form.arm(),
                    completion: written.completion.clone(),
                    finished: written.finished,
                    outcome: written.outcome,
                })
            };
            Ok(CompletionSample {
                language: sets[set].name.clone(),
                document: prompt.document,
                prompt: prompt.text.clone(),
                texts: shown.iter().map(text).collect::<anyhow::Result<_>>()?,
            })
        })
        .collect::<anyhow::Result<_>>()?;
    Ok(CompletionFindings {
        settings,
        languages: languages.collect(),
        forms: forms(plans, request).into_iter().map(form_finding).collect::<anyhow::Result<_>>()?,
        samples,
    })
}

/// The completions of a form in one language; none of a language without a grammar.
fn tally(log: &CompletionLog, sets: &[PromptSet], form: Form, set: usize) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    if sets[set].grammar.is_none() {
        return Ok(tally);
    }
    for prompt in 0..sets[set].prompts.len() {
        let outcome = |form: Form| log.get(form, set, prompt).and_then(|written| written.outcome);
        let both = outcome(Form::ORIGINAL).zip(outcome(form));
        let (original, ablated) =
            both.with_context(|| format!("a completion of {} is missing or was not judged", sets[set].name))?;
        tally.add(original, ablated);
    }
    Ok(tally)
}
