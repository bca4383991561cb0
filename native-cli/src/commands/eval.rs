//! `codingspot eval`.

use crate::args::{EvalArgs, TaskChoice, UsageError};
use crate::corpus::{CorpusDirectory, check_distinct};
use crate::evaluation::{self, Benchmarks, Measured};
use crate::measure::{Arm, NllSettings, PER_CHARACTER, PER_TOKEN, Subset, nll, subsets};
use crate::model::ModelDirectory;
use crate::results::{EvalFile, ResultRow, versions};
use crate::{atomic, device, output, spot, table};
use anyhow::Context as _;
use codingspot_core::tokenizer::Tokenizer;
use serde_json::json;
use std::path::Path;

/// Documents of nll that run together where nothing is asked for.
const BATCH: usize = 8;

/// The texts of nll.
struct Texts {
    languages: Vec<String>,
    seq_len: usize,
    subsets: Vec<Subset>,
}

pub(crate) fn run(args: &EvalArgs) -> anyhow::Result<()> {
    if args.spot.spot.is_none() && args.k.iter().any(|&k| k > 0.0) {
        return Err(UsageError("--k above 0 needs --spot, the ranking to take it from".to_owned()).into());
    }
    let model = ModelDirectory::open(&args.model)?;
    let tokenizer = model.tokenizer()?;
    let wants_nll = args.tasks.iter().any(|choices| choices.tasks.contains(&TaskChoice::Nll));
    let texts = wants_nll.then(|| texts(args, &model, tokenizer.as_ref())).transpose()?;
    let benchmarks =
        (!evaluation::tasks(args).is_empty()).then(|| Benchmarks::open(args, &model)).transpose()?;
    let mut arms = Vec::new();
    if let Some(path) = &args.spot.spot {
        let spot = spot::read(path)?;
        for &k in &args.k {
            spot::prefix_len(path, &spot, k)?;
        }
        arms.push(Arm { variant: "spot".to_owned(), spot });
    }
    let controls = evaluation::count_controls(&args.control, &args.control_seeds);
    if args.dry_run {
        if let Some(texts) = &texts {
            let above_zero = args.k.iter().filter(|&&k| k > 0.0).count();
            dry_run(texts, 1 + (arms.len() + controls) * above_zero, args.json)?;
        }
        return benchmarks.map_or(Ok(()), |benchmarks| benchmarks.dry_run(args.json));
    }
    let out = args.out.as_deref().context("--out is required")?;
    let asking = benchmarks
        .map(|benchmarks| {
            let tokenizer = tokenizer.as_ref().with_context(|| {
                format!("{} has no tokenizer.json, which benchmarks need; add it", args.model.display())
            })?;
            Ok::<_, anyhow::Error>((benchmarks, tokenizer))
        })
        .transpose()?;
    let device = device::choose(args.device.device)?;
    let mut loaded = model.load(&device.device)?;
    for arm in &arms {
        arm.spot.check(loaded.model.layout(), &loaded.fingerprint).with_context(|| {
            let path = args.spot.spot.as_deref().unwrap_or(Path::new("spot"));
            format!("{} was refused", path.display())
        })?;
    }
    evaluation::controls(&args.control, &args.control_seeds, &loaded, &mut arms)?;
    let mut results = Vec::new();
    if let Some(texts) = &texts {
        let batch_size = args.batch_size.unwrap_or(BATCH);
        let settings = NllSettings { batch_size, replacement: args.replace };
        results.extend(nll(&mut loaded, &texts.subsets, &arms, &args.k, settings)?);
    }
    let measured = asking
        .map(|(benchmarks, tokenizer)| {
            let folder = evaluation::folder(out);
            let context = evaluation::Context {
                name: &model.name,
                fingerprint: loaded.fingerprint.to_string(),
                config: &model.config,
                tokenizer,
                device: &device.name,
                replacement: args.replace,
                limit: args.limit,
                folder: &folder,
            };
            benchmarks.run(&context, &mut loaded, &arms, &args.k)
        })
        .transpose()?;
    let mut config = json!({
        "model": model.name,
        "fingerprint": loaded.fingerprint,
        "model_config": {
            "vocab_size": model.config.vocab_size,
            "hidden_size": model.config.hidden_size,
            "num_hidden_layers": model.config.num_hidden_layers,
            "intermediate_size": model.config.intermediate_size,
        },
        "tasks": names(args),
        "limit": args.limit,
        "k": args.k,
        "replace": args.replace.to_string(),
        "spot": arms.first().map(|arm| arm.spot.header()),
        "device": device.name,
        "dtype": "f32",
    });
    if let Some(texts) = &texts {
        config["languages"] = json!(texts.languages);
        config["seq_len"] = json!(texts.seq_len);
        config["characters"] = json!(args.characters);
        config["batch_size"] = json!(args.batch_size.unwrap_or(BATCH));
    }
    let file = match measured {
        None => EvalFile { results, config, versions: versions(), ..EvalFile::default() },
        Some(measured) => {
            let Measured { comparisons, impacts, datasets, samples, not_run, execution, cut, .. } = measured;
            results.extend(measured.results);
            let asked = &args.benchmarks;
            config["benchmarks"] = json!({
                "num_fewshot": asked.num_fewshot,
                "fewshot_seed": asked.fewshot_seed,
                "chat": asked.chat,
                "max_gen_toks": asked.max_gen_toks,
                "samples": asked.samples,
                "temperature": asked.temperature,
                "top_p": asked.top_p,
                "seed": asked.seed,
                "shared_prefixes": !asked.no_shared_prefixes,
                "contexts_cut": cut,
                "execution": execution,
            });
            let versions = versions();
            EvalFile {
                results,
                comparisons,
                impacts,
                datasets,
                samples,
                not_run,
                config,
                versions,
                sha256: None,
            }
        }
    };
    let file = file.sealed()?;
    let mut bytes = serde_json::to_vec_pretty(&file)?;
    bytes.push(b'\n');
    atomic::write_file(out, &bytes)?;
    if args.json {
        output::json(&file)?;
    } else {
        if texts.is_some() {
            for (metric, unit) in [(PER_TOKEN, "token"), (PER_CHARACTER, "character")] {
                let of = |row: &&ResultRow| row.task == "nll" && row.metric == metric;
                let rows: Vec<_> = file.results.iter().filter(of).cloned().collect();
                if !rows.is_empty() {
                    output::result(&table::nll_by_variant(&rows, unit))?;
                }
            }
        }
        output::result(&evaluation::table(&file))?;
    }
    output::note(&format!("Wrote {}", out.display()));
    Ok(())
}

