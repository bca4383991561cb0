//! `codingspot ablate`.

use crate::args::{AblateArgs, ReplaceChoice};
use crate::atomic::NewDirectory;
use crate::model::{MappedFile, ModelDirectory};
use crate::{output, spot};
use anyhow::Context as _;
use codingspot_core::checkpoint::{SafetensorsSource, TensorSource as _};
use serde_json::json;
use std::fs::{self, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};

/// Files beside the weights that a copy needs.
const COMPANIONS: [&str; 7] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "tokenizer.model",
    "model.safetensors.index.json",
];

pub(crate) fn run(args: &AblateArgs) -> anyhow::Result<()> {
    let ReplaceChoice::Zero = args.replace;
    let model = ModelDirectory::open(&args.model)?;
    let layout = model.layout();
    let spot = spot::read(&args.spot)?;
    let count = spot::prefix_len(&args.spot, &spot, args.k)?;
    let fingerprint = model.fingerprint()?;
    spot.check(&layout, &fingerprint).with_context(|| format!("{} was refused", args.spot.display()))?;

    // The copy keeps the checkpoint's own storage type and sharding: files are copied, and the
    // bytes of the chosen parameters become zero, which is +0 in every float type.
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
                let Some(index) = layout.index_of(&info.name) else { continue };
                let size = info.dtype.size_bytes();
                for &offset in &offsets[index] {
                    file.seek(SeekFrom::Start(places.file_offset(stored) + u64::from(offset) * size))?;
                    file.write_all(&[0; 4][..usize::try_from(size)?])?;
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
        "replace": "zero",
        "spot": spot.header(),
    });
    fs::write(new.path().join("ablation.json"), serde_json::to_vec_pretty(&record)?)?;
    new.finish()?;
    if args.json {
        return output::json(&record);
    }
    output::result(&format!(
        "{} parameters ({} % of scope {}) are zero in {}\n",
        output::grouped(count as u64),
        args.k,
        spot.header().scope.name(),
        args.out.display()
    ))
}
