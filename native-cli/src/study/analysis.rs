//! From measured losses to findings.

use super::arms::{Arm, Rankings};
use super::findings::*;
use super::first_order::Prediction;
use super::losses::{LEVEL, Losses, estimate};
use super::points::{self, ORIGINAL, PointLog};
use super::{
    PAPER_KS, PREDICTED, REPLACEMENTS, Request, Runs, ScopePlan, Subject, languages, location, role,
};
use crate::measure::Subset;
use crate::overlap::{self, PairAt, Ranking, spearman_of_runs};
use crate::run::Choice;
use anyhow::Context as _;
use codingspot_core::ablate::Replacement;
use codingspot_core::spot::Spot;
use codingspot_stats::agreement::agreement;
use codingspot_stats::bootstrap::{BootstrapSample, by_draw, resample_mean};
use codingspot_stats::knee::{Curve as DoseCurve, interval_over};
use std::collections::BTreeMap;

/// Shares at which rankings are compared, percent: the paper's, 1 and 5, as far as there are any.
const OVERLAP_KS: [f64; 7] = [0.0025, 0.01, 0.09, 0.25, 1.0, 2.5, 5.0];
/// Seed by which random draws are drawn again.
const DRAWS_SEED: u64 = 1;
/// Relative error up to which a first-order prediction counts as holding.
const HOLDS: f64 = 0.2;

/// The mean of the random draws, as an arm.
pub(super) const RANDOM: &str = "random";

/// All that findings are computed from.
pub(super) struct Analysis<'a> {
    subject: &'a Subject,
    request: &'a Request,
    runs: &'a Runs,
    subsets: &'a [Subset],
    losses: Losses<'a>,
    predictions: &'a BTreeMap<String, Prediction>,
    /// Weights of the subsets: scored languages alike, or the general one.
    code: Vec<f64>,
    general: Vec<f64>,
}

/// Rises of one point.
struct Rises {
    code: BootstrapSample,
    general: BootstrapSample,
    gap: BootstrapSample,
}

impl<'a> Analysis<'a> {
    pub(super) fn new(
        subject: &'a Subject,
        request: &'a Request,
        runs: &'a Runs,
        subsets: &'a [Subset],
        log: &'a PointLog,
        predictions: &'a BTreeMap<String, Prediction>,
    ) -> anyhow::Result<Self> {
        let weight = |inside: &dyn Fn(&str) -> bool| -> Vec<f64> {
            subsets.iter().map(|subset| f64::from(u8::from(inside(&subset.name)))).collect()
        };
        Ok(Self {
            subject,
            request,
            runs,
            subsets,
            losses: Losses::new(log, subsets, request.resamples)?,
            predictions,
            code: weight(&|name| request.languages.iter().any(|language| language == name)),
            general: weight(&|name| name == request.general),
        })
    }

    pub(super) fn subsets(&self) -> anyhow::Result<Vec<SubsetFinding>> {
        self.subsets
            .iter()
            .map(|subset| {
                Ok(SubsetFinding {
                    name: subset.name.clone(),
                    role: role(self.request, &subset.name),
                    documents: subset.rows.len(),
                    tokens: subset.rows.iter().map(|row| row.len() as u64 - 1).sum(),
                    loss: estimate(&self.losses.loss(ORIGINAL, &self.only(&subset.name))?),
                })
            })
            .collect()
    }

    fn only(&self, name: &str) -> Vec<f64> {
        self.subsets.iter().map(|subset| f64::from(u8::from(subset.name == name))).collect()
    }

    fn rises(&self, key: &str) -> anyhow::Result<Rises> {
        let (code, general) = (self.losses.rise(key, &self.code)?, self.losses.rise(key, &self.general)?);
        let gap = (&code - &general)?;
        Ok(Rises { code, general, gap })
    }

