//! `codingspot eval`.

use crate::args::{ControlChoice, EvalArgs, TaskChoice, UsageError};
use crate::corpus::{CorpusDirectory, check_distinct};
use crate::measure::{Arm, NllSettings, Subset, nll};
use crate::model::ModelDirectory;
use crate::results::{EvalFile, versions};
use crate::{atomic, device, output, spot, table};
use anyhow::Context as _;
use codingspot_core::checkpoint::LoadedModel;
use codingspot_core::corpus::documents_for_loss;
use codingspot_core::spot::{magnitude, matched_magnitude, matched_random};
use serde_json::json;

pub(crate) fn run(args: &EvalArgs) -> anyhow::Result<()> {
    for task in &args.tasks {
        let TaskChoice::Nll = task;
    }
    if args.spot.spot.is_none() && args.k.iter().any(|&k| k > 0.0) {
        return Err(UsageError("--k above 0 needs --spot, the ranking to take it from".to_owned()).into());
    }
    let corpus = CorpusDirectory::open(&args.corpus)?;
    let languages = args.languages.clone().unwrap_or_else(|| corpus.languages());
    check_distinct(&languages)?;
    let model = ModelDirectory::open(&args.model)?;
    let tokenizer = model.tokenizer()?;
    let seq_len = args.seq_len.min(model.config.max_position_embeddings);
    let subsets = languages
        .iter()
        .map(|language| {
            let mut documents = corpus.read(language)?;
            documents.truncate(args.limit.unwrap_or(usize::MAX));
            let rows = documents_for_loss(&documents, tokenizer.as_ref(), seq_len)
                .with_context(|| format!("the corpus of {language} was refused"))?;
            Ok(Subset { name: language.clone(), rows })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut arms = Vec::new();
    if let Some(path) = &args.spot.spot {
        let spot = spot::read(path)?;
        for &k in &args.k {
            spot::prefix_len(path, &spot, k)?;
        }
        arms.insert(0, Arm { variant: "spot".to_owned(), spot });
    }
    let (control, seeds) = (distinct(&args.control), distinct(&args.control_seeds));
    let random = if control.contains(&ControlChoice::Random) { seeds.len() } else { 0 };
    let controls = control.iter().filter(|&&control| control != ControlChoice::Random).count() + random;
    let documents: usize = subsets.iter().map(|subset| subset.rows.len()).sum();
    let tokens: usize = subsets.iter().flat_map(|s| s.rows.iter().map(|row| row.len() - 1)).sum();
    let passes = 1 + (arms.len() + controls) * args.k.iter().filter(|&&k| k > 0.0).count();
    if args.dry_run {
        return output::result(&format!(
            "nll: {} languages, {documents} documents, {} target tokens, {passes} passes ({} tokens in all)\n",
            subsets.len(),
            output::grouped(tokens as u64),
            output::grouped((tokens * passes) as u64)
        ));
    }
    let device = device::choose(args.device.device)?;
    let mut loaded = model.load(&device.device)?;
    for arm in &arms {
        arm.spot.check(loaded.model.layout(), &loaded.fingerprint).with_context(|| {
            let path = args.spot.spot.as_deref().unwrap_or(std::path::Path::new("spot"));
            format!("{} was refused", path.display())
        })?;
    }
    controls_of(&control, &seeds, &loaded, &mut arms)?;
    let settings = NllSettings { batch_size: args.batch_size, replacement: args.replace };
    let results = nll(&mut loaded, &subsets, &arms, &args.k, settings)?;
    let file = EvalFile {
        results,
        comparisons: Vec::new(),
        impacts: Vec::new(),
        datasets: Vec::new(),
        samples: Vec::new(),
        not_run: Vec::new(),
        config: json!({
            "model": model.name,
            "fingerprint": loaded.fingerprint,
            "tasks": ["nll"],
            "languages": languages,
            "seq_len": seq_len,
            "batch_size": args.batch_size,
            "limit": args.limit,
            "k": args.k,
            "replace": args.replace.to_string(),
            "spot": arms.first().map(|arm| arm.spot.header()),
            "device": device.name,
            "dtype": "f32",
        }),
        versions: versions(),
        sha256: None,
    }
    .sealed()?;
    let mut bytes = serde_json::to_vec_pretty(&file)?;
    bytes.push(b'\n');
    atomic::write_file(&args.out, &bytes)?;
    if args.json {
        output::json(&file)?;
    } else {
        output::result(&table::nll_by_variant(&file.results))?;
    }
    output::note(&format!("Wrote {}", args.out.display()));
    Ok(())
}

/// What was asked for, each once.
fn distinct<T: Copy + PartialEq>(asked: &[T]) -> Vec<T> {
    let mut seen = Vec::new();
    for &item in asked {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}

/// Adds the controls of the first arm.
fn controls_of(
    controls: &[ControlChoice],
    seeds: &[u64],
    loaded: &LoadedModel,
    arms: &mut Vec<Arm>,
) -> anyhow::Result<()> {
    let Some(spot) = arms.first().map(|arm| arm.spot.clone()) else { return Ok(()) };
    for control in controls {
        match control {
            ControlChoice::Random => {
                arms.extend(seeds.iter().map(|&seed| Arm {
                    variant: format!("random:{seed}"),
                    spot: matched_random(&spot, seed),
                }))
            }
            ControlChoice::Magnitude => arms.push(Arm {
                variant: "magnitude".to_owned(),
                spot: pollster::block_on(magnitude(&loaded.model, &spot))?,
            }),
            ControlChoice::MagnitudeMatched => arms.push(Arm {
                variant: "magnitude-matched".to_owned(),
                spot: pollster::block_on(matched_magnitude(&loaded.model, &spot))?,
            }),
        }
    }
    Ok(())
}
