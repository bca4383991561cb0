//! `codingspot ablate`.

use crate::args::AblateArgs;
use crate::atomic::NewDirectory;
use crate::model::{MappedFile, ModelDirectory};
use crate::{output, spot};
use anyhow::Context as _;
use codingspot_core::ablate::{Replacement, sum_in_order};
use codingspot_core::checkpoint::{SafetensorsSource, TensorInfo, TensorSource as _};
use serde_json::json;
use std::fs::{self, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};

/// Files beside the weights that a copy needs.
const COMPANIONS: [&str; 8] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "tokenizer.model",
    "model.safetensors.index.json",
];

pub(crate) fn run(args: &AblateArgs) -> anyhow::Result<()> {
    let model = ModelDirectory::open_checkpoint(&args.model)?;
    let layout = model.layout();
    let spot = spot::read(&args.spot)?;
    let count = spot::prefix_len(&args.spot, &spot, args.k)?;
    let fingerprint = model.fingerprint()?;
    spot.check(&layout, &fingerprint).with_context(|| format!("{} was refused", args.spot.display()))?;

    // The copy keeps the checkpoint's own storage type and sharding: files are copied, and the
    // bytes of the chosen parameters become those of the new values, rounded to that type.
    let new = NewDirectory::begin(&args.out, None)?;
    for name in COMPANIONS {
        let from = model.path.join(name);
        if from.is_file() {
            fs::copy(&from, new.path().join(name))
                .with_context(|| format!("{} can't be copied", from.display()))?;
        }
    }
    let mut offsets: Vec<Vec<u32>> = vec![Vec::new(); layout.tensors().len()];
    for rank in 0..count {
        offsets[usize::from(spot.tensor()[rank])].push(spot.offset()[rank]);
    }
    for shard in &model.shards {
        let name = shard.file_name().context("a shard has a file name")?;
        let target = new.path().join(name);
        let write = || -> anyhow::Result<()> {
            fs::copy(shard, &target)?;
            let places = MappedFile::open(shard)?;
            let places = pollster::block_on(SafetensorsSource::open(vec![places]))?;
            let mut file = OpenOptions::new().write(true).open(&target)?;
            for (stored, info) in places.tensors().iter().enumerate() {
                let Some(index) = layout.index_of(&info.name).filter(|&index| !offsets[index].is_empty())
                else {
                    continue;
                };
                let size = info.dtype.size_bytes();
                let bytes = pollster::block_on(places.read(stored, 0..info.num_bytes()))?;
                let values = replacements(args.replace, index, &bytes, info, &offsets[index])?;
                let width = usize::try_from(size)?;
                for (&offset, value) in offsets[index].iter().zip(values.chunks_exact(width)) {
                    file.seek(SeekFrom::Start(places.file_offset(stored) + u64::from(offset) * size))?;
                    file.write_all(value)?;
                }
            }
            file.sync_all()?;
            Ok(())
        };
        write().with_context(|| format!("{} can't be written", target.display()))?;
    }
    let record = json!({
        "schema_version": 1,
        "original_fingerprint": fingerprint,
        "scope": spot.header().scope,
        "k": args.k,
        "ablated_parameters": count,
        "replace": args.replace.to_string(),
        "spot": spot.header(),
    });
    fs::write(new.path().join("ablation.json"), serde_json::to_vec_pretty(&record)?)?;
    new.finish()?;
    if args.json {
        return output::json(&record);
    }
    let done = match args.replace {
        Replacement::Zero => "are zero".to_owned(),
        other => format!("were replaced ({other})"),
    };
    output::result(&format!(
        "{} parameters ({} % of scope {}) {done} in {}\n",
        output::grouped(count as u64),
        args.k,
        spot.header().scope.name(),
        args.out.display()
    ))
}

/// New values of the parameters at `offsets` of a stored tensor, in rank order, as its type has them.
fn replacements(
    replacement: Replacement,
    tensor: usize,
    bytes: &[u8],
    info: &TensorInfo,
    offsets: &[u32],
) -> anyhow::Result<Vec<u8>> {
    let size = usize::try_from(info.dtype.size_bytes())?;
    let mut originals = Vec::with_capacity(offsets.len());
    for &offset in offsets {
        let start = size * offset as usize;
        info.dtype.extend_f32(&bytes[start..start + size], &mut originals);
    }
    let mean = if replacement == Replacement::Mean {
        let mut sum = 0.0;
        let mut values = Vec::new();
        for piece in bytes.chunks(size << 20) {
            values.clear();
            info.dtype.extend_f32(piece, &mut values);
            sum += sum_in_order(&values);
        }
        (sum / (bytes.len() / size) as f64) as f32
    } else {
        0.0
    };
    let values = replacement.values(u16::try_from(tensor)?, &originals, mean);
    let mut out = Vec::with_capacity(size * values.len());
    info.dtype.extend_bytes(&values, &mut out);
    let mut rounded = Vec::with_capacity(values.len());
    info.dtype.extend_f32(&out, &mut rounded);
    if let Some(rank) = rounded.iter().position(|value| !value.is_finite()) {
        anyhow::bail!(
            "{} at offset {} would become {}, which {} can't hold; take a smaller factor",
            info.name,
            offsets[rank],
            values[rank],
            info.dtype.name()
        );
    }
    Ok(out)
}