/// Names of the tasks that are asked for.
fn names(args: &EvalArgs) -> Vec<&'static str> {
    let name = |choice: &TaskChoice| match choice {
        TaskChoice::Nll => "nll",
        TaskChoice::Benchmark(task) => task.name(),
    };
    args.tasks.iter().flat_map(|choices| choices.tasks.iter().map(name)).collect()
}

fn texts(args: &EvalArgs, model: &ModelDirectory, tokenizer: Option<&Tokenizer>) -> anyhow::Result<Texts> {
    let Some(path) = &args.corpus else {
        return Err(UsageError("nll needs --corpus, the directory of its texts".to_owned()).into());
    };
    let corpus = CorpusDirectory::open(path)?;
    let languages = args.languages.clone().unwrap_or_else(|| corpus.languages());
    check_distinct(&languages)?;
    let seq_len = args.seq_len.min(model.config.max_position_embeddings);
    let subsets = subsets(&corpus, &languages, tokenizer, seq_len, args.limit, args.characters)?;
    Ok(Texts { languages, seq_len, subsets })
}

fn dry_run(texts: &Texts, passes: usize, json: bool) -> anyhow::Result<()> {
    let subsets = &texts.subsets;
    let documents: usize = subsets.iter().map(|subset| subset.rows.len()).sum();
    let tokens: usize = subsets.iter().flat_map(|s| s.rows.iter().map(|row| row.len() - 1)).sum();
    let line = format!(
        "nll: {} languages, {documents} documents, {} target tokens, {passes} passes ({} tokens in all)",
        subsets.len(),
        output::grouped(tokens as u64),
        output::grouped((tokens * passes) as u64)
    );
    // One JSON document is what --json prints, and that is the requests.
    if json {
        output::note(&line)
    } else {
        output::result(&format!("{line}\n"))?
    }
    Ok(())
}
