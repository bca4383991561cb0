//! Safetensors files, one or many, as a [`TensorSource`].

use super::source::{self, ByteSource, TensorSource};
use super::{CheckpointDtype, CheckpointError};
use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

/// Bytes of the little-endian header length at the start of a file.
const LENGTH_BYTES: u64 = 8;
/// Longest header that is read; the safetensors library's own limit.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// How a Git LFS pointer starts (git-lfs specification).
const LFS_MAGIC: &[u8] = b"version https://git-lfs";

/// `model.safetensors.index.json`: which file holds which tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

impl ShardIndex {
    /// Parses the text of an index.
    ///
    /// # Errors
    /// [`CheckpointError::Index`] when it is not JSON, has no entries, or names a file outside its
    /// own directory.
    pub fn from_json(file: &str, text: &str) -> Result<Self, CheckpointError> {
        #[derive(serde::Deserialize)]
        struct Raw {
            weight_map: BTreeMap<String, String>,
        }
        let refuse = |reason: String| CheckpointError::Index { file: file.to_owned(), reason };
        let raw: Raw = serde_json::from_str(text)
            .map_err(|error| refuse(format!("can't be read as a safetensors index: {error}")))?;
        if raw.weight_map.is_empty() {
            return Err(refuse("its weight_map is empty".to_owned()));
        }
        for name in raw.weight_map.values() {
            if name.is_empty() || name.contains(['/', '\\', '\0']) || name == "." || name == ".." {
                return Err(refuse(format!("names the file {name:?}; expected a plain file name beside it")));
            }
        }
        Ok(Self { weight_map: raw.weight_map })
    }

    /// The shards' file names, sorted.
    pub fn files(&self) -> BTreeSet<&str> {
        self.weight_map.values().map(String::as_str).collect()
    }
}

/// The head of a safetensors file whose tensors follow in the order of `tensors`: for files that are
/// written piece by piece. Its length is a multiple of 8, as the library makes it.
///
/// # Errors
/// [`SafeTensorError`] when a tensor's size overflows.
pub fn safetensors_head(
    metadata: &[(&str, &str)],
    tensors: Vec<(String, Dtype, Vec<usize>)>,
) -> Result<Vec<u8>, SafeTensorError> {
    let mut end = 0_usize;
    let mut infos = Vec::with_capacity(tensors.len());
    for (name, dtype, shape) in tensors {
        let start = end;
        end = shape
            .iter()
            .try_fold(1_usize, |product, &d| product.checked_mul(d))
            .and_then(|numel| numel.checked_mul(dtype.bitsize()))
            .and_then(|bits| start.checked_add(bits / 8))
            .ok_or(SafeTensorError::ValidationOverflow)?;
        infos.push((name, TensorInfo { dtype, shape, data_offsets: (start, end) }));
    }
    let metadata: HashMap<String, String> =
        metadata.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    let header = serde_json::to_vec(&Metadata::new(Some(metadata), infos)?)?;
    let length = header.len().next_multiple_of(8);
    let mut head = (length as u64).to_le_bytes().to_vec();
    head.extend(header);
    head.resize(8 + length, b' ');
    Ok(head)
}

/// One or more safetensors files.
#[derive(Debug)]
pub struct SafetensorsSource<B> {
    shards: Vec<B>,
    infos: Vec<source::TensorInfo>,
    places: Vec<(usize, u64)>,
}

