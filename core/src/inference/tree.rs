//! Sequences as a prefix tree, walked depth first and cut into passes.
//!
//! The store has a row for every position, which hold the path from the root to where the walk stands, and behind
//! them rows for what a pass adds; after a pass, what of it the next one needs moves to its positions. So the store
//! is as large as the longest sequence and a pass, however many sequences there are.

use super::pass::TokenPass;
use crate::kernels::span_attention::PassKind;
use std::ops::Range;

/// A node whose prediction is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Want {
    /// Row of the pass.
    pub(super) row: usize,
    /// The sequence that wants it.
    pub(super) sequence: usize,
    /// Position in that sequence.
    pub(super) position: usize,
}

/// A pass, and what to do after it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) pass: TokenPass,
    pub(super) wants: Vec<Want>,
    /// Rows of the store that move, and to where, before the next pass.
    pub(super) keep: Vec<(Range<usize>, usize)>,
}

/// A sequence's tokens, and from which position on predictions are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node<'a> {
    pub(super) tokens: &'a [u32],
    pub(super) wanted: usize,
}

/// Cuts sequences into passes.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    nodes: Vec<Node<'a>>,
    /// Sequences in the order in which they are walked.
    order: Vec<usize>,
    /// By place in `order`: positions that the sequence before has in common.
    shared: Vec<usize>,
    /// By place in `order`: sequences that want predictions at its own positions, and which.
    wants: Vec<Vec<(usize, usize)>>,
    /// Rows that hold the path so far, by position.
    path: Vec<usize>,
    /// Rows for positions.
    positions: usize,
    pass_tokens: usize,
    /// Place in `order`, and the next position of that sequence; `None`: not begun.
    next: usize,
    begun: Option<usize>,
}

fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl<'a> Walk<'a> {
    /// Passes of at most `pass_tokens` tokens (at least 1). Without `share`, every sequence is computed by itself.
    pub(super) fn new(nodes: Vec<Node<'a>>, pass_tokens: usize, share: bool) -> Self {
        let mut order: Vec<usize> = (0..nodes.len()).collect();
        if share {
            order.sort_by_key(|&i| nodes[i].tokens);
        }
        let mut shared = vec![0; order.len()];
        let mut wants = vec![Vec::new(); order.len()];
        // Which sequence has computed the path's node at each position.
        let mut owners: Vec<usize> = Vec::new();
        for place in 0..order.len() {
            let node = nodes[order[place]];
            if share && place > 0 {
                shared[place] = common(nodes[order[place - 1]].tokens, node.tokens);
            }
            owners.truncate(shared[place]);
            owners.resize(node.tokens.len(), place);
            for position in node.wanted..node.tokens.len() {
                wants[owners[position]].push((order[place], position));
            }
        }
        let positions = nodes.iter().map(|node| node.tokens.len()).max().unwrap_or(0);
        let pass_tokens = pass_tokens.max(1);
        Self { nodes, order, shared, wants, path: Vec::new(), positions, pass_tokens, next: 0, begun: None }
    }

    /// Rows that the store needs.
    pub(super) fn rows(&self) -> usize {
        self.positions + self.pass_tokens
    }

    /// Tokens that all passes will have together.
    pub(super) fn tokens(&self) -> usize {
        let own = |(place, &i): (usize, &usize)| self.nodes[i].tokens.len() - self.shared[place];
        self.order.iter().enumerate().map(own).sum()
    }

    /// The next pass.
    pub(super) fn step(&mut self) -> Option<Step> {
        let mut pass = TokenPass::new(PassKind::Prefill);
        let mut wants = Vec::new();
        let mut left = self.pass_tokens;
        while let Some(&sequence) = self.order.get(self.next) {
            let tokens = self.nodes[sequence].tokens;
            let start = *self.begun.get_or_insert(self.shared[self.next]);
            let end = tokens.len().min(start + left);
            if end > start {
                self.path.truncate(start);
                let own = self.positions + self.pass_tokens - left;
                let row = pass.tokens.len();
                pass.push(&tokens[start..end], runs(&self.path), own);
                self.path.extend(own..own + end - start);
                let own_wants = self.wants[self.next].iter().filter(|(_, at)| (start..end).contains(at));
                wants.extend(own_wants.map(|&(sequence, position)| Want {
                    row: row + position - start,
                    sequence,
                    position,
                }));
                left -= end - start;
            }
            if end < tokens.len() {
                self.begun = Some(end);
                break;
            }
            self.begun = None;
            self.next += 1;
        }
        if pass.tokens.is_empty() {
            return None;
        }
        let keep = self.keep();
        Some(Step { pass, wants, keep })
    }

    /// What of the path the next pass begins with, and does not lie at its positions yet.
    fn keep(&mut self) -> Vec<(Range<usize>, usize)> {
        let needed = match (self.begun, self.shared.get(self.next)) {
            (Some(begun), _) => begun,
            (None, Some(&shared)) => shared,
            (None, None) => 0,
        };
        self.path.truncate(needed);
        let settled = self.path.iter().take_while(|&&row| row < self.positions).count();
        let mut to = settled;
        let mut moves = Vec::new();
        for run in runs(&self.path[settled..]) {
            to += run.len();
            moves.push((run.clone(), to - run.len()));
        }
        self.path.splice(settled.., settled..needed);
        moves
    }
}

