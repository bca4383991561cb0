//! The pieces of an exact selection, which a caller may spread over threads: a histogram of the
//! scores, and what is kept of those that can still be among the highest.
//!
//! For numbers ≥ 0 the order of the bits is the order of the numbers, so the upper half of the bits
//! is a bucket, and counting buckets tells in which one the last chosen score lies. −0 counts as 0.

use super::Ranked;
use std::{fmt, iter};

/// Buckets: the sign bit is never set.
const BUCKETS: usize = 1 << 15;
/// Counters a bucket. Equal scores in a row are the rule, and an increment has to wait for the one
/// before it in the same place.
const LANES: usize = 4;
/// Bits of the largest score.
const LARGEST: u32 = f32::MAX.to_bits();
/// Scores that are looked at together, so that checking and counting find them in the cache.
const BLOCK: usize = 1 << 12;
/// Scores that are passed over together when none of them is high enough.
const GROUP: usize = 16;
/// Entries that are kept beyond a quarter more than the count.
const SLACK: usize = 1 << 14;

/// Bits of a score; −0 becomes 0. Negative numbers, infinities and NaN lie above [`LARGEST`].
fn bits(score: f32) -> u32 {
    (score + 0.0).to_bits()
}

/// A score that is negative, NaN or infinite.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("the score at {index} is {score}; expected a finite number ≥ 0")]
pub struct BadScore {
    /// Its index in the slice that was added.
    pub index: usize,
    /// The score.
    pub score: f32,
}

/// How many scores there are by the upper 16 bits of their f32 form.
///
/// Histograms of parts merge into that of the whole. Memory: 768 KiB.
#[derive(Clone)]
pub struct ScoreHistogram {
    /// Counts that fit 32 bits: less to keep in the cache.
    recent: Box<[[u32; LANES]]>,
    /// Sum of `recent`.
    recent_count: u64,
    counts: Box<[u64]>,
}

impl ScoreHistogram {
    /// Of no scores.
    pub fn new() -> Self {
        Self {
            recent: vec![[0; LANES]; BUCKETS].into_boxed_slice(),
            recent_count: 0,
            counts: vec![0; BUCKETS].into_boxed_slice(),
        }
    }

    /// Counts `scores`.
    ///
    /// # Errors
    /// [`BadScore`] for the first one that is not a finite number ≥ 0; then only some of those before
    /// it are counted.
    pub fn add(&mut self, scores: &[f32]) -> Result<(), BadScore> {
        for (number, block) in scores.chunks(BLOCK).enumerate() {
            // The upper bit says whether any is too high: it is set in the bits themselves, or in what
            // is left of the largest. The place matters only then.
            let seen =
                block.iter().map(|&score| bits(score)).fold(0, |seen, b| seen | b | LARGEST.wrapping_sub(b));
            if seen >> 31 != 0 {
                let place = block.iter().position(|&score| bits(score) > LARGEST).unwrap_or(0);
                return Err(BadScore { index: number * BLOCK + place, score: block[place] });
            }
            if self.recent_count > u64::from(u32::MAX / 2) {
                self.flush();
            }
            self.recent_count += block.len() as u64;
            // The mask is for the compiler, which then knows that the index is inside, and for −0.
            let bucket = |score: f32| (score.to_bits() >> 16) as usize & (BUCKETS - 1);
            let recent = &mut self.recent[..BUCKETS];
            let (groups, rest) = block.as_chunks::<LANES>();
            for group in groups {
                for (lane, &score) in group.iter().enumerate() {
                    recent[bucket(score)][lane] += 1;
                }
            }
            for (lane, &score) in rest.iter().enumerate() {
                recent[bucket(score)][lane] += 1;
            }
        }
        Ok(())
    }

