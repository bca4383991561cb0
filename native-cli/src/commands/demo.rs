//! `codingspot demo`: the whole method on the bundled model and corpus.

use crate::args::DemoArgs;
use crate::atomic::NewDirectory;
use crate::bundled;
use crate::corpus::Sample;
use crate::measure::{Arm, NllSettings, Subset, nll};
use crate::output::{self, grouped};
use crate::report::{Completion, DemoReport, ScopeReport};
use crate::results::versions;
use crate::run::{Choice, ModelRecord, Run, ScoreSettings};
use crate::scoring::{PackedLanguage, ScoreJob, StoredWeights};
use crate::{device, memory, report, spot, table};
use anyhow::Context as _;
use codingspot_core::ablate::{Ablation, Replacement};
use codingspot_core::checkpoint::{LoadedModel, MemorySource, SafetensorsSource, load_model};
use codingspot_core::config::LlamaConfig;
use codingspot_core::corpus::{CODE_LANGUAGES, Document, documents_for_loss};
use codingspot_core::generate::{GenerateOptions, generate};
use codingspot_core::score::{Estimator, MemoryPlan, PlanRequest, Weights};
use codingspot_core::spot::{Scope, Spot, matched_random};
use codingspot_core::tokenizer::Tokenizer;
use std::fs;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

/// Shares that are measured, percent: the paper's four and 1.
const KS: [f64; 6] = [0.0, 0.0025, 0.01, 0.09, 0.25, 1.0];
/// Norm gains fill small spots, so what they hide is shown beside them.
const SCOPES: [Scope; 2] = [Scope::All, Scope::NoNorm];
/// Subsets beside the ten scored languages.
const UNSCORED: [&str; 2] = ["python", "english"];
const SEQ_LEN: usize = 256;
const BATCH_SIZE: usize = 4;
const CONTROL_SEED: u64 = 1;
/// What is completed before and after.
const PROMPT: &str = "fn main() {\n    let mut total = 0;\n    for i in 0..10 {\n";
/// The k of the completion, percent.
const PROMPT_K: f64 = 0.25;
const PROMPT_TOKENS: usize = 48;
/// The file that marks a directory as the demo's own.
const RESULTS: &str = "demo.json";