/// Neighbouring rows as ranges.
fn runs(rows: &[usize]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for &row in rows {
        match runs.last_mut() {
            Some(run) if run.end == row => run.end += 1,
            _ => runs.push(row..row + 1),
        }
    }
    runs
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Walks with a store that remembers which token of which prefix every row holds, and checks that all that a
    /// token sees is its own prefix. Returns the wanted predictions and the number of tokens.
    fn follow(
        sequences: &[Vec<u32>],
        wanted: &[usize],
        pass_tokens: usize,
        share: bool,
    ) -> (Vec<Want>, usize) {
        let nodes = sequences.iter().zip(wanted).map(|(tokens, &wanted)| Node { tokens, wanted }).collect();
        let mut walk = Walk::new(nodes, pass_tokens, share);
        let expected = walk.tokens();
        let mut store: Vec<Vec<u32>> = vec![vec![u32::MAX]; walk.rows()];
        let mut found = Vec::new();
        let mut total = 0;
        while let Some(step) = walk.step() {
            assert!(step.pass.tokens.len() <= pass_tokens);
            total += step.pass.tokens.len();
            let mut prefixes = Vec::new();
            let mut row = 0;
            for segment in &step.pass.segments {
                let mut prefix: Vec<u32> = Vec::new();
                for (position, at) in segment.past.iter().cloned().flatten().enumerate() {
                    assert_eq!(store[at].len(), position + 1);
                    prefix = store[at].clone();
                }
                for i in 0..segment.len {
                    prefix.push(step.pass.tokens[row]);
                    store[segment.own + i] = prefix.clone();
                    prefixes.push(prefix.clone());
                    row += 1;
                }
            }
            for want in step.wants {
                assert_eq!(prefixes[want.row], sequences[want.sequence][..=want.position]);
                found.push(want);
            }
            for (rows, to) in step.keep {
                assert!(to + rows.len() <= rows.start);
                for (i, row) in rows.enumerate() {
                    store[to + i] = store[row].clone();
                }
            }
        }
        assert_eq!(total, expected);
        (found, total)
    }

    fn sequences() -> impl Strategy<Value = Vec<Vec<u32>>> {
        // Few tokens, so that much is shared.
        prop::collection::vec(prop::collection::vec(0_u32..3, 1..12), 1..14)
    }

    proptest! {
        #[test]
        fn every_wanted_prediction_is_made_once_after_its_own_prefix(
            sequences in sequences(), pass_tokens in 1_usize..20, wants in prop::collection::vec(0_usize..12, 14), share: bool,
        ) {
            let wanted: Vec<usize> = sequences.iter().zip(wants).map(|(tokens, want)| want.min(tokens.len())).collect();
            let (found, tokens) = follow(&sequences, &wanted, pass_tokens, share);
            let mut found: Vec<_> = found.into_iter().map(|want| (want.sequence, want.position)).collect();
            found.sort_unstable();
            let expected: Vec<_> = sequences
                .iter()
                .zip(&wanted)
                .enumerate()
                .flat_map(|(i, (tokens, &wanted))| (wanted..tokens.len()).map(move |at| (i, at)))
                .collect();
            prop_assert_eq!(found, expected);
            let mut prefixes: Vec<&[u32]> = sequences.iter().flat_map(|s| (1..=s.len()).map(|n| &s[..n])).collect();
            if share {
                prefixes.sort_unstable();
                prefixes.dedup();
            }
            prop_assert_eq!(tokens, prefixes.len());
        }
    }

    #[test]
    fn what_is_shared_is_computed_once() {
        let shared: Vec<u32> = (0..50).collect();
        let of = |tail: &[u32]| [&*shared, tail].concat();
        let sequences = [of(&[1, 2]), of(&[1, 3]), of(&[1]), of(&[4, 5, 6])];
        assert_eq!(follow(&sequences, &[49; 4], 16, true).1, 50 + 3 + 3);
        assert_eq!(follow(&sequences, &[49; 4], 16, false).1, 4 * 50 + 8);
    }
}