    fn flush(&mut self) {
        for (count, recent) in self.counts.iter_mut().zip(&mut self.recent) {
            *count += recent.iter().map(|&lane| u64::from(lane)).sum::<u64>();
            *recent = [0; LANES];
        }
        self.recent_count = 0;
    }

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (count, bucket) in self.counts.iter_mut().zip(0..) {
            *count += other.of(bucket);
        }
    }

    fn of(&self, bucket: usize) -> u64 {
        self.counts[bucket] + self.recent[bucket].iter().map(|&lane| u64::from(lane)).sum::<u64>()
    }

    /// Number of scores.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.recent_count
    }

    /// By the upper 16 bits of the score, 65,536 counts (those of the upper half, the negative
    /// numbers, are 0).
    pub fn counts(&self) -> Vec<u64> {
        (0..BUCKETS).map(|bucket| self.of(bucket)).chain(iter::repeat_n(0, BUCKETS)).collect()
    }

    /// Where the `count` highest scores end.
    pub fn threshold(&self, count: u64) -> Threshold {
        let mut above = 0;
        let mut bucket = LARGEST >> 16;
        loop {
            let here = self.of(bucket as usize);
            if above + here >= count || bucket == 0 {
                let wanted = (count - above).min(here);
                return Threshold { bucket, above, wanted, here };
            }
            above += here;
            bucket -= 1;
        }
    }
}

impl Default for ScoreHistogram {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ScoreHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScoreHistogram").field("count", &self.count()).finish_non_exhaustive()
    }
}

/// The bucket in which the highest scores end, by a [`ScoreHistogram`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    bucket: u32,
    /// Scores in higher buckets: all are chosen.
    above: u64,
    /// Scores of the bucket that are chosen.
    wanted: u64,
    /// Scores of the bucket.
    here: u64,
}

impl Threshold {
    /// Number of scores that are chosen: as many as were asked for, or all that there are.
    pub fn count(&self) -> u64 {
        self.above + self.wanted
    }
}

/// Entries that may be among the highest, never much more than are wanted.
#[derive(Debug, Clone)]
struct Kept {
    ranked: Vec<Ranked>,
    /// Bits of the lowest score that may be chosen.
    floor: u32,
    /// The entry after which nothing is chosen, once one is known; its score is the floor.
    cut: Option<Ranked>,
    /// Most entries at a time.
    limit: usize,
}

impl Kept {
    /// For the `count` highest of scores of at least `floor`.
    fn new(count: u64, floor: u32) -> Self {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        Self {
            ranked: Vec::new(),
            floor,
            cut: None,
            limit: count.saturating_add(count / 4).saturating_add(SLACK),
        }
    }

    /// Whether `more` entries need a [`Self::prune`] first.
    fn is_full_for(&self, more: usize) -> bool {
        self.ranked.len().saturating_add(more) > self.limit
    }

    /// Keeps those of `scores`, which begin at `first` of `tensor`, that may be chosen.
    fn add(&mut self, tensor: u16, first: u32, scores: &[f32]) {
        let after_cut = self.cut.is_some_and(|cut| (tensor, first) > (cut.tensor, cut.offset));
        // What ties with the cut and comes after it is not chosen.
        let floor = self.floor + u32::from(after_cut);
        let Ok(below) = i32::try_from(i64::from(floor) - 1) else { return };
        // One comparison for many lanes. What is above the largest, which the first pass would have
        // refused, is left out one by one.
        let high = |score: f32| bits(score).cast_signed() > below;
        let (groups, rest) = scores.as_chunks::<GROUP>();
        let rest_first = first.saturating_add(u32::try_from(scores.len() - rest.len()).unwrap_or(u32::MAX));
        for (first, group) in (first..=u32::MAX).step_by(GROUP).zip(groups) {
            if group.iter().fold(false, |any, &score| any | high(score)) {
                self.push_high(tensor, first, group, floor);
            }
        }
        self.push_high(tensor, rest_first, rest, floor);
    }

    /// Keeps those of a few scores that are at least `floor`.
    fn push_high(&mut self, tensor: u16, first: u32, scores: &[f32], floor: u32) {
        for (&score, offset) in scores.iter().zip(first..=u32::MAX) {
            if (floor..=LARGEST).contains(&bits(score)) {
                self.ranked.push(Ranked { score: score + 0.0, tensor, offset });
            }
        }
    }

