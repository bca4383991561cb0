//! A study: the spot of a model beside everything that it has to be compared with.
//!
//! Stages, each of which finds what an interrupted one left: scorings (`runs/`), losses of every
//! ablated form (`points.jsonl`), first-order predictions (`first_order.json`), completions
//! (`completions.jsonl`); then the findings (`study.json`), which are computed from these.

mod analysis;
mod arms;
mod completions;
mod findings;
mod first_order;
mod languages;
mod location;
mod losses;
mod points;
mod subject;

pub(crate) use findings::*;
pub(crate) use location::at as locate;
pub(crate) use subject::Subject;

use crate::atomic::TEMPORARY;
use crate::corpus::Sample;
use crate::measure::Subset;
use crate::output;
use crate::results::versions;
use crate::run::{Run, TOP_PERCENT};
use crate::scoring::Shard;
use analysis::Analysis;
use anyhow::Context as _;
use arms::{Arm, Rankings};
use codingspot_core::ablate::Replacement;
use codingspot_core::spot::{Scope, Spot, count_of, parameters_in_scope};
use points::{Curve, Measurer, PointLog};
use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::time::Instant;

/// Shares of the paper's tables, percent.
pub(crate) const PAPER_KS: [f64; 4] = [0.0025, 0.01, 0.09, 0.25];
/// What was asked for, in the directory of a study.
const SETTINGS: &str = "settings.json";
/// The findings.
pub(crate) const FINDINGS: &str = "study.json";
/// Language scores that are kept for a study, bytes: without them no language can be left out.
const MOST_KEPT: u64 = 16 << 30;
/// Replacements that are measured beside zero.
const REPLACEMENTS: [Replacement; 7] = [
    Replacement::Zero,
    Replacement::Mean,
    Replacement::Shuffle { seed: 0 },
    Replacement::Flip,
    Replacement::Scale { factor: 0.5 },
    Replacement::Scale { factor: 1.5 },
    Replacement::Scale { factor: 2.0 },
];

/// What a study is asked for, beside its subject.
#[derive(Debug)]
pub(crate) struct Request {
    /// `None`: those of the ten that are there.
    pub(crate) languages: Vec<String>,
    pub(crate) general: String,
    pub(crate) scopes: Vec<Scope>,
    pub(crate) max_k: f64,
    pub(crate) k: f64,
    pub(crate) minus_k: f64,
    pub(crate) points: usize,
    pub(crate) random_draws: u64,
    pub(crate) shuffles: u64,
    pub(crate) batch_size: usize,
    pub(crate) seq_len: usize,
    pub(crate) limit: Option<usize>,
    pub(crate) resamples: usize,
    /// `None`: nothing is completed.
    pub(crate) completions: Option<CompletionSettings>,
}

/// Runs a study into `out`, or what is left of it.
pub(crate) fn run(subject: &mut Subject, request: &Request, out: &Path) -> anyhow::Result<Study> {
    let started = Instant::now();
    let names = subset_names(subject, request)?;
    check_shares(subject, request, names.len())?;
    let subsets = subject.subsets(&names, request.seq_len, request.limit)?;
    if let Some(subset) = subsets.iter().find(|subset| subset.rows.len() < 2) {
        anyhow::bail!(
            "{} has one held-out document to measure; intervals need two or more of every language",
            subset.name
        );
    }
    let prompts = completions::prompts(subject, request, &names)?;
    let settings = settings(subject, request, &names)?;
    begin(out, &settings)?;

    let runs = score(subject, request, &names, &out.join("runs"))?;
    let sizes: Vec<usize> = subsets.iter().map(|subset| subset.rows.len()).collect();
    let log = PointLog::open(&out.join("points.jsonl"), &sizes)?;
    let plans: Vec<ScopePlan> =
        request.scopes.iter().map(|&scope| ScopePlan::new(subject, request, &runs, &names, scope)).collect();
    let log = measure(subject, request, &runs, &plans, &subsets, log)?;
    let predictions = predict(subject, request, &runs, &plans, &subsets, out)?;
    let completions = complete(subject, request, &runs, &plans, prompts.as_deref(), out)?;

    let analysis = Analysis::new(subject, request, &runs, &subsets, &log, &predictions)?;
    let study = Study {
        format: FORMAT,
        model: subject.record.clone(),
        settings,
        subsets: analysis.subsets()?,
        scopes: plans.iter().map(|plan| analysis.scope(plan)).collect::<anyhow::Result<_>>()?,
        completions,
        seconds: started.elapsed().as_secs_f64(),
        versions: versions(),
    };
    crate::atomic::write_file(&out.join(FINDINGS), &serde_json::to_vec(&study)?)?;
    Ok(study)
}

