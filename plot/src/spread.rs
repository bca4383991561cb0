//! Labels moved apart: which keep their place, which move, and which of many are shown.

/// Places for labels of given heights, as near to their targets as can be without overlapping, in the
/// order given, between `low` and `high`. Targets must not decrease. `None` if the room is too small.
///
/// Least squares: a run of labels that would overlap moves as one to the mean of where each wants to be.
pub(crate) fn spread(targets: &[f64], heights: &[f64], low: f64, high: f64) -> Option<Vec<f64>> {
    let total: f64 = heights.iter().sum();
    if total > high - low || targets.len() != heights.len() {
        return None;
    }
    // With the heights above subtracted, "no overlap" is "not decreasing".
    let mut above = Vec::with_capacity(targets.len());
    let mut sum = 0.0;
    for height in heights {
        above.push(sum + height / 2.0);
        sum += height;
    }
    let mut runs: Vec<(f64, usize)> = Vec::new();
    for (target, above) in targets.iter().zip(&above) {
        let mut run = (target - above, 1);
        while let Some(&(mean, count)) = runs.last() {
            if mean <= run.0 {
                break;
            }
            run = ((mean * count as f64 + run.0 * run.1 as f64) / (count + run.1) as f64, count + run.1);
            runs.pop();
        }
        runs.push(run);
    }
    let places = runs.iter().flat_map(|&(mean, count)| std::iter::repeat_n(mean, count));
    Some(places.zip(&above).map(|(place, above)| place.clamp(low, high - total) + above).collect())
}

/// Which of the labels along a line are shown, so that none overlaps: the last always, the first if it can.
pub(crate) fn thinned(places: &[f64], widths: &[f64], gap: f64) -> Vec<bool> {
    let mut shown = vec![false; places.len()];
    let Some(last) = places.len().checked_sub(1) else { return shown };
    let apart = |left: usize, right: usize| {
        places[right] - widths[right] / 2.0 - (places[left] + widths[left] / 2.0) >= gap
    };
    shown[last] = true;
    let mut before: Option<usize> = None;
    for (place, shown) in shown.iter_mut().enumerate().take(last) {
        if apart(place, last) && before.is_none_or(|before| apart(before, place)) {
            *shown = true;
            before = Some(place);
        }
    }
    shown
}

/// Which of the evenly spaced labels are shown: every so many, and always the last.
pub(crate) fn every_nth(count: usize, step: f64, widest: f64, gap: f64) -> Vec<bool> {
    let mut shown = vec![false; count];
    let Some(last) = count.checked_sub(1) else { return shown };
    let nth = [1, 2, 4, 5, 8, 10, 16, 20, 25, 32, 50, 64, 100, 200, 500, 1000, 10_000]
        .into_iter()
        .find(|&nth| nth as f64 * step >= widest + gap)
        .unwrap_or(usize::MAX);
    for place in (0..last).step_by(nth) {
        // One that would touch the last gives way to it.
        shown[place] = (last - place) as f64 * step >= widest + gap;
    }
    shown[last] = true;
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn labels_apart_stay_where_they_are() {
        assert_eq!(spread(&[10.0, 50.0], &[10.0, 10.0], 0.0, 100.0), Some(vec![10.0, 50.0]));
        assert_eq!(spread(&[50.0, 50.0], &[10.0, 10.0], 0.0, 100.0), Some(vec![45.0, 55.0]));
        assert_eq!(spread(&[50.0; 9], &[20.0; 9], 0.0, 100.0), None);
    }

    proptest! {
        #[test]
        fn spread_labels_keep_order_and_never_overlap(
            mut targets in proptest::collection::vec(-50.0..450.0_f64, 0..20),
            heights in proptest::collection::vec(5.0..20.0_f64, 20),
        ) {
            targets.sort_by(f64::total_cmp);
            let heights = &heights[..targets.len()];
            let places = spread(&targets, heights, 0.0, 400.0).unwrap();
            for place in 0..places.len() {
                prop_assert!(places[place] - heights[place] / 2.0 > -1e-9);
                prop_assert!(places[place] + heights[place] / 2.0 < 400.0 + 1e-9);
                if place > 0 {
                    let touch = f64::midpoint(heights[place], heights[place - 1]);
                    prop_assert!(places[place] - places[place - 1] > touch - 1e-9);
                }
            }
        }

        #[test]
        fn thinning_keeps_the_last_and_leaves_gaps(
            count in 1_usize..200, step in 0.5..60.0_f64, widest in 5.0..80.0_f64,
        ) {
            let shown = every_nth(count, step, widest, 4.0);
            prop_assert!(shown[count - 1]);
            let places: Vec<usize> = (0..count).filter(|&place| shown[place]).collect();
            for pair in places.windows(2) {
                prop_assert!((pair[1] - pair[0]) as f64 * step >= widest + 4.0);
            }
            let at: Vec<f64> = (0..count).map(|place| place as f64 * step).collect();
            let shown = thinned(&at, &vec![widest; count], 4.0);
            prop_assert!(shown[count - 1]);
            let kept = at.iter().zip(&shown).filter(|(_, shown)| **shown);
            let places: Vec<f64> = kept.map(|(at, _)| *at).collect();
            prop_assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= widest + 4.0 - 1e-9));
        }
    }
}