    /// Drops what is below `threshold`'s bucket, and in it all but the first that are wanted.
    fn prune(&mut self, threshold: Threshold) {
        let start = threshold.bucket << 16;
        let end = start | 0xffff;
        let mut above = 0;
        let mut inside = 0;
        // Three runs grow from the left: above the bucket, inside it, and below it.
        for place in 0..self.ranked.len() {
            let score = bits(self.ranked[place].score);
            if score >= start {
                self.ranked.swap(place, above + inside);
                if score > end {
                    self.ranked.swap(above + inside, above);
                    above += 1;
                } else {
                    inside += 1;
                }
            }
        }
        self.ranked.truncate(above + inside);
        if self.floor < start {
            (self.floor, self.cut) = (start, None);
        }
        let wanted = usize::try_from(threshold.wanted).unwrap_or(usize::MAX);
        if inside > wanted {
            if let Some(last) = wanted.checked_sub(1) {
                let (_, &mut cut, _) = self.ranked[above..].select_nth_unstable_by(last, Ranked::rank);
                (self.floor, self.cut) = (bits(cut.score), Some(cut));
            } else {
                (self.floor, self.cut) = (end + 1, None);
            }
            self.ranked.truncate(above + wanted);
        }
    }
}

/// The second pass: what is chosen by a [`Threshold`], from parts in any order.
///
/// The result does not depend on how the scores are cut into parts, on the order in which parts are
/// added, or on how collectors are merged. Memory: at most 12 bytes × 1.25 × the count, and 192 KiB.
#[derive(Debug, Clone)]
pub struct Collector {
    kept: Kept,
    threshold: Threshold,
}

impl Collector {
    /// Of no scores yet. The buffer is reserved at once.
    pub fn new(threshold: Threshold) -> Self {
        let mut kept = Kept::new(threshold.count(), threshold.bucket << 16);
        let most = usize::try_from(threshold.above + threshold.here).unwrap_or(usize::MAX);
        kept.ranked.reserve_exact(kept.limit.min(most));
        Self { kept, threshold }
    }

    /// An empty one that passes over what this one need not see: for a part of the scores, to be
    /// merged.
    #[must_use]
    pub fn fork(&self) -> Self {
        let kept = Kept { ranked: Vec::new(), ..self.kept };
        Self { kept, threshold: self.threshold }
    }

    /// Takes what may be chosen of `scores`, which are those of `tensor` from offset `first` on.
    ///
    /// # Panics
    /// If an offset doesn't fit 32 bits.
    pub fn add(&mut self, tensor: u16, first: u32, scores: &[f32]) {
        for (first, block) in blocks(first, scores) {
            self.make_room(block.len());
            self.kept.add(tensor, first, block);
        }
    }

    /// Takes what `other`, of the same threshold, has.
    pub fn merge(&mut self, other: &Self) {
        for block in other.kept.ranked.chunks(BLOCK) {
            self.make_room(block.len());
            let cut = self.kept.cut;
            let may = |entry: &Ranked| cut.is_none_or(|cut| entry.rank(&cut).is_le());
            self.kept.ranked.extend(block.iter().copied().filter(may));
        }
    }

    fn make_room(&mut self, more: usize) {
        if self.kept.is_full_for(more) {
            self.kept.prune(self.threshold);
        }
    }

    /// What was chosen, in rank order.
    pub fn finish(self) -> Vec<Ranked> {
        let mut ranked = self.finish_unsorted();
        ranked.sort_unstable_by(Ranked::rank);
        ranked
    }

    /// What was chosen, in no order: for callers that sort it by [`Ranked::rank`] on several threads.
    pub fn finish_unsorted(mut self) -> Vec<Ranked> {
        self.kept.prune(self.threshold);
        self.kept.ranked
    }
}

/// The exact highest scores in one pass, for scores that stream by once.
///
/// The same result as two passes, whatever the parts and their order. Memory: at most 12 bytes × 1.25
/// × the count, and 1 MiB.
#[derive(Debug, Clone)]
pub struct StreamingTop {
    count: u64,
    histogram: ScoreHistogram,
    kept: Kept,
}

impl StreamingTop {
    /// For the `count` highest. The buffer is reserved at once: `count` should be one that the model
    /// has parameters for.
    pub fn new(count: u64) -> Self {
        let mut kept = Kept::new(count, if count == 0 { LARGEST + 1 } else { 0 });
        // Where so much can't be reserved it grows as far as there are scores.
        drop(kept.ranked.try_reserve_exact(kept.limit));
        Self { count, histogram: ScoreHistogram::new(), kept }
    }

