//! Is it one spot or ten: the languages' own spots beside each other.

use super::arms::Rankings;
use super::findings::{LanguageFindings, LanguagesAt};
use crate::overlap;
use codingspot_core::spot::{ParameterSet, Spot};

/// Compares the spots of `scored` languages and of `others` (the general one among them) at `rankings.k`
/// and at the `ks` below it.
pub(crate) fn compare(
    rankings: &Rankings<'_>,
    scored: &[String],
    others: &[String],
    general: &str,
    ks: &[f64],
) -> anyhow::Result<LanguageFindings> {
    let names: Vec<String> = scored.iter().chain(others).cloned().collect();
    let spots = names.iter().map(|name| rankings.language(name)).collect::<anyhow::Result<Vec<Spot>>>()?;
    let counts =
        |k: f64| spots.iter().map(|spot| Ok(spot.prefix_len(k)?)).collect::<anyhow::Result<Vec<_>>>();
    let sets: Vec<ParameterSet> = spots.iter().map(|spot| ParameterSet::of(spot, 0..spot.len())).collect();

    let mut jaccard = vec![vec![1.0; names.len()]; names.len()];
    let mut over_k = Vec::new();
    let mut ks: Vec<f64> = ks.iter().copied().filter(|&k| k < rankings.k).collect();
    ks.push(rankings.k);
    for &k in &ks {
        let counts = counts(k)?;
        if counts.contains(&0) {
            continue;
        }
        let (mut code, mut with_general, mut chance, mut by_tensor) = (vec![], vec![], vec![], vec![]);
        for a in 0..names.len() {
            for b in a + 1..names.len() {
                let alike = overlap::at(&spots[a], counts[a], &spots[b], counts[b], k).alike;
                if k.to_bits() == rankings.k.to_bits() {
                    (jaccard[a][b], jaccard[b][a]) = (alike.jaccard, alike.jaccard);
                }
                if b < scored.len() {
                    code.push(alike.jaccard);
                    chance.push(alike.chance);
                    by_tensor.push(alike.chance_by_tensor);
                } else if a < scored.len() && names[b] == general {
                    with_general.push(alike.jaccard);
                }
            }
        }
        over_k.push(LanguagesAt {
            k,
            code_with_code: mean(&code),
            code_with_general: mean(&with_general),
            chance: mean(&chance),
            chance_by_tensor: mean(&by_tensor),
        });
    }

    let code = &sets[..scored.len()];
    let unique = scored
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let others = code.iter().enumerate().filter(|(other, _)| *other != index);
            let rest = others.fold(code[index].clone(), |rest, (_, other)| rest.difference(other));
            (name.clone(), rest.len() as u64)
        })
        .collect();
    let shared = code.iter().skip(1).fold(code[0].clone(), |shared, other| shared.intersection(other));
    let last = over_k.last();
    Ok(LanguageFindings {
        k: rankings.k,
        names,
        jaccard,
        chance: last.map_or(0.0, |at| at.chance),
        chance_by_tensor: last.map_or(0.0, |at| at.chance_by_tensor),
        unique,
        shared_by_all: shared.len() as u64,
        each: sets[0].len() as u64,
        over_k,
    })
}

fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}
