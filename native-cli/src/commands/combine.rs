//! `codingspot combine`.

use crate::args::{CombineArgs, SetChoice, UsageError};
use crate::output::{self, grouped};
use crate::spot;
use codingspot_core::spot::{Operand, difference, intersection, union};
use serde_json::json;

pub(crate) fn run(args: &CombineArgs) -> anyhow::Result<()> {
    if args.k.len() > 1 && args.k.len() != args.spots.len() {
        return Err(UsageError(format!(
            "--k has {} values for {} spots; give one for all or one for each",
            args.k.len(),
            args.spots.len()
        ))
        .into());
    }
    let names: Vec<String> = args.spots.iter().map(|path| path.display().to_string()).collect();
    let spots = args.spots.iter().map(|path| spot::read(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut operands = Vec::with_capacity(spots.len());
    for (index, (spot, name)) in spots.iter().zip(&names).enumerate() {
        let k = args.k.get(index).or(args.k.first());
        let count = k.map_or(Ok(spot.len()), |&k| spot::prefix_len(&args.spots[index], spot, k))?;
        operands.push(Operand { name, spot, count });
    }
    let combined = match args.operation {
        SetChoice::Union => union(&operands)?,
        SetChoice::Intersection => intersection(operands[0], &operands[1..])?,
        SetChoice::Difference => difference(operands[0], &operands[1..])?,
    };
    spot::write(&args.out, &combined)?;
    let header = combined.header();
    if args.json {
        return output::json(&json!({
            "schema_version": 1,
            "parameters": combined.len(),
            "header": header,
        }));
    }
    output::result(&format!(
        "{} of {} parameters in scope {}: {}\n",
        grouped(combined.len() as u64),
        grouped(header.parameters_in_scope),
        header.scope.name(),
        header.derived.as_deref().unwrap_or_default()
    ))?;
    output::note(&format!("Wrote {}; k up to {:.6} % of the scope", args.out.display(), header.max_k));
    Ok(())
}