/// Held-out languages: the scored ones, then what is neither, then the general one.
fn subset_names(subject: &Subject, request: &Request) -> anyhow::Result<Vec<String>> {
    let (scoring, held_out) = (subject.scoring.languages(), subject.held_out.languages());
    for (texts, known) in [("to score on", &scoring), ("held out", &held_out)] {
        for language in request.languages.iter().chain([&request.general]) {
            anyhow::ensure!(
                known.contains(language),
                "the texts {texts} have no {language}; they have {}. Choose with --languages and --general",
                known.join(", ")
            );
        }
    }
    anyhow::ensure!(
        request.languages.len() > 1 && !request.languages.contains(&request.general),
        "a study needs two languages or more, and a general one that is not among them; found {} and {}",
        request.languages.join(", "),
        request.general
    );
    let mut names = request.languages.clone();
    names.extend(
        scoring
            .iter()
            .filter(|name| {
                held_out.contains(name) && !request.languages.contains(name) && **name != request.general
            })
            .cloned(),
    );
    names.push(request.general.clone());
    Ok(names)
}

/// Checks the shares before anything is scored: each has to be a parameter at least, and what is ranked
/// by language has to be what scoring keeps.
fn check_shares(subject: &Subject, request: &Request, languages: usize) -> anyhow::Result<()> {
    for &scope in &request.scopes {
        let parameters = parameters_in_scope(subject.loaded.model.layout(), scope);
        for (name, k) in [("--max-k", request.max_k), ("--k", request.k)] {
            anyhow::ensure!(
                count_of(parameters, k) > 0,
                "{name} {k} % of the {} parameters of scope {} is less than one; take a larger one",
                output::grouped(parameters),
                scope.name()
            );
        }
    }
    anyhow::ensure!(
        keeps_scores(subject, languages) || request.k < TOP_PERCENT,
        "--k {} % is more than scoring keeps of every language of a model of {} parameters; take less than \
         {TOP_PERCENT} %",
        request.k,
        output::grouped(subject.record.parameters)
    );
    Ok(())
}

/// Bytes that the scores of `languages` languages take.
fn kept_bytes(subject: &Subject, languages: usize) -> u64 {
    4 * subject.record.parameters * languages as u64
}

fn keeps_scores(subject: &Subject, languages: usize) -> bool {
    kept_bytes(subject, languages) <= MOST_KEPT
}

fn settings(subject: &Subject, request: &Request, names: &[String]) -> anyhow::Result<StudySettings> {
    let mut hasher = blake3::Hasher::new();
    for name in names {
        for (role, texts) in [("scoring", &subject.scoring), ("held-out", &subject.held_out)] {
            for document in texts.read(name)? {
                hasher.update(format!("{role} {name} {document:?}\n").as_bytes());
            }
        }
    }
    Ok(StudySettings {
        fingerprint: subject.record.fingerprint.to_string(),
        languages: request.languages.clone(),
        general: request.general.clone(),
        scopes: request.scopes.clone(),
        max_k: request.max_k,
        k: request.k,
        minus_k: request.minus_k,
        points: request.points,
        random_draws: request.random_draws,
        shuffles: request.shuffles,
        batch_size: request.batch_size,
        seq_len: request.seq_len,
        limit: request.limit,
        resamples: request.resamples,
        device: subject.device.name.clone(),
        texts: hasher.finalize().to_hex()[..16].to_owned(),
        completions: request.completions,
    })
}

