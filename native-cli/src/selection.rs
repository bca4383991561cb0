//! Exact selection over files of scores: every core reads its share of the mapped files twice, and
//! nothing is loaded whole.

use crate::model::MappedFile;
use crate::sweep::{Sweep, lock};
use anyhow::Context as _;
use codingspot_core::checkpoint::{ByteSource as _, CheckpointDtype, SafetensorsSource, TensorSource as _};
use codingspot_core::layout::TensorSpec;
use codingspot_core::spot::{
    Collector, Group, GroupRanked, Ranked, Scope, ScoreHistogram, SelectError, check_count, competing,
    top_of_groups,
};
use rayon::slice::ParallelSliceMut as _;
use std::convert::Infallible;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Scores that a thread takes at once: long enough for the disk, short enough that the second pass
/// finds few of them in its hands.
const PIECE: u64 = 1 << 20;

/// The `count` highest of the sums of `files`' scores, in rank order: bit for bit what
/// [`codingspot_core::spot::select_top`] gives.
///
/// Memory: 768 KiB a thread, 12 bytes × 1.25 × `count`, and what a piece gives.
pub(crate) fn select_top(
    files: &[ScoreFile],
    tensors: &[TensorSpec],
    scope: Scope,
    count: u64,
) -> anyhow::Result<Vec<Ranked>> {
    let competing = competing::<Infallible>(tensors, scope)?;
    let pieces = pieces(&competing);
    let sweep = Sweep::new("Counting scores", &pieces, 2, |piece| piece.scores.end - piece.scores.start);

    let parts = sweep.run(
        || (ScoreHistogram::new(), Buffers::default()),
        |(histogram, buffers), piece| {
            let tensor = &tensors[usize::from(piece.tensor)].name;
            histogram.add(buffers.sum(files, piece)?).map_err(|bad| SelectError::<Infallible>::BadScore {
                tensor: tensor.clone(),
                offset: piece.scores.start + bad.index as u64,
                score: bad.score,
            })?;
            Ok(())
        },
    )?;
    let mut histogram = ScoreHistogram::new();
    for (part, _) in &parts {
        histogram.merge(part);
    }
    drop(parts);
    let threshold = histogram.threshold(count);

    // One collector for all threads: a fork of it passes over what the others' finds rule out, and
    // holds no more than a piece gives.
    sweep.rename("Collecting the highest");
    let collector = Mutex::new(Collector::new(threshold));
    sweep.run(Buffers::default, |buffers, piece| {
        let mut fork = lock(&collector).fork();
        let first = u32::try_from(piece.scores.start).context("`competing` bounds offsets")?;
        fork.add(piece.tensor, first, buffers.sum(files, piece)?);
        lock(&collector).merge(&fork);
        Ok(())
    })?;
    sweep.finish();
    let mut ranked = collector.into_inner().unwrap_or_else(PoisonError::into_inner).finish_unsorted();
    check_count::<Infallible>(ranked.len(), threshold)?;
    ranked.par_sort_unstable_by(Ranked::rank);
    Ok(ranked)
}

/// The highest `max_k` percent of every group, in the order in which a growing k takes them in.
///
/// Memory: 12 bytes × 1.25 × what one tensor gives, in every thread, and 32 bytes a chosen parameter.
pub(crate) fn select_in_groups(
    files: &[ScoreFile],
    tensors: &[TensorSpec],
    scope: Scope,
    group: Group,
    max_k: f64,
) -> anyhow::Result<Vec<Ranked>> {
    // Pieces end where groups do.
    let mut pieces: Vec<Piece> = Vec::new();
    for (tensor, spec) in competing::<Infallible>(tensors, scope)? {
        let size = group.size(spec);
        let step = size * (PIECE / size).max(1);
        let starts = (0..spec.numel().div_ceil(step)).map(|number| number * step);
        pieces.extend(starts.map(|start| Piece { tensor, scores: start..(start + step).min(spec.numel()) }));
    }
    let sweep = Sweep::new("Ranking groups", &pieces, 1, |piece| piece.scores.end - piece.scores.start);
    let parts = sweep.run(
        || (Vec::new(), Buffers::default()),
        |(ranked, buffers): &mut (Vec<GroupRanked>, Buffers), piece| {
            let spec = &tensors[usize::from(piece.tensor)];
            let first = u32::try_from(piece.scores.start).context("`competing` bounds offsets")?;
            let scores = buffers.sum(files, piece)?;
            let top = top_of_groups(piece.tensor, first, scores, group.size(spec), max_k);
            ranked.extend(top.map_err(|bad| SelectError::<Infallible>::BadScore {
                tensor: spec.name.clone(),
                offset: piece.scores.start + bad.index as u64,
                score: bad.score,
            })?);
            Ok(())
        },
    )?;
    sweep.finish();
    let mut ranked: Vec<GroupRanked> = parts.into_iter().flat_map(|(ranked, _)| ranked).collect();
    ranked.par_sort_unstable_by(GroupRanked::order);
    Ok(ranked.into_iter().map(|ranked| ranked.entry).collect())
}

