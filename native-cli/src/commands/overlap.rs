//! `codingspot overlap`.

use crate::args::{OverlapArgs, UsageError};
use crate::output::{self, grouped};
use crate::overlap::{Pair, Ranking, compare, spearman_of_runs};
use crate::run::{Choice, Run, TOP_PERCENT};
use crate::spot;
use codingspot_core::spot::{Scope, SpotHeader};
use serde::Serialize;

/// Shares to compare at unless others are asked for, percent: the paper's and 1.
const KS: [f64; 5] = [0.0025, 0.01, 0.09, 0.25, 1.0];

/// What the command prints as JSON.
#[derive(Debug, Serialize)]
struct Overlap {
    schema_version: u32,
    scope: Scope,
    parameters_in_scope: u64,
    rankings: Vec<String>,
    pairs: Vec<Pair>,
    /// Spearman's ρ of all scores of two runs, in the order of `pairs`; `null` unless both are runs.
    spearman: Vec<Option<f64>>,
}

enum Input {
    Run(Run),
    Spot(Ranking),
}

pub(crate) fn run(args: &OverlapArgs) -> anyhow::Result<()> {
    let inputs = args
        .inputs
        .iter()
        .map(|path| {
            Ok(if path.is_dir() {
                Input::Run(Run::open(path)?)
            } else {
                Input::Spot(Ranking { name: path.display().to_string(), spot: spot::read(path)? })
            })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    // What nobody asked for is left out where a spot ends before it.
    let held = inputs.iter().filter_map(|input| match input {
        Input::Spot(ranking) => Some(ranking.spot.header().max_k),
        Input::Run(_) => None,
    });
    let held = held.fold(100.0, f64::min);
    let mut ks = args.k.clone().unwrap_or_else(|| KS.into_iter().filter(|&k| k <= held).collect());
    ks.retain(|&k| k > 0.0);
    ks.sort_by(f64::total_cmp);
    ks.dedup();
    let Some(&max_k) = ks.last() else {
        return Err(UsageError("--k has no share above 0 that all spots hold".to_owned()).into());
    };
    if !args.across_settings {
        check_settings(&inputs)?;
    }
    let of_spots = inputs.iter().find_map(|input| match input {
        Input::Spot(ranking) => Some(ranking.spot.header().scope),
        Input::Run(_) => None,
    });
    let scope = args.scope.map(Scope::from).or(of_spots).unwrap_or_default();
    for input in &inputs {
        if let Input::Spot(Ranking { name, spot }) = input {
            let found = spot.header().scope;
            anyhow::ensure!(
                args.scope.is_none() || found == scope,
                "{name} has scope {}, not the {} of --scope; select it in that scope",
                found.name(),
                scope.name()
            );
        }
    }
    let found = match inputs.as_slice() {
        [Input::Run(run)] => by_language(run, scope, &ks)?,
        [Input::Spot(ranking)] => anyhow::bail!(
            "{} is a single ranking; give another one, or a run to compare its languages",
            ranking.name
        ),
        _ => pairwise(&inputs, scope, max_k, &ks)?,
    };
    if args.json { output::json(&found) } else { output::result(&text(&found)) }
}

/// Runs and spots of different settings are not compared by accident.
fn check_settings(inputs: &[Input]) -> anyhow::Result<()> {
    let header = |input: &Input| -> Option<(String, SpotHeader)> {
        match input {
            Input::Spot(ranking) if ranking.spot.header().control.is_none() => {
                Some((ranking.name.clone(), ranking.spot.header().clone()))
            }
            _ => None,
        }
    };
    for (index, left) in inputs.iter().enumerate() {
        for right in &inputs[index + 1..] {
            if let (Input::Run(a), Input::Run(b)) = (left, right) {
                a.check_comparable(b)?;
            }
            let estimator = |input: &Input| match input {
                Input::Run(run) => Some((run.name(), run.manifest.settings.estimator)),
                Input::Spot(_) => header(input).map(|(name, header)| (name, header.estimator)),
            };
            if let (Some((a, of_a)), Some((b, of_b))) = (estimator(left), estimator(right)) {
                anyhow::ensure!(
                    of_a == of_b,
                    "the estimator is {} in {a} and {} in {b}; score both alike, or say --across-settings",
                    of_a.name(),
                    of_b.name()
                );
            }
        }
    }
    Ok(())
}

/// The languages of one run, each with each.
fn by_language(run: &Run, scope: Scope, ks: &[f64]) -> anyhow::Result<Overlap> {
    let languages = run.languages();
    anyhow::ensure!(
        languages.len() > 1,
        "{} has only {}; give a second run or spot to compare it with",
        run.name(),
        languages.join(", ")
    );
    let max_k = ks.iter().copied().fold(0.0, f64::max);
    anyhow::ensure!(
        max_k <= TOP_PERCENT || run.keeps_language_scores(),
        "k = {max_k} % is beyond the {TOP_PERCENT} % that {} kept of each language; score with \
         --keep-language-scores, or give a smaller --k",
        run.name()
    );
    let rankings = languages
        .iter()
        .map(|language| {
            let spot = run.select_language(language, Choice::global(scope, max_k))?;
            Ok(Ranking { name: language.clone(), spot })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    overlap_of(&rankings, ks, |_, _| Ok(None))
}

fn pairwise(inputs: &[Input], scope: Scope, max_k: f64, ks: &[f64]) -> anyhow::Result<Overlap> {
    let rankings = inputs
        .iter()
        .map(|input| match input {
            Input::Run(run) => {
                Ok(Ranking { name: run.name(), spot: run.select(Choice::global(scope, max_k), None)? })
            }
            Input::Spot(ranking) => Ok(Ranking { name: ranking.name.clone(), spot: ranking.spot.clone() }),
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    overlap_of(&rankings, ks, |a, b| match (&inputs[a], &inputs[b]) {
        (Input::Run(a), Input::Run(b)) => spearman_of_runs(a, b, scope),
        _ => Ok(None),
    })
}

fn overlap_of(
    rankings: &[Ranking],
    ks: &[f64],
    spearman_of: impl Fn(usize, usize) -> anyhow::Result<Option<f64>>,
) -> anyhow::Result<Overlap> {
    let header = rankings[0].spot.header();
    let mut pairs = Vec::new();
    let mut spearman = Vec::new();
    for (a, left) in rankings.iter().enumerate() {
        for (b, right) in rankings.iter().enumerate().skip(a + 1) {
            pairs.push(compare(left, right, ks)?);
            spearman.push(spearman_of(a, b)?);
        }
    }
    Ok(Overlap {
        schema_version: 1,
        scope: header.scope,
        parameters_in_scope: header.parameters_in_scope,
        rankings: rankings.iter().map(|ranking| ranking.name.clone()).collect(),
        pairs,
        spearman,
    })
}

fn text(found: &Overlap) -> String {
    let mut text = format!(
        "Jaccard index of rankings in scope {} ({} parameters), and what chance gives: two random sets of \
         these sizes,\nand two that also have these numbers in every tensor\n",
        found.scope.name(),
        grouped(found.parameters_in_scope)
    );
    for (pair, spearman) in found.pairs.iter().zip(&found.spearman) {
        text += &format!("\n{} | {}\n", pair.left, pair.right);
        text += &format!(
            "{:>8} {:>12} {:>12} {:>12} {:>9} {:>9} {:>11} {:>9}\n",
            "k, %", "in one", "in other", "in both", "Jaccard", "chance", "by tensor", "ranks"
        );
        for at in &pair.at {
            let alike = &at.alike;
            text += &format!(
                "{:>8} {:>12} {:>12} {:>12} {:>9.4} {:>9.1e} {:>11.1e} {:>9}\n",
                at.k,
                grouped(alike.left),
                grouped(alike.right),
                grouped(alike.common),
                alike.jaccard,
                alike.chance,
                alike.chance_by_tensor,
                at.rank_correlation.map_or("-".to_owned(), |rho| format!("{rho:.3}"))
            );
        }
        if let Some(rho) = spearman {
            text += &format!("Spearman's rank correlation of all scores: {rho:.4}\n");
        }
    }
    text += "\nranks: Spearman's correlation of the ranks of what both have. --json has every layer and module.\n";
    text
}