/// Creates the directory, or checks that what is in it was begun alike. A study that completed nothing may go on to.
fn begin(out: &Path, settings: &StudySettings) -> anyhow::Result<()> {
    let path = out.join(SETTINGS);
    if path.is_file() {
        let text = crate::model::read_text(&path, 1 << 24)?;
        let begun: StudySettings =
            serde_json::from_str(&text).with_context(|| format!("{} was refused", path.display()))?;
        let adds = begun.completions.is_none() && settings.completions.is_some();
        let begun = StudySettings { completions: begun.completions.or(settings.completions), ..begun };
        let (was, is) = (serde_json::to_value(&begun)?, serde_json::to_value(settings)?);
        let differing: Vec<String> = was
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, value)| is.get(name.as_str()) != Some(value))
            .map(|(name, value)| format!("{name} was {value} and is {}", is[name.as_str()]))
            .collect();
        anyhow::ensure!(
            differing.is_empty(),
            "{} holds a study of other settings: {}; give another directory, or the same settings to go on",
            out.display(),
            differing.join("; ")
        );
        output::note(&format!("Going on with the study in {}", out.display()));
        return if adds {
            crate::atomic::write_file(&path, &serde_json::to_vec_pretty(settings)?)
        } else {
            Ok(())
        };
    }
    // Settings that a kill left under their temporary name are nothing yet.
    let unfinished = |entry: std::io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with(TEMPORARY))
    };
    let empty = !out.exists() || fs::read_dir(out).is_ok_and(|mut entries| entries.all(unfinished));
    anyhow::ensure!(empty, "{} exists and is no study; give another directory", out.display());
    fs::create_dir_all(out).with_context(|| format!("{} can't be created", out.display()))?;
    crate::atomic::write_file(&path, &serde_json::to_vec_pretty(settings)?)
}

/// The scorings of a study.
struct Runs {
    code: Run,
    general: Run,
    others: Option<Run>,
    /// By shuffle, the two halves.
    halves: Vec<[Run; 2]>,
}

fn score(subject: &Subject, request: &Request, names: &[String], path: &Path) -> anyhow::Result<Runs> {
    let mut settings = subject.settings(request.batch_size, request.seq_len);
    settings.keep_language_scores = keeps_scores(subject, names.len());
    if !settings.keep_language_scores {
        output::note(&format!(
            "The languages' scores would take {}; they are not kept, and no language is left out in turn",
            output::bytes(kept_bytes(subject, names.len()))
        ));
    }
    let code = subject.score(&path.join("code"), &request.languages, &settings)?;
    let general = subject.score(&path.join("general"), std::slice::from_ref(&request.general), &settings)?;
    let rest: Vec<String> = names
        .iter()
        .filter(|name| !request.languages.contains(name) && **name != request.general)
        .cloned()
        .collect();
    let others =
        (!rest.is_empty()).then(|| subject.score(&path.join("others"), &rest, &settings)).transpose()?;
    settings.keep_language_scores = false;
    let mut halves = Vec::new();
    for seed in 1..=request.shuffles {
        let mut half = |index: usize| {
            settings.sample = Sample { shuffle: Some(seed), part: Some(Shard { index, count: 2 }) };
            subject.score(&path.join(format!("half-{seed}-{index}")), &request.languages, &settings)
        };
        halves.push([half(1)?, half(2)?]);
    }
    Ok(Runs { code, general, others, halves })
}

impl Runs {
    fn rankings(&self, request: &Request, scope: Scope) -> Rankings<'_> {
        Rankings {
            code: &self.code,
            general: &self.general,
            others: self.others.as_ref(),
            scope,
            max_k: request.max_k,
            minus_k: request.minus_k,
            k: request.k,
            spot: std::cell::OnceCell::new(),
        }
    }
}