impl<B: ByteSource> SafetensorsSource<B> {
    /// Reads and checks the headers. Tensors are ordered by shard, then by place in it.
    ///
    /// # Errors
    /// [`CheckpointError`] for a pointer file, a truncated file, a header that is malformed, a
    /// tensor in two shards, or one stored in another type than F32, F16 or BF16.
    pub async fn open(shards: Vec<B>) -> Result<Self, CheckpointError> {
        let mut infos = Vec::new();
        let mut places = Vec::new();
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for (shard_index, shard) in shards.iter().enumerate() {
            let (data_start, metadata) = read_header(shard).await?;
            for name in metadata.offset_keys() {
                let info = metadata.info(&name).expect("the key comes from the same metadata");
                if let Some(first) = seen.insert(name.clone(), shard_index) {
                    return Err(CheckpointError::DuplicateTensor {
                        name,
                        first: shards[first].name().to_owned(),
                        second: shard.name().to_owned(),
                    });
                }
                let Some(dtype) = CheckpointDtype::from_safetensors(info.dtype) else {
                    return Err(CheckpointError::UnsupportedDtype {
                        name,
                        found: format!("{:?}", info.dtype),
                    });
                };
                places.push((shard_index, data_start + info.data_offsets.0 as u64));
                infos.push(source::TensorInfo { name, dtype, shape: info.shape.clone() });
            }
        }
        Ok(Self { shards, infos, places })
    }

    /// Byte of its file at which the storage of tensor `index` begins.
    pub fn file_offset(&self, index: usize) -> u64 {
        self.places[index].1
    }

    /// Checks that every tensor of `index` is in the file that it names. `file` is the index's own
    /// name.
    ///
    /// # Errors
    /// [`CheckpointError::Index`] naming the first tensor that is not.
    pub fn check_index(&self, file: &str, index: &ShardIndex) -> Result<(), CheckpointError> {
        let found: BTreeMap<&str, &str> = self
            .infos
            .iter()
            .zip(&self.places)
            .map(|(info, (shard, _))| (info.name.as_str(), self.shards[*shard].name()))
            .collect();
        for (tensor, shard) in &index.weight_map {
            let there = found.get(tensor.as_str());
            if !there.is_some_and(|name| name.rsplit(['/', '\\']).next() == Some(shard)) {
                return Err(CheckpointError::Index {
                    file: file.to_owned(),
                    reason: format!("says that {tensor} is in {shard}, but it is not there"),
                });
            }
        }
        Ok(())
    }
}

impl<B: ByteSource> TensorSource for SafetensorsSource<B> {
    fn tensors(&self) -> &[source::TensorInfo] {
        &self.infos
    }

    async fn read(&self, index: usize, range: Range<u64>) -> Result<Cow<'_, [u8]>, CheckpointError> {
        let (shard, start) = self.places[index];
        Ok(self.shards[shard].read(start + range.start..start + range.end).await?)
    }
}

async fn read_header<B: ByteSource>(shard: &B) -> Result<(u64, Metadata), CheckpointError> {
    let refuse =
        |reason: &str| CheckpointError::Header { file: shard.name().to_owned(), reason: reason.to_owned() };
    let magic = shard.read(0..shard.len().min(LFS_MAGIC.len() as u64)).await?;
    if &*magic == LFS_MAGIC {
        return Err(CheckpointError::LfsPointer { file: shard.name().to_owned() });
    }
    let Some(length) = magic.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes)) else {
        return Err(refuse("it has fewer than 8 bytes"));
    };
    if length > MAX_HEADER_BYTES {
        return Err(refuse("its first 8 bytes are not the length of a header"));
    }
    let data_start = LENGTH_BYTES + length;
    if data_start > shard.len() {
        return Err(CheckpointError::Truncated {
            file: shard.name().to_owned(),
            found: shard.len(),
            expected: data_start,
        });
    }
    let header = shard.read(LENGTH_BYTES..data_start).await?;
    let metadata: Metadata = serde_json::from_slice(&header).map_err(|error| refuse(&error.to_string()))?;
    let expected = data_start + metadata.data_len() as u64;
    match shard.len().cmp(&expected) {
        std::cmp::Ordering::Less => {
            Err(CheckpointError::Truncated { file: shard.name().to_owned(), found: shard.len(), expected })
        }
        std::cmp::Ordering::Greater => Err(CheckpointError::TrailingBytes {
            file: shard.name().to_owned(),
            found: shard.len(),
            expected,
        }),
        std::cmp::Ordering::Equal => Ok((data_start, metadata)),
    }
}
