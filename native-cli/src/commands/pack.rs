//! `codingspot pack`.

use crate::args::PackArgs;
use crate::device;
use crate::model::ModelDirectory;
use crate::output::{self, bytes, grouped};
use crate::pack::{self, Listed, NamedSpot, Packed, Packing, Texts};
use codingspot_core::checkpoint::{TensorInfo, TensorSource as _};
use codingspot_pack::{BLOCK, Encoding};
use serde_json::json;
use std::fmt::Write as _;

pub(crate) fn run(args: &PackArgs) -> anyhow::Result<()> {
    let model = ModelDirectory::open_checkpoint(&args.model)?;
    let spots = NamedSpot::read(&args.spot)?;
    let texts = args
        .corpus
        .as_deref()
        .map(|corpus| {
            let texts = Texts::read(corpus, &model, args.seq_len, args.limit)?;
            Ok::<_, anyhow::Error>((texts, device::choose(args.device.device)?))
        })
        .transpose()?;
    let chosen = args.encoding.map(Encoding::from);
    let encoding = chosen.unwrap_or_else(|| pack::default_encoding(&model, &model.layout()));
    // Of ORG/NAME on the hub, the part that people know it by.
    let name =
        args.name.clone().unwrap_or_else(|| model.name.rsplit('/').next().unwrap_or("model").to_owned());
    let packed = Packing { model: &model, name, encoding, spots, texts }.write(&args.out)?;
    let listed =
        args.index.as_deref().map(|index| pack::list(index, &args.out, &packed.manifest)).transpose()?;
    let checkpoint_bytes: u64 = model.source.tensors().iter().map(TensorInfo::num_bytes).sum();
    if args.json {
        return print_json(&packed, checkpoint_bytes);
    }
    let why = if chosen.is_some() { "" } else { ", chosen by its size" };
    output::result(&describe(args, &packed, checkpoint_bytes, why, listed)?)
}

fn print_json(packed: &Packed, checkpoint_bytes: u64) -> anyhow::Result<()> {
    let manifest = &packed.manifest;
    let parameters = manifest.num_parameters();
    output::json(&json!({
        "schema_version": 1,
        "name": manifest.name,
        "fingerprint": manifest.fingerprint,
        "encoding": manifest.encoding,
        "parameters": parameters,
        "tensors": manifest.tensors.len(),
        "files": manifest.files,
        "shards": manifest.shards,
        "spots": manifest.spots,
        "weight_bytes": manifest.weight_bytes(),
        "checkpoint_bytes": checkpoint_bytes,
        "total_bytes": manifest.total_bytes,
        "bytes_per_parameter": manifest.weight_bytes() as f64 / parameters as f64,
        "quality": manifest.quality,
        "languages": packed.losses.as_ref().map(|losses| &losses.languages),
        "seconds": packed.seconds,
        "parameters_per_s": parameters as f64 / packed.seconds,
    }))
}

fn describe(
    args: &PackArgs,
    packed: &Packed,
    checkpoint_bytes: u64,
    why: &str,
    listed: Option<Listed>,
) -> anyhow::Result<String> {
    let manifest = &packed.manifest;
    let parameters = manifest.num_parameters();
    let mut text = format!(
        "Packed {} in {}: {} parameters in {}{why}\n",
        manifest.name,
        args.out.display(),
        grouped(parameters),
        manifest.encoding
    );
    let matrices = manifest.tensors.iter().filter(|tensor| tensor.shape.len() == 2);
    let exceptions: Vec<_> = matrices.filter(|tensor| tensor.encoding != manifest.encoding).collect();
    if let Some(first) = exceptions.first() {
        writeln!(
            text,
            "  {} matrices are in {}, among them {}: {} needs rows of whole blocks of {BLOCK}, theirs have {}",
            exceptions.len(),
            first.encoding,
            first.name,
            manifest.encoding,
            first.cols()
        )?;
    }
    let files = manifest.shards.len();
    writeln!(
        text,
        "  weights  {} in {files} file{}, {:.3} bytes a parameter; the checkpoint has {}",
        bytes(manifest.weight_bytes()),
        if files == 1 { "" } else { "s" },
        manifest.weight_bytes() as f64 / parameters as f64,
        bytes(checkpoint_bytes),
    )?;
    for spot in &manifest.spots {
        let each = spot.bytes as f64 / spot.len.max(1) as f64;
        // What a difference of spots leaves is no round share.
        let max_k = format!("{:.4}", spot.max_k);
        let max_k = max_k.trim_end_matches('0').trim_end_matches('.');
        writeln!(
            text,
            "  spot     {}: {} parameters (up to k = {max_k} % of scope {}) in {}, {each:.2} bytes each",
            spot.name,
            grouped(spot.len),
            spot.scope,
            bytes(spot.bytes)
        )?;
    }
    writeln!(text, "  in all   {}", bytes(manifest.total_bytes))?;
    if let (Some(quality), Some(losses)) = (&manifest.quality, &packed.losses) {
        let width = losses.languages.iter().map(|loss| loss.language.len()).max().unwrap_or(0).max(3);
        writeln!(
            text,
            "Loss on {} in nats a token: of the checkpoint, of the pack, and the difference",
            quality.corpus
        )?;
        let rows = losses
            .languages
            .iter()
            .map(|loss| (loss.language.as_str(), loss.tokens, loss.nats_per_token_f32, loss.nats_per_token));
        let all = ("all", quality.tokens, quality.nats_per_token_f32, quality.nats_per_token);
        for (language, tokens, original, pack) in rows.chain([all]) {
            writeln!(
                text,
                "  {language:<width$}  {original:>8.4}  {pack:>8.4}  {:>+8.4}  ({} tokens)",
                pack - original,
                grouped(tokens)
            )?;
        }
    }
    if let (Some(index), Some(listed)) = (&args.index, listed) {
        let done = if listed == Listed::Added { "added to" } else { "replaced in" };
        writeln!(text, "{} was {done} {}", manifest.name, index.display())?;
    }
    Ok(text)
}
