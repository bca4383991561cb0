//! `codingspot select`.

use crate::args::{SelectArgs, UsageError};
use crate::output::{self, grouped};
use crate::run::{Choice, Run};
use crate::spot;
use anyhow::Context as _;
use codingspot_core::layout::ParameterLayout;
use codingspot_core::spot::{Group, Operand, Spot, difference};
use serde_json::json;

pub(crate) fn run(args: &SelectArgs) -> anyhow::Result<()> {
    if args.minus_k.is_some() && args.minus.is_none() && !args.unique {
        let reason = "--minus-k needs --minus or --unique, which say what is left out";
        return Err(UsageError(reason.to_owned()).into());
    }
    let run = Run::open(&args.run)?;
    let choice = Choice { scope: args.scope.into(), group: args.group.into(), max_k: args.max_k };
    let spot = match (&args.languages, &args.leave_out) {
        (Some(languages), _) if languages.len() == 1 => run.select_language(&languages[0], choice)?,
        (Some(languages), _) => run.select(choice, Some(languages))?,
        (None, Some(left_out)) => run.select(choice, Some(&run.languages_without(left_out)?))?,
        (None, None) => run.select(choice, None)?,
    };
    let spot = if args.minus.is_some() || args.unique { without(args, &run, spot)? } else { spot };
    spot::write(&args.out, &spot)?;
    let header = spot.header();
    let composition = composition(&spot, &run.layout);
    if args.json {
        return output::json(&json!({
            "schema_version": 1,
            "parameters": spot.len(),
            "header": header,
            "by_module": composition.iter().map(|(module, count)| json!({"module": module, "count": count})).collect::<Vec<_>>(),
        }));
    }
    let mut text = format!(
        "{} of {} parameters in scope {} (top {} %{} by {} over {})\n",
        grouped(spot.len() as u64),
        grouped(header.parameters_in_scope),
        header.scope.name(),
        args.max_k,
        match header.group {
            Group::Global => String::new(),
            group => format!(" of every {}", group.name()),
        },
        header.estimator.name(),
        header.languages.join(", ")
    );
    if let Some(derived) = &header.derived {
        text += &format!("{derived}\n");
    }
    for (module, count) in composition {
        text += &format!("  {module:<26} {:>12}\n", grouped(count));
    }
    output::result(&text)?;
    output::note(&format!("Wrote {}", args.out.display()));
    Ok(())
}

/// The spot without what is high elsewhere too.
fn without(args: &SelectArgs, run: &Run, spot: Spot) -> anyhow::Result<Spot> {
    let minus_k = args.minus_k.unwrap_or(args.max_k);
    let choice = Choice::global(args.scope.into(), minus_k);
    let mut others: Vec<(String, Spot)> = Vec::new();
    if let Some(path) = &args.minus {
        let other = Run::open(path)?;
        if !args.across_settings {
            run.check_comparable(&other)?;
        }
        others.push((other.name(), other.select(choice, None)?));
    } else {
        let mine = args.languages.clone().unwrap_or_default();
        for language in run.languages_without(&mine)? {
            let ranked = run.select_language(&language, choice)?;
            others.push((format!("{} of {}", language, run.name()), ranked));
        }
    }
    let operands: Vec<Operand<'_>> =
        others.iter().map(|(name, spot)| Operand { name, spot, count: spot.len() }).collect();
    let name = run.name();
    let left = Operand { name: &name, spot: &spot, count: spot.len() };
    let rest = difference(left, &operands)
        .with_context(|| format!("the top {} % without the top {minus_k} %", args.max_k))?;
    Ok(rest)
}

/// How many parameters of each kind of tensor are in a spot, kinds in layout order.
fn composition(spot: &Spot, layout: &ParameterLayout) -> Vec<(String, u64)> {
    let mut counts: Vec<(String, u64)> = Vec::new();
    let mut by_tensor = vec![0_u64; layout.tensors().len()];
    for &tensor in spot.tensor() {
        by_tensor[usize::from(tensor)] += 1;
    }
    for (spec, count) in layout.tensors().iter().zip(by_tensor) {
        let name = spec.module.name().to_owned();
        match counts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += count,
            None => counts.push((name, count)),
        }
    }
    counts
}