    pub(super) fn scope(&self, plan: &ScopePlan) -> anyhow::Result<ScopeFindings> {
        let rankings = self.runs.rankings(self.request, plan.scope);
        let layout = self.subject.loaded.model.layout();
        let spot = rankings.of(&Arm::Spot, &self.subject.loaded.model)?;
        let ks: Vec<f64> = OVERLAP_KS.into_iter().filter(|&k| k <= self.request.max_k).collect();
        let others: Vec<String> = self
            .subsets
            .iter()
            .map(|subset| subset.name.clone())
            .filter(|name| !self.request.languages.contains(name))
            .collect();
        let (curves, by_arm) = self.curves(plan, &spot)?;
        Ok(ScopeFindings {
            scope: plan.scope,
            parameters: plan.parameters,
            verdicts: self.verdicts(plan, &by_arm)?,
            knees: self.knees(plan, &by_arm)?,
            predictions: self.predictions(plan, &by_arm, &spot)?,
            curves,
            lowering: self
                .predictions
                .iter()
                .map(|(name, found)| (name.clone(), found.lowering_share(&self.subject.loaded, plan.scope)))
                .collect(),
            location: location::at(&spot, layout, &ks)?,
            concentration: location::concentration(&spot, plan.count, layout),
            residual: location::residual(&spot, plan.count, layout, self.subject.config.hidden_size),
            mass: location::mass(&spot, &self.runs.code, &ks)?,
            languages: languages::compare(
                &rankings,
                &self.request.languages,
                &others,
                &self.request.general,
                &ks,
            )?,
            without: self.without(plan, &rankings, &spot)?,
            unscored: self.unscored(plan, &by_arm[&Arm::Spot.name()])?,
            stability: self.stability(plan, &ks)?,
            general_overlap: self.general_overlap(plan, &spot, &ks)?,
            matrix: self.matrix(plan)?,
            replacements: self.replacements(plan)?,
            restore: self.restore(plan)?,
        })
    }

    /// Curves of all arms, and their samples by arm and dose; the random draws' mean is an arm of its
    /// own.
    fn curves(
        &self,
        plan: &ScopePlan,
        spot: &Spot,
    ) -> anyhow::Result<(Vec<CurveFinding>, BTreeMap<String, Vec<Rises>>)> {
        let mut by_arm: BTreeMap<String, Vec<Rises>> = BTreeMap::new();
        let mut curves = Vec::new();
        for arm in &plan.dose_arms {
            let curve = plan.dose_curve(arm);
            let keys: Vec<String> =
                curve.ranges.iter().map(|range| points::key(&curve.name, curve.replacement, range)).collect();
            let rises = keys.iter().map(|key| self.rises(key)).collect::<anyhow::Result<Vec<_>>>()?;
            let losses =
                keys.iter().map(|key| self.losses.by_subset(key)).collect::<anyhow::Result<Vec<_>>>()?;
            curves.push(self.curve(plan, arm.name(), &rises, losses, spot));
            by_arm.insert(arm.name(), rises);
        }
        let draws: Vec<String> =
            plan.dose_arms.iter().filter(|arm| matches!(arm, Arm::Random(_))).map(Arm::name).collect();
        let mut rises = Vec::new();
        let mut losses = Vec::new();
        for dose in 0..plan.doses.len() {
            let mean = |of: &dyn Fn(&Rises) -> BootstrapSample| -> anyhow::Result<BootstrapSample> {
                let samples: Vec<BootstrapSample> =
                    draws.iter().map(|draw| of(&by_arm[draw][dose])).collect();
                Ok(resample_mean(&samples, DRAWS_SEED)?)
            };
            rises.push(Rises {
                code: mean(&|rises| rises.code.clone())?,
                general: mean(&|rises| rises.general.clone())?,
                gap: mean(&|rises| rises.gap.clone())?,
            });
            let of_draws = curves.iter().filter(|curve| draws.contains(&curve.arm));
            let of_draws: Vec<&Vec<Option<f64>>> =
                of_draws.map(|curve: &CurveFinding| &curve.points[dose].losses).collect();
            losses.push(
                (0..self.subsets.len())
                    .map(|subset| {
                        let known: Option<Vec<f64>> = of_draws.iter().map(|losses| losses[subset]).collect();
                        known.map(|known| known.iter().sum::<f64>() / known.len() as f64)
                    })
                    .collect(),
            );
        }
        curves.push(self.curve(plan, RANDOM.to_owned(), &rises, losses, spot));
        by_arm.insert(RANDOM.to_owned(), rises);
        Ok((curves, by_arm))
    }

