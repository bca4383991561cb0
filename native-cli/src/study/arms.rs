//! The rankings that a study ablates: the spot, and what it is compared with.

use crate::run::{Choice, Run};
use codingspot_core::llama::Llama;
use codingspot_core::spot::{
    Operand, Scope, Spot, count_of, difference, magnitude, matched_magnitude, matched_random,
    parameters_in_scope,
};
use std::cell::OnceCell;

/// A ranking of parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Arm {
    /// By the sum over the languages.
    Spot,
    /// As many random parameters of the same tensors, by seed.
    Random(u64),
    /// The largest weights of the scope.
    Magnitude,
    /// The largest weights of the same tensors, as many.
    MagnitudeMatched,
    /// By the general language.
    General,
    /// The spot's, without the highest of the general language.
    MinusGeneral,
    /// By one language.
    Language(String),
    /// By the sum over the languages but one.
    Without(String),
}

impl Arm {
    /// As in keys and findings.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Spot => "spot".to_owned(),
            Self::Random(seed) => format!("random:{seed}"),
            Self::Magnitude => "magnitude".to_owned(),
            Self::MagnitudeMatched => "magnitude-matched".to_owned(),
            Self::General => "general".to_owned(),
            Self::MinusGeneral => "minus-general".to_owned(),
            Self::Language(language) => format!("language:{language}"),
            Self::Without(language) => format!("without:{language}"),
        }
    }
}

/// Where the rankings of one scope come from.
#[derive(Debug)]
pub(crate) struct Rankings<'a> {
    /// Of the languages whose spot it is.
    pub(crate) code: &'a Run,
    /// Of the general language.
    pub(crate) general: &'a Run,
    /// Of languages that are neither, if there are any.
    pub(crate) others: Option<&'a Run>,
    pub(crate) scope: Scope,
    /// Largest share, percent.
    pub(crate) max_k: f64,
    /// Share of the general ranking that is left out, percent.
    pub(crate) minus_k: f64,
    /// Share of rankings that are measured at one k, percent.
    pub(crate) k: f64,
    /// The spot, once it was selected: most controls are matched to it.
    pub(crate) spot: OnceCell<Spot>,
}

impl Rankings<'_> {
    /// The ranking of an arm. `model` must not be ablated.
    pub(crate) fn of(&self, arm: &Arm, model: &Llama) -> anyhow::Result<Spot> {
        let choice = |k: f64| Choice::global(self.scope, k);
        Ok(match arm {
            Arm::Spot => self.spot()?.clone(),
            Arm::Random(seed) => matched_random(self.spot()?, *seed),
            Arm::Magnitude => pollster::block_on(magnitude(model, self.spot()?))?,
            Arm::MagnitudeMatched => pollster::block_on(matched_magnitude(model, self.spot()?))?,
            Arm::General => self.general.select(choice(self.max_k), None)?,
            Arm::MinusGeneral => {
                // Enough of the one that as much as the spot has is left, to the parameter.
                let parameters = parameters_in_scope(&self.code.layout, self.scope);
                let enough = count_of(parameters, self.max_k) + count_of(parameters, self.minus_k);
                let enough = 100.0 * enough as f64 / parameters.max(1) as f64;
                let code = self.code.select(choice(enough.min(100.0)), None)?;
                let general = self.general.select(choice(self.minus_k), None)?;
                let left = Operand { name: "code", spot: &code, count: code.len() };
                difference(left, &[Operand { name: "general", spot: &general, count: general.len() }])?
            }
            Arm::Language(language) => self.language(language)?,
            Arm::Without(language) => {
                let rest = self.code.languages_without(std::slice::from_ref(language))?;
                self.code.select(choice(self.k), Some(&rest))?
            }
        })
    }

    fn spot(&self) -> anyhow::Result<&Spot> {
        if let Some(spot) = self.spot.get() {
            return Ok(spot);
        }
        let spot = self.code.select(Choice::global(self.scope, self.max_k), None)?;
        Ok(self.spot.get_or_init(|| spot))
    }

    /// The ranking of one language, up to the k of single measurements.
    pub(crate) fn language(&self, language: &str) -> anyhow::Result<Spot> {
        let choice = Choice::global(self.scope, self.k);
        for run in [Some(self.code), Some(self.general), self.others].into_iter().flatten() {
            if run.languages().iter().any(|known| known == language) {
                return run.select_language(language, choice);
            }
        }
        anyhow::bail!("{language} was not scored")
    }
}
