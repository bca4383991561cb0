//! From a ranking to levels.

use super::{LevelsError, LevelsHeader, MAGIC, MAX_HEADER_BYTES, VERSION, rice};

/// The file of a ranking: `tensor` and `offset` by rank, cut at `header.levels`, the last of which is
/// the whole ranking. Memory: the file, and 12 bytes for each parameter of the largest level.
///
/// # Errors
/// [`LevelsError::Malformed`] when the header does not fit the ranking, or a parameter is outside its
/// tensor or in a level twice.
pub fn write_levels(header: &LevelsHeader, tensor: &[u16], offset: &[u32]) -> Result<Vec<u8>, LevelsError> {
    header.check()?;
    let malformed = |reason: String| LevelsError::Malformed(reason);
    if tensor.len() != offset.len() || tensor.len() as u64 != header.num_parameters() {
        return Err(malformed(format!(
            "the ranking has {} tensors and {} offsets, its levels {} parameters",
            tensor.len(),
            offset.len(),
            header.num_parameters()
        )));
    }
    let json = serde_json::to_vec(header).map_err(|error| malformed(error.to_string()))?;
    let header_len = u32::try_from(json.len()).ok().filter(|_| json.len() <= MAX_HEADER_BYTES);
    let header_len = header_len.ok_or_else(|| malformed(format!("its header has {} bytes", json.len())))?;
    let mut out = Vec::with_capacity(json.len() + 2 * tensor.len());
    out.extend(MAGIC);
    out.extend(VERSION.to_le_bytes());
    out.extend(header_len.to_le_bytes());
    out.extend(json);

    let mut start = 0;
    let mut values = Vec::new();
    for &end in &header.levels {
        // No more than there are, as was checked above.
        let end = usize::try_from(end).unwrap_or(usize::MAX);
        let places = tensor[start..end].iter().zip(&offset[start..end]);
        let mut places: Vec<(u16, u32)> = places.map(|(&tensor, &offset)| (tensor, offset)).collect();
        places.sort_unstable();
        start = end;
        let mut rest = places.as_slice();
        for (index, of) in header.tensors.iter().enumerate() {
            let count = rest.partition_point(|&(tensor, _)| usize::from(tensor) <= index);
            let (segment, later) = rest.split_at(count);
            rest = later;
            values.clear();
            let mut next = 0;
            for &(_, offset) in segment {
                if u64::from(offset) < next || u64::from(offset) >= of.numel() {
                    let reason = format!("offset {offset} of {} is outside it, or there twice", of.name);
                    return Err(malformed(reason));
                }
                values.push(u32::try_from(u64::from(offset) - next).expect("no more than the offset"));
                next = u64::from(offset) + 1;
            }
            write_segment(&values, &mut out);
        }
        if let Some((tensor, _)) = rest.first() {
            return Err(malformed(format!("tensor {tensor} is past its {} tensors", header.tensors.len())));
        }
    }
    Ok(out)
}

fn write_segment(values: &[u32], out: &mut Vec<u8>) {
    let mut count = values.len();
    loop {
        let [low, ..] = count.to_le_bytes();
        count >>= 7;
        if count == 0 {
            out.push(low & 0x7F);
            break;
        }
        out.push(low | 0x80);
    }
    if !values.is_empty() {
        let parameter = rice::best_parameter(values);
        out.push(parameter);
        rice::write(values, parameter, out);
    }
}