    fn curve(
        &self,
        plan: &ScopePlan,
        arm: String,
        rises: &[Rises],
        losses: Vec<Vec<Option<f64>>>,
        spot: &Spot,
    ) -> CurveFinding {
        let tensors = self.subject.loaded.model.layout().tensors();
        let is_spot = arm == Arm::Spot.name();
        let mut norms = 0;
        let mut next = 0;
        let points = plan
            .doses
            .iter()
            .zip(rises)
            .zip(losses)
            .map(|((&count, rises), losses)| {
                if is_spot {
                    let more = spot.tensor()[next..count].iter();
                    norms += more.filter(|&&t| tensors[usize::from(t)].module.is_norm()).count() as u64;
                    next = count;
                }
                CurvePoint {
                    count: count as u64,
                    k: 100.0 * count as f64 / plan.parameters as f64,
                    code: estimate(&rises.code),
                    general: estimate(&rises.general),
                    gap: estimate(&rises.gap),
                    losses,
                    norms,
                }
            })
            .collect();
        CurveFinding { arm, points }
    }

    /// The paper's k that were measured: percent, parameters, and which of the doses it is.
    fn paper_doses(&self, plan: &ScopePlan) -> Vec<(f64, u64, usize)> {
        let ks = PAPER_KS.into_iter().filter(|&k| k <= self.request.max_k);
        ks.filter_map(|k| {
            let count = codingspot_core::spot::count_of(plan.parameters, k).max(1);
            let dose = plan.doses.iter().position(|&dose| dose as u64 == count)?;
            Some((k, count, dose))
        })
        .collect()
    }

    /// The spot against every control at the paper's k.
    fn verdicts(
        &self,
        plan: &ScopePlan,
        by_arm: &BTreeMap<String, Vec<Rises>>,
    ) -> anyhow::Result<Vec<Verdict>> {
        let controls =
            [RANDOM.to_owned(), Arm::Magnitude.name(), Arm::MagnitudeMatched.name(), Arm::General.name()];
        let spot = &by_arm[&Arm::Spot.name()];
        let mut verdicts = Vec::new();
        for (k, count, dose) in self.paper_doses(plan) {
            for control in &controls {
                for measure in [Measure::Code, Measure::Gap] {
                    let of = |rises: &Rises| match measure {
                        Measure::Code => rises.code.clone(),
                        Measure::Gap => rises.gap.clone(),
                    };
                    let (one, other) = (of(&spot[dose]), of(&by_arm[control][dose]));
                    let difference = (&one - &other)?;
                    verdicts.push(Verdict {
                        k,
                        count,
                        control: control.clone(),
                        measure,
                        spot: estimate(&one),
                        other: estimate(&other),
                        difference: estimate(&difference),
                    });
                }
            }
        }
        Ok(verdicts)
    }

    /// Whether languages that no score saw fall with those that were scored.
    fn unscored(&self, plan: &ScopePlan, spot: &[Rises]) -> anyhow::Result<Vec<UnscoredFinding>> {
        let names = self.subsets.iter().map(|subset| subset.name.as_str());
        let names: Vec<&str> = names.filter(|name| role(self.request, name) == Role::Unscored).collect();
        let rise = |arm: &Arm, dose: usize, name: &str| {
            let curve = plan.dose_curve(arm);
            let key = points::key(&curve.name, curve.replacement, &curve.ranges[dose]);
            self.losses.rise(&key, &self.only(name))
        };
        let mut found = Vec::new();
        for (k, count, dose) in self.paper_doses(plan) {
            for name in &names {
                let of_spot = rise(&Arm::Spot, dose, name)?;
                let draws = plan.dose_arms.iter().filter(|arm| matches!(arm, Arm::Random(_)));
                let draws = draws.map(|arm| rise(arm, dose, name)).collect::<anyhow::Result<Vec<_>>>()?;
                found.push(UnscoredFinding {
                    language: (*name).to_owned(),
                    k,
                    count,
                    spot: estimate(&of_spot),
                    random: estimate(&resample_mean(&draws, DRAWS_SEED)?),
                    less_code: estimate(&(&of_spot - &spot[dose].code)?),
                });
            }
        }
        Ok(found)
    }