/// What is measured in one scope.
struct ScopePlan {
    scope: Scope,
    parameters: u64,
    /// Parameters that the points of a dose-response curve remove, ascending.
    doses: Vec<usize>,
    /// Parameters of single measurements.
    count: usize,
    dose_arms: Vec<Arm>,
    language_arms: Vec<Arm>,
    without_arms: Vec<Arm>,
    replacement_arms: Vec<Arm>,
    /// Parameters that are given back.
    restored: Vec<usize>,
}

impl ScopePlan {
    fn new(subject: &Subject, request: &Request, runs: &Runs, names: &[String], scope: Scope) -> Self {
        let parameters = parameters_in_scope(subject.loaded.model.layout(), scope);
        let at = |k: f64| usize::try_from(count_of(parameters, k)).unwrap_or(usize::MAX).max(1);
        let largest = at(request.max_k);
        let paper = PAPER_KS.iter().copied().filter(|&k| k <= request.max_k).map(at);
        let doses = ascending(log_grid(1, largest, request.points).into_iter().chain(paper));
        let count = at(request.k).min(largest);
        let mut dose_arms = vec![Arm::Spot];
        dose_arms.extend((1..=request.random_draws).map(Arm::Random));
        dose_arms.extend([Arm::Magnitude, Arm::MagnitudeMatched, Arm::General, Arm::MinusGeneral]);
        let leave_out = runs.code.keeps_language_scores();
        Self {
            scope,
            parameters,
            doses,
            count,
            dose_arms,
            language_arms: names.iter().cloned().map(Arm::Language).collect(),
            without_arms: if leave_out {
                request.languages.iter().cloned().map(Arm::Without).collect()
            } else {
                Vec::new()
            },
            replacement_arms: vec![Arm::Spot, Arm::Random(1)],
            restored: ascending(log_grid(1, count, 8)).into_iter().filter(|&m| m < count).collect(),
        }
    }

    fn name(&self, arm: &Arm) -> String {
        format!("{} {}", self.scope.name(), arm.name())
    }

    fn dose_curve(&self, arm: &Arm) -> Curve {
        let ranges = self.doses.iter().map(|&count| 0..count).collect();
        Curve { name: self.name(arm), replacement: Replacement::Zero, ranges }
    }

    fn single(&self, arm: &Arm, replacement: Replacement) -> Curve {
        // One range, and not the one number that clippy suspects.
        let ranges: Vec<Range<usize>> = std::iter::once(0..self.count).collect();
        Curve { name: self.name(arm), replacement, ranges }
    }

    fn restore_curve(&self) -> Curve {
        let ranges = self.restored.iter().map(|&restored| restored..self.count).collect();
        Curve { name: self.name(&Arm::Spot), replacement: Replacement::Zero, ranges }
    }

    /// All curves with their arms.
    fn curves(&self) -> Vec<(&Arm, Curve)> {
        let mut curves: Vec<(&Arm, Curve)> =
            self.dose_arms.iter().map(|arm| (arm, self.dose_curve(arm))).collect();
        curves.push((&self.dose_arms[0], self.restore_curve()));
        for arm in &self.replacement_arms {
            curves.extend(REPLACEMENTS.iter().map(|&replacement| (arm, self.single(arm, replacement))));
        }
        let singles = self.language_arms.iter().chain(&self.without_arms);
        curves.extend(singles.map(|arm| (arm, self.single(arm, Replacement::Zero))));
        curves
    }
}

/// Whole numbers from `first` to `last`, `points` of them, evenly on a log scale.
fn log_grid(first: usize, last: usize, points: usize) -> Vec<usize> {
    let (low, high) = ((first as f64).ln(), (last as f64).ln());
    let steps = points.max(2) - 1;
    (0..=steps)
        .map(|step| {
            let value = (low + (high - low) * step as f64 / steps as f64).exp().round();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between two counts")]
            let value = value as usize;
            value.clamp(first, last)
        })
        .collect()
}

fn ascending(values: impl IntoIterator<Item = usize>) -> Vec<usize> {
    let mut values: Vec<usize> = values.into_iter().collect();
    values.sort_unstable();
    values.dedup();
    values
}