    /// Takes `scores`, which are those of `tensor` from offset `first` on.
    ///
    /// # Errors
    /// [`BadScore`] for the first one that is not a finite number ≥ 0; then nothing more should be
    /// added.
    ///
    /// # Panics
    /// If an offset doesn't fit 32 bits.
    pub fn add(&mut self, tensor: u16, first: u32, scores: &[f32]) -> Result<(), BadScore> {
        for (number, (first, block)) in blocks(first, scores).enumerate() {
            if self.kept.is_full_for(block.len()) {
                self.kept.prune(self.histogram.threshold(self.count));
            }
            self.histogram.add(block).map_err(|bad| BadScore { index: number * BLOCK + bad.index, ..bad })?;
            self.kept.add(tensor, first, block);
        }
        Ok(())
    }

    /// The histogram of all scores so far.
    pub fn histogram(&self) -> &ScoreHistogram {
        &self.histogram
    }

    /// What was chosen, in rank order, and the histogram of all scores.
    pub fn finish(mut self) -> (Vec<Ranked>, ScoreHistogram) {
        self.kept.prune(self.histogram.threshold(self.count));
        self.kept.ranked.sort_unstable_by(Ranked::rank);
        (self.kept.ranked, self.histogram)
    }
}

/// Scores in blocks, each with the offset of its first.
fn blocks(first: u32, scores: &[f32]) -> impl Iterator<Item = (u32, &[f32])> {
    let end = u64::from(first) + scores.len() as u64;
    assert!(end <= 1 << 32, "offsets up to {end} don't fit 32 bits");
    (first..=u32::MAX).step_by(BLOCK).zip(scores.chunks(BLOCK))
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Few distinct values, near neighbours and both zeros: ties and full buckets are the hard cases.
    fn score() -> impl Strategy<Value = f32> {
        prop_oneof![
            Just(0.0_f32),
            Just(-0.0_f32),
            Just(1.0_f32),
            Just(f32::MAX),
            (0_u32..4).prop_map(|ulp| f32::from_bits(1.0_f32.to_bits() + ulp)),
            0.0_f32..1e-30,
            0.0_f32..10.0,
        ]
    }

    /// A part of the scores: tensor, first offset, scores.
    type Part = (u16, u32, Vec<f32>);

    /// Parts in any order, some tensors long enough to be pruned many times when `SLACK` is filled.
    fn parts() -> impl Strategy<Value = Vec<Part>> {
        let short = proptest::collection::vec(score(), 0..300);
        // Patterns, as drawing tens of thousands of scores one by one takes too long.
        let long = (proptest::collection::vec(score(), 1..40), 0_usize..40_000)
            .prop_map(|(pattern, len)| pattern.into_iter().cycle().take(len).collect::<Vec<f32>>());
        let tensors = proptest::collection::vec(prop_oneof![3 => short, 2 => long], 1..6);
        (tensors, 1_usize..9000)
            .prop_map(|(tensors, chunk)| {
                let mut parts = Vec::new();
                for (tensor, scores) in tensors.into_iter().enumerate() {
                    for (number, part) in scores.chunks(chunk.max(scores.len() / 50)).enumerate() {
                        let first = number * chunk.max(scores.len() / 50);
                        parts.push((tensor as u16, first as u32, part.to_vec()));
                    }
                }
                parts
            })
            .prop_shuffle()
    }

    /// The definition: sort everything.
    fn reference(parts: &[Part], count: usize) -> Vec<(u32, u16, u32)> {
        let mut all: Vec<(u32, u16, u32)> = parts
            .iter()
            .flat_map(|(tensor, first, scores)| {
                scores.iter().zip(*first..).map(|(score, offset)| (score.abs().to_bits(), *tensor, offset))
            })
            .collect();
        all.sort_unstable_by_key(|&(bits, tensor, offset)| (!bits, tensor, offset));
        all.truncate(count);
        all
    }

    fn plain(ranked: &[Ranked]) -> Vec<(u32, u16, u32)> {
        ranked.iter().map(|r| (r.score.to_bits(), r.tensor, r.offset)).collect()
    }

    fn total(parts: &[Part]) -> usize {
        parts.iter().map(|(.., scores)| scores.len()).sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn two_passes_equal_sorting_everything(
            parts in parts(), fraction in 0.0_f64..=1.1, small in any::<bool>(), turns in proptest::collection::vec(0_usize..3, 64),
        ) {
            let count = (total(&parts) as f64 * if small { fraction * 0.01 } else { fraction }) as usize;
            let mut histograms = vec![ScoreHistogram::new(); 3];
            for ((.., scores), turn) in parts.iter().zip(turns.iter().cycle()) {
                histograms[*turn].add(scores).unwrap();
            }
            let mut histogram = histograms.pop().unwrap();
            histograms.iter().for_each(|other| histogram.merge(other));
            prop_assert_eq!(histogram.count(), total(&parts) as u64);
            let threshold = histogram.threshold(count as u64);
            prop_assert_eq!(threshold.count(), count.min(total(&parts)) as u64);

            // One collector; three that are merged; one fork a part, as threads do.
            let mut one = Collector::new(threshold);
            let mut three = vec![Collector::new(threshold); 3];
            let mut shared = Collector::new(threshold);
            for ((tensor, first, scores), turn) in parts.iter().zip(turns.iter().cycle()) {
                one.add(*tensor, *first, scores);
                three[*turn].add(*tensor, *first, scores);
                let mut fork = shared.fork();
                fork.add(*tensor, *first, scores);
                shared.merge(&fork);
                prop_assert!(one.kept.ranked.len() <= count + count / 4 + SLACK);
                prop_assert!(shared.kept.ranked.len() <= count + count / 4 + SLACK);
            }
            let last = three.pop().unwrap();
            let merged = three.into_iter().fold(last, |mut sum, other| { sum.merge(&other); sum });
            let expected = reference(&parts, count);
            prop_assert_eq!(plain(&one.finish()), expected.clone());
            prop_assert_eq!(plain(&merged.finish()), expected.clone());
            prop_assert_eq!(plain(&shared.finish()), expected);
        }

        #[test]
        fn one_pass_equals_sorting_everything(parts in parts(), fraction in 0.0_f64..=1.1, small in any::<bool>()) {
            let count = (total(&parts) as f64 * if small { fraction * 0.01 } else { fraction }) as usize;
            let mut top = StreamingTop::new(count as u64);
            let mut histogram = ScoreHistogram::new();
            for (tensor, first, scores) in &parts {
                top.add(*tensor, *first, scores).unwrap();
                histogram.add(scores).unwrap();
                prop_assert!(top.kept.ranked.len() <= count + count / 4 + SLACK);
            }
            let (ranked, seen) = top.finish();
            prop_assert_eq!(plain(&ranked), reference(&parts, count));
            prop_assert_eq!(seen.counts(), histogram.counts());
        }
    }

    #[test]
    fn memory_stays_a_little_above_the_count() {
        let count = 100_000_u64;
        let mut top = StreamingTop::new(count);
        // Rising scores are the worst case: every one is the best so far.
        for block in 0..200_u32 {
            let scores: Vec<f32> = (0..10_000).map(|i| (block * 10_000 + i) as f32).collect();
            top.add(0, block * 10_000, &scores).unwrap();
        }
        let bytes = top.kept.ranked.capacity() * size_of::<Ranked>() + BUCKETS * (8 + 4 * LANES);
        assert!(bytes as u64 <= count * 12 * 13 / 10 + (1 << 20), "{bytes}");
        let (ranked, _) = top.finish();
        assert!(ranked.iter().zip(0..).all(|(r, rank)| r.offset == 1_999_999 - rank));
        assert_eq!(ranked.len() as u64, count);
    }

    #[test]
    fn bad_scores_are_found_wherever_they_are() {
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0, -f32::MIN_POSITIVE] {
            for index in [0, 1, 4095, 4096, 9999] {
                let mut scores = vec![0.5; 10_000];
                scores[index] = bad;
                let found = ScoreHistogram::new().add(&scores).unwrap_err();
                assert_eq!((found.index, found.score.to_bits()), (index, bad.to_bits()));
                assert_eq!(StreamingTop::new(3).add(0, 0, &scores).unwrap_err().index, index);
            }
        }
        let mut histogram = ScoreHistogram::new();
        histogram.add(&[0.0, -0.0, f32::MAX, f32::from_bits(1)]).unwrap();
        assert_eq!((histogram.counts()[0], histogram.counts()[0x7f7f], histogram.count()), (3, 1, 4));
    }

    #[test]
    fn counts_that_no_model_has_are_taken() {
        let mut top = StreamingTop::new(u64::MAX);
        top.add(7, u32::MAX - 1, &[1.0, 2.0]).unwrap();
        let (ranked, _) = top.finish();
        assert_eq!(plain(&ranked), [(2.0_f32.to_bits(), 7, u32::MAX), (1.0_f32.to_bits(), 7, u32::MAX - 1)]);
    }
}