    /// Where the spot's damage to code sets in, is half done, and saturates; and where code has lost most
    /// beyond what the general language has.
    fn knees(
        &self,
        plan: &ScopePlan,
        by_arm: &BTreeMap<String, Vec<Rises>>,
    ) -> anyhow::Result<Vec<KneeFinding>> {
        let rises = &by_arm[&Arm::Spot.name()];
        // An overflow ends the curve.
        let known = rises.iter().take_while(|rises| rises.gap.point().is_some()).count();
        let xs: Vec<f64> = plan.doses[..known].iter().map(|&count| (count as f64).log10()).collect();
        let rises = &rises[..known];
        // What the noise of sampling can do: twice the width of the narrowest interval, which is that of a
        // point that did little.
        let noise_of = |of: &dyn Fn(&Rises) -> BootstrapSample| {
            let widths = rises.iter().filter_map(|rises| estimate(&of(rises))).map(|e| e.high - e.low);
            (2.0 * widths.fold(f64::INFINITY, f64::min)).clamp(0.02, 0.5)
        };
        let noise = noise_of(&|rises| rises.code.clone());
        let gap_noise = noise_of(&|rises| rises.gap.clone());
        type Find<'f> = &'f dyn Fn(&[f64]) -> Option<f64>;
        let bend = |y: &[f64], knee: bool| {
            let curve = DoseCurve::new(&xs, y).ok()?;
            Some(if knee { curve.knee(noise)?.x } else { curve.elbow(noise)?.x })
        };
        let elbow: Find<'_> = &|y| bend(y, false);
        let knee: Find<'_> = &|y| bend(y, true);
        let half: Find<'_> = &|y| DoseCurve::new(&xs, y).ok()?.effect_dose(0.5, noise);
        let peak: Find<'_> = &|y| {
            let (best, gap) = y.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1))?;
            (*gap > gap_noise).then(|| xs[best])
        };
        let of_code = |rises: &Rises| rises.code.clone();
        let of_gap = |rises: &Rises| rises.gap.clone();
        let kinds: [(&str, fn(&Rises) -> BootstrapSample, Find<'_>); 4] = [
            ("elbow", of_code, elbow),
            ("half", of_code, half),
            ("knee", of_code, knee),
            ("gap", of_gap, peak),
        ];
        kinds
            .into_iter()
            .map(|(kind, of, find)| {
                let samples: Vec<BootstrapSample> = rises.iter().map(of).collect();
                let points: Vec<f64> = samples.iter().filter_map(BootstrapSample::point).collect();
                let value = if points.len() < 3 { None } else { find(&points) };
                let draws = if samples.is_empty() { Vec::new() } else { by_draw(&samples)? };
                let over = interval_over(draws.iter(), LEVEL, |draw: &Vec<f64>| find(draw))?;
                let in_parameters = value.zip(over.interval).map(|(x, interval)| Estimate {
                    value: 10_f64.powf(x),
                    low: 10_f64.powf(interval.low),
                    high: 10_f64.powf(interval.high),
                });
                let percent = 100.0 / plan.parameters as f64;
                Ok(KneeFinding {
                    kind: kind.to_owned(),
                    count: in_parameters,
                    k: in_parameters.map(|count| Estimate {
                        value: count.value * percent,
                        low: count.low * percent,
                        high: count.high * percent,
                    }),
                    found: 1.0 - over.missing,
                })
            })
            .collect()
    }

    fn predictions(
        &self,
        plan: &ScopePlan,
        by_arm: &BTreeMap<String, Vec<Rises>>,
        spot: &Spot,
    ) -> anyhow::Result<Vec<PredictionFinding>> {
        PREDICTED
            .iter()
            .map(|arm| {
                let name = plan.name(arm);
                let of_language = |language: &String| {
                    let found = self.predictions.get(language).and_then(|found| found.rise.get(&name));
                    found.with_context(|| format!("{name} was not predicted on {language}"))
                };
                let by_language =
                    self.request.languages.iter().map(of_language).collect::<anyhow::Result<Vec<_>>>()?;
                let points: Vec<PredictionPoint> = plan
                    .doses
                    .iter()
                    .enumerate()
                    .map(|(dose, &count)| PredictionPoint {
                        count: count as u64,
                        predicted: by_language.iter().map(|rise| rise[dose]).sum::<f64>()
                            / by_language.len() as f64,
                        measured: estimate(&by_arm[&arm.name()][dose].code),
                        scores: (*arm == Arm::Spot)
                            .then(|| spot.score()[..count].iter().map(|&score| f64::from(score)).sum()),
                    })
                    .collect();
                // What can't be told from 0 tells nothing about a prediction.
                let known: Vec<(f64, f64, f64)> = points
                    .iter()
                    .filter_map(|point| {
                        let measured = point.measured.filter(|measured| measured.sign() != 0)?;
                        Some((point.count as f64, point.predicted, measured.value))
                    })
                    .collect();
                let column =
                    |of: &dyn Fn(&(f64, f64, f64)) -> f64| known.iter().map(of).collect::<Vec<f64>>();
                let summary = agreement(&column(&|p| p.0), &column(&|p| p.1), &column(&|p| p.2), HOLDS).ok();
                Ok(PredictionFinding {
                    arm: arm.name(),
                    points,
                    holds_up_to: summary.and_then(|summary| summary.within_up_to),
                })
            })
            .collect()
    }

    fn without(
        &self,
        plan: &ScopePlan,
        rankings: &Rankings<'_>,
        spot: &Spot,
    ) -> anyhow::Result<Vec<WithoutFinding>> {
        let model = &self.subject.loaded.model;
        plan.without_arms
            .iter()
            .map(|arm| {
                let Arm::Without(language) = arm else { anyhow::bail!("{} leaves nothing out", arm.name()) };
                let rest = rankings.of(arm, model)?;
                let count = plan.count;
                let only = self.only(language);
                let rise = |arm: &Arm| -> anyhow::Result<Option<Estimate>> {
                    let key = points::key(&plan.name(arm), Replacement::Zero, &(0..count));
                    Ok(estimate(&self.losses.rise(&key, &only)?))
                };
                Ok(WithoutFinding {
                    language: language.clone(),
                    jaccard: overlap::at(spot, count, &rest, count, self.request.k).alike.jaccard,
                    // The whole spot at the same k is a single measurement of its own.
                    whole: rise(&Arm::Spot)?,
                    without: rise(arm)?,
                    own: rise(&Arm::Language(language.clone()))?,
                })
            })
            .collect()
    }

    fn stability(&self, plan: &ScopePlan, ks: &[f64]) -> anyhow::Result<Vec<Stability>> {
        let choice = Choice::global(plan.scope, self.request.max_k);
        let ranking = |run: &crate::run::Run| -> anyhow::Result<Ranking> {
            Ok(Ranking { name: run.name(), spot: run.select(choice, None)? })
        };
        let mut found = Vec::new();
        let mut first: Option<(usize, Ranking)> = None;
        for (index, [one, other]) in self.runs.halves.iter().enumerate() {
            let (left, right) = (ranking(one)?, ranking(other)?);
            found.push(Stability {
                what: format!("two halves of the documents (shuffle {})", index + 1),
                over_k: light(overlap::compare(&left, &right, ks)?.at),
                spearman: spearman_of_runs(one, other, plan.scope)?,
            });
            if let Some((earlier, before)) = &first {
                let run = &self.runs.halves[*earlier][0];
                found.push(Stability {
                    what: format!("halves of two shuffles ({} and {})", earlier + 1, index + 1),
                    over_k: light(overlap::compare(before, &left, ks)?.at),
                    spearman: spearman_of_runs(run, one, plan.scope)?,
                });
            } else {
                first = Some((index, left));
            }
        }
        Ok(found)
    }

    fn general_overlap(&self, plan: &ScopePlan, spot: &Spot, ks: &[f64]) -> anyhow::Result<Vec<PairAt>> {
        let choice = Choice::global(plan.scope, self.request.max_k);
        let general = Ranking { name: "general".to_owned(), spot: self.runs.general.select(choice, None)? };
        let code = Ranking { name: "code".to_owned(), spot: spot.clone() };
        Ok(overlap::compare(&code, &general, ks)?.at)
    }

    fn matrix(&self, plan: &ScopePlan) -> anyhow::Result<MatrixFinding> {
        let cols: Vec<String> = self.subsets.iter().map(|subset| subset.name.clone()).collect();
        let mut rise = Vec::new();
        let mut samples: Vec<Vec<BootstrapSample>> = Vec::new();
        let original = self.losses.by_subset(ORIGINAL)?;
        for arm in &plan.language_arms {
            let key = points::key(&plan.name(arm), Replacement::Zero, &(0..plan.count));
            let losses = self.losses.by_subset(&key)?;
            rise.push(
                losses.iter().zip(&original).map(|(loss, before)| Some((*loss)? - (*before)?)).collect(),
            );
            samples.push(
                self.request
                    .languages
                    .iter()
                    .map(|language| self.losses.rise(&key, &self.only(language)))
                    .collect::<anyhow::Result<Vec<_>>>()?,
            );
        }
        let scored = self.request.languages.len();
        let mut differences = Vec::new();
        for language in 0..scored {
            let own = &samples[language][language];
            let others: Vec<BootstrapSample> = (0..scored)
                .filter(|&row| row != language)
                .map(|row| samples[row][language].clone())
                .collect();
            differences.push((own - &BootstrapSample::mean(&others)?)?);
        }
        Ok(MatrixFinding {
            k: self.request.k,
            count: plan.count as u64,
            rows: cols.clone(),
            cols,
            rise,
            own_less_others: estimate(&BootstrapSample::mean(&differences)?),
        })
    }

    fn replacements(&self, plan: &ScopePlan) -> anyhow::Result<Vec<ReplacementFinding>> {
        let mut found = Vec::new();
        for replacement in REPLACEMENTS {
            for arm in &plan.replacement_arms {
                let rises = self.rises(&points::key(&plan.name(arm), replacement, &(0..plan.count)))?;
                found.push(ReplacementFinding {
                    replacement: replacement.to_string(),
                    arm: arm.name(),
                    k: self.request.k,
                    count: plan.count as u64,
                    code: estimate(&rises.code),
                    general: estimate(&rises.general),
                });
            }
        }
        Ok(found)
    }

    fn restore(&self, plan: &ScopePlan) -> anyhow::Result<Vec<RestorePoint>> {
        let name = plan.name(&Arm::Spot);
        let all = plan.count;
        [0].iter()
            .chain(&plan.restored)
            .chain([&all])
            .map(|&restored| {
                let rises = self.rises(&points::key(&name, Replacement::Zero, &(restored..all)))?;
                Ok(RestorePoint {
                    restored: restored as u64,
                    of: all as u64,
                    code: estimate(&rises.code),
                    general: estimate(&rises.general),
                })
            })
            .collect()
    }
}

/// Without the parts of the model, which would be most of the file.
fn light(at: Vec<PairAt>) -> Vec<PairAt> {
    at.into_iter().map(|at| PairAt { by_module: Vec::new(), by_layer: Vec::new(), ..at }).collect()
}
