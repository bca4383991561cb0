//! `codingspot study`.

use crate::args::{StudyArgs, UsageError};
use crate::corpus::{CorpusDirectory, check_distinct};
use crate::report::{self, Input};
use crate::study::{self, CompletionSettings, Request, Subject};
use crate::{atomic, device, output, table};
use codingspot_core::corpus::CODE_LANGUAGES;
use codingspot_core::spot::Scope;

pub(crate) fn run(args: &StudyArgs) -> anyhow::Result<()> {
    if args.k <= 0.0 || args.k > args.max_k {
        return Err(UsageError(format!("--k is {} %, expected above 0 and at most --max-k", args.k)).into());
    }
    if args.max_k + args.minus_k > 100.0 {
        return Err(UsageError(format!(
            "--max-k {} % and --minus-k {} % are more than there is: as much has to be left without the general \
             ranking as the spot has",
            args.max_k, args.minus_k
        ))
        .into());
    }
    if let Some(languages) = &args.languages {
        check_distinct(languages)?;
    }
    let device = device::choose(args.device.device)?;
    let mut subject = match (&args.model, &args.corpus, &args.held_out) {
        (Some(model), Some(corpus), Some(held_out)) => Subject::open(model, corpus, held_out, device)?,
        _ => Subject::bundled(device)?,
    };
    let languages = match (&args.languages, &args.corpus) {
        (Some(languages), _) => languages.clone(),
        (None, Some(corpus)) => CorpusDirectory::open(corpus)?.code_languages()?,
        (None, None) => CODE_LANGUAGES.map(str::to_owned).to_vec(),
    };
    let mut scopes: Vec<Scope> = Vec::new();
    for &choice in &args.scope {
        if !scopes.contains(&choice.into()) {
            scopes.push(choice.into());
        }
    }
    let request = Request {
        languages,
        general: args.general.clone(),
        scopes,
        max_k: args.max_k,
        k: args.k,
        minus_k: args.minus_k,
        points: args.points,
        random_draws: args.random_draws as u64,
        shuffles: args.shuffles as u64,
        batch_size: args.batch_size,
        seq_len: args.seq_len.min(subject.config.max_position_embeddings),
        limit: args.limit,
        resamples: args.resamples,
        completions: (args.completions > 0)
            .then_some(CompletionSettings { prompts: args.completions, tokens: args.completion_tokens }),
    };
    let study = study::run(&mut subject, &request, &args.out)?;
    let seconds = study.seconds;
    let report = args.out.join("report.html");
    if args.json {
        output::json(&study)?;
    } else {
        output::result(&table::study(&study))?;
    }
    let page = report::page(&[Input::Study(Box::new(study))])?;
    atomic::write_file(&report, page.html().as_bytes())?;
    output::note(&format!("Wrote {0} in {seconds:.0} s: open {1}", args.out.display(), report.display()));
    Ok(())
}