pub(crate) fn run(args: &DemoArgs) -> anyhow::Result<()> {
    let started = Instant::now();
    let out = NewDirectory::begin(&args.out, Some(RESULTS))?;
    let config = LlamaConfig::from_json(bundled::CONFIG).context("the bundled config was refused")?;
    let tokenizer = Tokenizer::from_bytes(bundled::TOKENIZER, &config)?;
    let device = device::choose(args.device.device)?;
    let mut loaded = load(&config, &device.device)?;
    output::note(&format!(
        "Bundled model: {} parameters, fingerprint {}",
        grouped(loaded.model.layout().num_parameters()),
        loaded.fingerprint.short()
    ));

    let record = ModelRecord {
        name: bundled::MODEL_NAME.to_owned(),
        fingerprint: loaded.fingerprint,
        parameters: loaded.model.layout().num_parameters(),
        config: serde_json::from_str(bundled::CONFIG)?,
    };
    let settings = ScoreSettings {
        estimator: Estimator::Signed,
        batch_size: BATCH_SIZE,
        seq_len: SEQ_LEN,
        max_batches: None,
        dtype: "f32".to_owned(),
        device: device.name.clone(),
        seed: 0,
        loss_scale: 1.0,
        fine_tune: None,
        keep_language_scores: false,
        shard: None,
        sample: Sample::default(),
    };
    let packed = CODE_LANGUAGES
        .iter()
        .map(|language| {
            let documents = Document::from_json_lines(bundled::scoring(language)?)?;
            PackedLanguage::new(language, &documents, Some(&tokenizer), &settings)
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let run_path = out.path().join("run");
    let request = PlanRequest {
        batch_size: BATCH_SIZE,
        seq_len: SEQ_LEN,
        batches: packed.iter().map(PackedLanguage::batches).max().unwrap_or(1),
        reductions: 1,
        weight_bytes: 4,
        shared_memory: true,
        host_bytes: crate::run::top_bytes(loaded.model.layout(), 1),
        limit: memory::default_limit(true),
    };
    let manifest = ScoreJob {
        path: &run_path,
        config: &config,
        model: record,
        settings,
        estimators: vec![Estimator::Signed],
        languages: packed,
        stored: Arc::new(StoredWeights::new(Arc::new(source()?), loaded.model.layout())?),
        weights: Weights::Resident(Box::new(loaded.model.clone())),
        device: &device.device,
        plan: MemoryPlan::new(&config, &request)?,
        checkpoint_every: None,
    }
    .run()?
    .remove(0);
    let scored_s = started.elapsed().as_secs_f64();
    output::note(&format!("Scored ten languages in {scored_s:.0} s"));

    let subsets = CODE_LANGUAGES
        .iter()
        .chain(&UNSCORED)
        .map(|language| {
            let documents = Document::from_json_lines(bundled::held_out(language)?)?;
            let rows = documents_for_loss(&documents, Some(&tokenizer), SEQ_LEN)?;
            Ok(Subset { name: (*language).to_owned(), rows, characters: None })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let run = Run::open(&run_path)?;
    let mut scopes = Vec::new();
    let mut completions = vec![complete(&mut loaded, &tokenizer, "original", None)?];
    for scope in SCOPES {
        let ranked = run.select(Choice::global(scope, KS[KS.len() - 1]), None)?;
        spot::write(&out.path().join(format!("spot-{}.safetensors", scope.name())), &ranked)?;
        completions.push(complete(
            &mut loaded,
            &tokenizer,
            &format!("scope {}, spot of {PROMPT_K} % removed", scope.name()),
            Some(ranked.clone()),
        )?);
        let control = matched_random(&ranked, CONTROL_SEED);
        completions.push(complete(
            &mut loaded,
            &tokenizer,
            &format!("scope {}, as many random parameters removed", scope.name()),
            Some(control.clone()),
        )?);
        let norms = norms_by_k(&ranked, &run)?;
        let arms = [
            Arm { variant: "spot".to_owned(), spot: ranked },
            Arm { variant: format!("random:{CONTROL_SEED}"), spot: control },
        ];
        let settings = NllSettings { batch_size: 8, replacement: Replacement::Zero };
        let results = nll(&mut loaded, &subsets, &arms, &KS, settings)?;
        scopes.push(ScopeReport { scope, results, norms });
    }
    let report = DemoReport {
        schema_version: 1,
        manifest,
        ks: KS.to_vec(),
        scopes,
        prompt: PROMPT.to_owned(),
        prompt_k: PROMPT_K,
        completions,
        seconds: started.elapsed().as_secs_f64(),
        versions: versions(),
    };
    fs::write(out.path().join(RESULTS), serde_json::to_vec_pretty(&report)?)?;
    fs::write(out.path().join("report.html"), report::demo_page(&report).html())?;
    out.finish()?;
    if args.json {
        output::json(&report)?;
    } else {
        output::result(&text(&report))?;
    }
    output::note(&format!(
        "Wrote {0} in {1:.0} s: open {0}/report.html, or try `codingspot serve`",
        args.out.display(),
        report.seconds
    ));
    Ok(())
}

fn source() -> anyhow::Result<SafetensorsSource<MemorySource<&'static [u8]>>> {
    let file = MemorySource::new("the bundled model", bundled::WEIGHTS);
    Ok(pollster::block_on(SafetensorsSource::open(vec![file]))?)
}

fn load(config: &LlamaConfig, device: &codingspot_core::Device) -> anyhow::Result<LoadedModel> {
    Ok(pollster::block_on(load_model(&source()?, config, device, async |_| ControlFlow::Continue(())))?)
}

/// Completes the prompt greedily, with `spot` ablated at the demo's k if there is one.
fn complete(
    loaded: &mut LoadedModel,
    tokenizer: &Tokenizer,
    label: &str,
    spot: Option<Spot>,
) -> anyhow::Result<Completion> {
    let ids = tokenizer.encode_document(PROMPT)?;
    let options = GenerateOptions { max_tokens: PROMPT_TOKENS, ..Default::default() };
    let count = spot.as_ref().map(|spot| spot.prefix_len(PROMPT_K)).transpose()?;
    let mut ablation = spot
        .map(|spot| pollster::block_on(Ablation::new(&loaded.model, &loaded.fingerprint, spot)))
        .transpose()?;
    if let (Some(ablation), Some(count)) = (&mut ablation, count) {
        ablation.set(&mut loaded.model, count);
    }
    let generation =
        pollster::block_on(generate(&loaded.model, Some(tokenizer), &ids, &options, async |_| {
            ControlFlow::Continue(())
        }));
    if let Some(ablation) = &mut ablation {
        ablation.set(&mut loaded.model, 0);
    }
    Ok(Completion { label: label.to_owned(), text: generation?.text })
}

/// For each k, how many of the spot's parameters are gains of norms.
fn norms_by_k(spot: &Spot, run: &Run) -> anyhow::Result<Vec<u64>> {
    let tensors = run.layout.tensors();
    KS.iter()
        .map(|&k| {
            let chosen = &spot.tensor()[..spot.prefix_len(k)?];
            Ok(chosen.iter().filter(|&&t| tensors[usize::from(t)].module.is_norm()).count() as u64)
        })
        .collect()
}

/// What the terminal shows.
fn text(report: &DemoReport) -> String {
    let mut text = String::new();
    for scope in &report.scopes {
        text += &format!("\nScope {}\n", scope.scope.name());
        text += &table::spot_and_random(&scope.results, &scope.norms, &report.ks);
    }
    text += &format!("\n{}\n", report::chance(report));
    text += &format!("\nCompletions of {:?}\n", report.prompt);
    for completion in &report.completions {
        text += &format!("\n-- {}\n{}\n", completion.label, completion.text.trim_end());
    }
    text
}