/// Calls `work(state, scores of each file)` for all pieces of the tensors in `scope`, on all threads;
/// returns the threads' states.
pub(crate) fn for_scores<S: Send>(
    name: &str,
    files: &[ScoreFile],
    tensors: &[TensorSpec],
    scope: Scope,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &[&[f32]]) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<Vec<S>> {
    let pieces = pieces(&competing::<Infallible>(tensors, scope)?);
    let sweep = Sweep::new(name, &pieces, 1, |piece| piece.scores.end - piece.scores.start);
    let states = sweep.run(
        || (state(), vec![Buffers::default(); files.len()]),
        |(state, buffers), piece| {
            let scores = buffers
                .iter_mut()
                .zip(files)
                .map(|(buffers, file)| buffers.sum(std::slice::from_ref(file), piece))
                .collect::<anyhow::Result<Vec<_>>>()?;
            work(state, &scores)
        },
    )?;
    sweep.finish();
    Ok(states.into_iter().map(|(state, _)| state).collect())
}

/// A run of scores of one tensor.
#[derive(Debug)]
struct Piece {
    tensor: u16,
    scores: Range<u64>,
}

fn pieces(competing: &[(u16, &TensorSpec)]) -> Vec<Piece> {
    competing
        .iter()
        .flat_map(|&(tensor, spec)| {
            let numel = spec.numel();
            (0..numel.div_ceil(PIECE)).map(move |number| {
                let start = number * PIECE;
                Piece { tensor, scores: start..(start + PIECE).min(numel) }
            })
        })
        .collect()
}

/// What a thread reads into when scores have to be added or moved.
#[derive(Default, Clone)]
struct Buffers {
    sum: Vec<f32>,
    values: Vec<f32>,
}

impl Buffers {
    /// The sum of the files' scores of a piece, added in f32 in their order, as the total is.
    fn sum<'a>(&'a mut self, files: &'a [ScoreFile], piece: &Piece) -> anyhow::Result<&'a [f32]> {
        let [first, others @ ..] = files else { anyhow::bail!("there are no scores to select from") };
        let bytes = first.bytes(piece)?;
        if others.is_empty()
            && cfg!(target_endian = "little")
            && let Ok(scores) = bytemuck::try_cast_slice(bytes)
        {
            return Ok(scores);
        }
        self.sum.clear();
        CheckpointDtype::F32.extend_f32(bytes, &mut self.sum);
        for file in others {
            self.values.clear();
            CheckpointDtype::F32.extend_f32(file.bytes(piece)?, &mut self.values);
            self.sum.iter_mut().zip(&self.values).for_each(|(sum, value)| *sum += value);
        }
        Ok(&self.sum)
    }
}

/// The scores of all tensors of a layout: one safetensors file, or several as a checkpoint has.
#[derive(Debug)]
pub(crate) struct ScoreFile {
    files: Vec<MappedFile>,
    /// By tensor of the layout: file, and byte in it of the first score.
    places: Vec<(usize, u64)>,
}

impl ScoreFile {
    /// Opens `paths` and finds every tensor of `tensors` in them.
    pub(crate) fn open(paths: &[PathBuf], tensors: &[TensorSpec]) -> anyhow::Result<Self> {
        let files = paths.iter().map(|path| MappedFile::open(path)).collect::<anyhow::Result<Vec<_>>>()?;
        let name = paths.first().map_or_else(String::new, |path| path.display().to_string());
        let mut known = std::collections::HashMap::new();
        for (number, file) in files.iter().enumerate() {
            let source = pollster::block_on(SafetensorsSource::open(vec![file]))?;
            for (index, info) in source.tensors().iter().enumerate() {
                let place = (number, source.file_offset(index));
                known.insert(info.name.clone(), (info.clone(), place));
            }
        }
        let places = tensors
            .iter()
            .map(|spec| match known.get(&spec.name) {
                Some((info, place)) if info.shape == spec.shape && info.dtype == CheckpointDtype::F32 => {
                    Ok(*place)
                }
                _ => Err(anyhow::anyhow!("{name} has no f32 scores for {} {:?}", spec.name, spec.shape)),
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Self { files, places })
    }

    /// Scores `range` of tensor `tensor`.
    pub(crate) fn read(&self, tensor: usize, range: Range<u64>) -> anyhow::Result<Vec<f32>> {
        let bytes = self.bytes(&Piece { tensor: u16::try_from(tensor)?, scores: range })?;
        let mut values = Vec::with_capacity(bytes.len() / 4);
        CheckpointDtype::F32.extend_f32(bytes, &mut values);
        Ok(values)
    }

    fn bytes(&self, piece: &Piece) -> anyhow::Result<&[u8]> {
        let (file, start) = self.places[usize::from(piece.tensor)];
        let end = start + 4 * piece.scores.end;
        let range = usize::try_from(start + 4 * piece.scores.start)?..usize::try_from(end)?;
        self.files[file].bytes().get(range).with_context(|| {
            format!("{} ends before the scores of tensor {}", self.files[file].name(), piece.tensor)
        })
    }
}

/// The `*.safetensors` files of a directory, by name.
pub(crate) fn safetensors_in(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let list = || -> std::io::Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(path)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "safetensors") {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    };
    let paths = list().with_context(|| format!("{} can't be read", path.display()))?;
    anyhow::ensure!(!paths.is_empty(), "{} has no *.safetensors; score again", path.display());
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use codingspot_core::config::LlamaConfig;
    use codingspot_core::layout::ParameterLayout;
    use codingspot_core::spot;
    use safetensors::tensor::{Dtype, TensorView};

