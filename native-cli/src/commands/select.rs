//! `codingspot select`.

use crate::args::{GroupChoice, SelectArgs};
use crate::output::{self, grouped};
use crate::run::Run;
use crate::spot;
use codingspot_core::layout::ParameterLayout;
use codingspot_core::spot::Spot;
use serde_json::json;

pub(crate) fn run(args: &SelectArgs) -> anyhow::Result<()> {
    let GroupChoice::Global = args.group;
    let run = Run::open(&args.run)?;
    let spot = run.select(args.scope.into(), args.max_k, args.languages.as_deref())?;
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
        "{} of {} parameters in scope {} (top {} % by {} over {})\n",
        grouped(spot.len() as u64),
        grouped(header.parameters_in_scope),
        header.scope.name(),
        header.max_k,
        header.estimator.name(),
        header.languages.join(", ")
    );
    for (module, count) in composition {
        text += &format!("  {module:<26} {:>12}\n", grouped(count));
    }
    output::result(&text)?;
    output::note(&format!("Wrote {}", args.out.display()));
    Ok(())
}

/// How many parameters of each kind of tensor are in a spot, kinds in layout order.
fn composition(spot: &Spot, layout: &ParameterLayout) -> Vec<(String, u64)> {
    let mut counts: Vec<(String, u64)> = Vec::new();
    let mut by_tensor = vec![0_u64; layout.tensors().len()];
    for &tensor in spot.tensor() {
        by_tensor[usize::from(tensor)] += 1;
    }
    for (spec, count) in layout.tensors().iter().zip(by_tensor) {
        let name = serde_json::to_value(spec.module).ok().and_then(|v| v.as_str().map(str::to_owned));
        let name = name.unwrap_or_else(|| spec.name.clone());
        match counts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += count,
            None => counts.push((name, count)),
        }
    }
    counts
}
