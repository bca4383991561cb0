//! `codingspot merge`.

use crate::args::MergeArgs;
use crate::{output, scoring};

pub(crate) fn run(args: &MergeArgs) -> anyhow::Result<()> {
    let manifest = scoring::merge(&args.runs, &args.out)?;
    if args.json {
        return output::json(&manifest);
    }
    let batches: usize = manifest.languages.iter().map(|language| language.batches).sum();
    output::result(&format!(
        "{} shards, {} languages, {batches} batches\n",
        args.runs.len(),
        manifest.languages.len()
    ))?;
    output::note(&format!("Wrote {}", args.out.display()));
    Ok(())
}