    /// Three million parameters, so that tensors are cut into several pieces.
    fn layout() -> ParameterLayout {
        let config = LlamaConfig::from_json(
            r#"{"model_type":"llama","vocab_size":24000,"hidden_size":96,"intermediate_size":200,
            "num_hidden_layers":2,"num_attention_heads":2,"max_position_embeddings":8,"rms_norm_eps":1e-5}"#,
        );
        ParameterLayout::new(&config.unwrap())
    }

    /// Scores with many ties and full buckets, from a hash of seed and position.
    fn scores(layout: &ParameterLayout, seed: u64) -> Vec<Vec<f32>> {
        let score = |position: u64| {
            let mut x = (position ^ seed << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            x ^= x >> 29;
            x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32;
            match x % 4 {
                0 => (x >> 2) as f32 / 2_f32.powi(30),
                1 => 1.0 + (x >> 2 & 7) as f32 / 64.0,
                2 => 0.25,
                _ => 0.0,
            }
        };
        let tensor = |spec: &TensorSpec| (spec.start..spec.start + spec.numel()).map(score).collect();
        layout.tensors().iter().map(tensor).collect()
    }

    fn write(path: &Path, layout: &ParameterLayout, scores: &[Vec<f32>]) {
        let bytes: Vec<&[u8]> = scores.iter().map(|tensor| bytemuck::cast_slice(tensor)).collect();
        let views = layout.tensors().iter().zip(&bytes).map(|(spec, bytes)| {
            (spec.name.as_str(), TensorView::new(Dtype::F32, spec.shape.clone(), bytes).unwrap())
        });
        safetensors::serialize_to_file(views, None, path).unwrap();
    }

    fn in_one_thread(layout: &ParameterLayout, scope: Scope, count: u64, sum: &[Vec<f32>]) -> Vec<Ranked> {
        spot::select_top(layout, scope, count, |tensor, sink| {
            sum[tensor].chunks(12_345).for_each(sink);
            Ok::<_, Infallible>(())
        })
        .unwrap()
    }

    #[test]
    fn threads_and_files_give_what_one_thread_in_memory_gives() {
        let root = tempfile::tempdir().unwrap();
        let layout = layout();
        let mut sum: Vec<Vec<f32>> = Vec::new();
        let mut files = Vec::new();
        for seed in 0..3 {
            let path = root.path().join(format!("{seed}.safetensors"));
            let scores = scores(&layout, seed);
            write(&path, &layout, &scores);
            files.push(ScoreFile::open(&[path], layout.tensors()).unwrap());
            if sum.is_empty() {
                sum = scores;
            } else {
                let pairs = sum.iter_mut().flatten().zip(scores.iter().flatten());
                pairs.for_each(|(sum, score)| *sum += score);
            }
            for scope in [Scope::All, Scope::Blocks] {
                for (count, threads) in
                    [(0, 1), (1, 2), (30_000, 1), (30_000, 5), (1_000_000, 3), (u64::MAX, 2)]
                {
                    let expected = in_one_thread(&layout, scope, count, &sum);
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    let found = pool.install(|| select_top(&files, layout.tensors(), scope, count));
                    assert!(found.unwrap() == expected, "{scope:?} {count} {threads}");
                }
            }
        }
    }

    #[test]
    fn the_first_bad_score_is_named() {
        let root = tempfile::tempdir().unwrap();
        let layout = layout();
        let mut scores = scores(&layout, 0);
        scores[0][2_000_000] = f32::NAN;
        scores[0][1_500_000] = -1.0;
        let path = root.path().join("bad.safetensors");
        write(&path, &layout, &scores);
        let files = [ScoreFile::open(&[path], layout.tensors()).unwrap()];
        let error = select_top(&files, layout.tensors(), Scope::All, 10).unwrap_err().to_string();
        assert!(error.contains("embed_tokens.weight at offset 1500000 is -1"), "{error}");
        assert!(select_top(&files, layout.tensors(), Scope::Blocks, 10).is_ok());
    }
}