fn measure(
    subject: &mut Subject,
    request: &Request,
    runs: &Runs,
    plans: &[ScopePlan],
    subsets: &[Subset],
    log: PointLog,
) -> anyhow::Result<PointLog> {
    let keys = plans.iter().flat_map(|plan| plan.curves()).flat_map(|(_, curve)| {
        let key = |range: &Range<usize>| points::key(&curve.name, curve.replacement, range);
        curve.ranges.iter().map(key).collect::<Vec<_>>()
    });
    let missing: std::collections::BTreeSet<String> =
        keys.chain([points::ORIGINAL.to_owned()]).filter(|key| log.get(key).is_none()).collect();
    let mut measurer =
        Measurer::new(&mut subject.loaded, subsets, 2 * request.batch_size, log, missing.len() as u64);
    measurer.original()?;
    for plan in plans {
        let rankings = runs.rankings(request, plan.scope);
        for (arm, curve) in plan.curves() {
            if measurer.misses(&curve) {
                let spot = rankings.of(arm, &measurer.loaded().model)?;
                let needed = curve.ranges.iter().map(|range| range.end).max().unwrap_or(0);
                check_long_enough(spot.len(), needed, arm)?;
                measurer.measure(&curve, spot)?;
            }
        }
    }
    Ok(measurer.finish())
}

fn check_long_enough(parameters: usize, needed: usize, arm: &Arm) -> anyhow::Result<()> {
    anyhow::ensure!(
        parameters >= needed,
        "{} has {parameters} parameters, {needed} are to be removed; take a smaller --max-k or --minus-k",
        arm.name()
    );
    Ok(())
}

/// Arms whose curves are predicted.
const PREDICTED: [Arm; 4] = [Arm::Spot, Arm::Random(1), Arm::Magnitude, Arm::MinusGeneral];

fn predict(
    subject: &Subject,
    request: &Request,
    runs: &Runs,
    plans: &[ScopePlan],
    subsets: &[Subset],
    out: &Path,
) -> anyhow::Result<BTreeMap<String, first_order::Prediction>> {
    let mut spots: Vec<(String, Spot, Vec<usize>)> = Vec::new();
    for plan in plans {
        let rankings = runs.rankings(request, plan.scope);
        for arm in &PREDICTED {
            spots.push((plan.name(arm), rankings.of(arm, &subject.loaded.model)?, plan.doses.clone()));
        }
    }
    let curves: Vec<first_order::Predicted<'_>> = spots
        .iter()
        .map(|(name, spot, counts)| first_order::Predicted {
            name: name.clone(),
            spot,
            counts: counts.clone(),
        })
        .collect();
    let path = out.join("first_order.json");
    first_order::predict(&subject.loaded, subsets, 2 * request.batch_size, &curves, &path)
}

/// Completes what is missing, and says how much parses.
fn complete(
    subject: &mut Subject,
    request: &Request,
    runs: &Runs,
    plans: &[ScopePlan],
    prompts: Option<&[completions::PromptSet]>,
    out: &Path,
) -> anyhow::Result<Option<CompletionFindings>> {
    let Some((settings, prompts)) = request.completions.zip(prompts) else { return Ok(None) };
    let mut log = completions::open(&out.join("completions.jsonl"), request, plans, prompts)?;
    completions::complete(subject, request, settings, runs, plans, prompts, &mut log)?;
    completions::findings(request, settings, plans, prompts, &log).map(Some)
}

/// What part a language has.
fn role(request: &Request, name: &str) -> Role {
    if request.languages.iter().any(|language| language == name) {
        Role::Scored
    } else if name == request.general {
        Role::General
    } else {
        Role::Unscored
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_begin_and_end_where_they_should() {
        assert_eq!(ascending(log_grid(1, 1, 5)), [1]);
        assert_eq!(ascending(log_grid(1, 1000, 4)), [1, 10, 100, 1000]);
        let grid = ascending(log_grid(1, 270_093, 12));
        assert_eq!((grid[0], grid[grid.len() - 1]), (1, 270_093));
        assert!(grid.len() >= 11 && grid.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
