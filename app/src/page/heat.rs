//! Where the removed parameters are: layers across, modules down.

use crate::protocol::TensorFacts;

/// What a row is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A matrix (or bias) of every block.
    Matrix,
    /// A norm of every block.
    Norm,
    /// The embedding, the last norm or the head: one tensor.
    Whole,
}

/// A tensor and how much of it is removed.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// Its layer.
    pub layer: Option<u32>,
    /// Its module.
    pub module: String,
    /// Its parameters.
    pub parameters: u64,
    /// How many of them are removed.
    pub count: u64,
    /// How many an even spread over the scope would remove.
    pub expected: f64,
    /// It competes for the spot.
    pub in_scope: bool,
}

impl Cell {
    /// Share of its parameters that are removed, percent.
    pub fn share(&self) -> f64 {
        if self.parameters == 0 { 0.0 } else { self.count as f64 * 100.0 / self.parameters as f64 }
    }

    /// Binary logarithm of removed over expected; none where nothing is removed or expected.
    pub fn enrichment(&self) -> Option<f64> {
        (self.count > 0 && self.expected > 0.0).then(|| (self.count as f64 / self.expected).log2())
    }

    /// The bin of the colour scale, −3 to 3, the same for every count of removed parameters.
    #[expect(clippy::cast_possible_truncation, reason = "between -3 and 3")]
    pub fn bin(&self) -> Option<i32> {
        self.enrichment().map(|enrichment| enrichment.round().clamp(-3.0, 3.0) as i32)
    }
}

/// A row of the map.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The module.
    pub module: String,
    /// What it is of.
    pub kind: Kind,
    /// A cell a layer, or one cell for [`Kind::Whole`].
    pub cells: Vec<Option<Cell>>,
}

/// The map.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Grid {
    /// Number of layers.
    pub layers: u32,
    /// Its rows: matrices, norms, then what belongs to no layer.
    pub rows: Vec<Row>,
    /// How many parameters are removed in all.
    pub count: u64,
}

/// Most layers and rows that are drawn.
const MAX_LAYERS: u32 = 256;
const MAX_ROWS: usize = 64;

/// The order of modules within a block.
const ORDER: [&str; 9] = [
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
    "input_layernorm",
    "post_attention_layernorm",
];

fn is_norm(module: &str) -> bool {
    module.contains("norm")
}

fn is_bias(tensor: &TensorFacts) -> bool {
    tensor.name.rsplit('.').next() == Some("bias")
}

/// Whether a tensor competes in a scope.
fn competes(tensor: &TensorFacts, scope: &str) -> bool {
    match scope {
        "no-norm" => !is_norm(&tensor.module),
        "no-embedding" => tensor.layer.is_some() || is_norm(&tensor.module),
        "blocks" => tensor.layer.is_some() && !is_norm(&tensor.module) && !is_bias(tensor),
        _ => true,
    }
}

impl Grid {
    /// The map of `by_tensor`, the removed parameters of each of `tensors`, in a scope.
    pub fn new(tensors: &[TensorFacts], by_tensor: &[u64], scope: &str) -> Self {
        let count: u64 = by_tensor.iter().sum();
        let whole: u64 =
            tensors.iter().filter(|tensor| competes(tensor, scope)).map(|tensor| tensor.parameters).sum();
        let layers = tensors
            .iter()
            .filter_map(|tensor| tensor.layer)
            .max()
            .map_or(0, |last| last.saturating_add(1))
            .min(MAX_LAYERS);
        let mut rows: Vec<Row> = Vec::new();
        for (tensor, removed) in tensors.iter().zip(by_tensor.iter().chain(std::iter::repeat(&0))) {
            let in_scope = competes(tensor, scope);
            let bias = if is_bias(tensor) { " bias" } else { "" };
            let module = format!("{}{bias}", tensor.module);
            let kind = match tensor.layer {
                None => Kind::Whole,
                Some(_) if is_norm(&module) => Kind::Norm,
                Some(_) => Kind::Matrix,
            };
            let cell = Cell {
                layer: tensor.layer,
                module: module.clone(),
                parameters: tensor.parameters,
                count: *removed,
                expected: if in_scope && whole > 0 {
                    count as f64 * tensor.parameters as f64 / whole as f64
                } else {
                    0.0
                },
                in_scope,
            };
            let place = tensor.layer.unwrap_or(0);
            if place >= layers.max(1) {
                continue;
            }
            let row = match rows.iter().position(|row| row.module == module && row.kind == kind) {
                Some(row) => row,
                None if rows.len() < MAX_ROWS => {
                    let width = if kind == Kind::Whole { 1 } else { layers as usize };
                    rows.push(Row { module, kind, cells: vec![None; width] });
                    rows.len() - 1
                }
                None => continue,
            };
            rows[row].cells[place as usize] = Some(cell);
        }
        let order = |row: &Row| {
            let place = ORDER.iter().position(|module| row.module.starts_with(module)).unwrap_or(ORDER.len());
            (row.kind, place)
        };
        rows.sort_by_key(order);
        Self { layers, rows, count }
    }

    /// Layers whose numbers are written above the map when there is room for `room` of them: evenly apart, the first
    /// and the last always.
    pub fn labelled(&self, room: u32) -> Vec<u32> {
        let Some(last) = self.layers.checked_sub(1) else { return Vec::new() };
        let step = self.layers.div_ceil(room.max(1)).max(1);
        let mut layers: Vec<u32> = (0..last).step_by(step as usize).collect();
        // One that would run into the last one gives way.
        if layers.last().is_some_and(|before| *before > 0 && last - before < step) {
            layers.pop();
        }
        layers.push(last);
        layers
    }

    /// The cell at a row and column.
    pub fn cell(&self, row: usize, column: usize) -> Option<&Cell> {
        self.rows.get(row)?.cells.get(column)?.as_ref()
    }

    /// Where a key leads from a cell; `None` where the key is not one of the map's.
    pub fn step(&self, (row, column): (usize, usize), key: &str, control: bool) -> Option<(usize, usize)> {
        let last_row = self.rows.len().checked_sub(1)?;
        let last_column = |row: usize| self.rows[row].cells.len().saturating_sub(1);
        let (row, column) = match key {
            "ArrowRight" => (row, column + 1),
            "ArrowLeft" => (row, column.saturating_sub(1)),
            "ArrowDown" => ((row + 1).min(last_row), column),
            "ArrowUp" => (row.saturating_sub(1), column),
            "Home" => (if control { 0 } else { row }, 0),
            "End" => (if control { last_row } else { row }, usize::MAX),
            _ => return None,
        };
        let row = row.min(last_row);
        Some((row, column.min(last_column(row))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(layer: Option<u32>, module: &str, parameters: u64) -> TensorFacts {
        TensorFacts { name: format!("{layer:?}.{module}.weight"), layer, module: module.into(), parameters }
    }

    fn model() -> Vec<TensorFacts> {
        let mut tensors = vec![tensor(None, "embed_tokens", 1000)];
        for layer in 0..3 {
            tensors.push(tensor(Some(layer), "q_proj", 100));
            tensors.push(tensor(Some(layer), "input_layernorm", 10));
        }
        tensors.push(tensor(None, "norm", 10));
        tensors
    }

    #[test]
    fn rows_of_norms_and_of_the_embedding_are_apart() {
        let grid = Grid::new(&model(), &[4, 2, 0, 0, 0, 2, 0, 0], "no-norm");
        let rows: Vec<_> =
            grid.rows.iter().map(|row| (row.module.as_str(), row.kind, row.cells.len())).collect();
        assert_eq!(
            rows,
            [
                ("q_proj", Kind::Matrix, 3),
                ("input_layernorm", Kind::Norm, 3),
                ("embed_tokens", Kind::Whole, 1),
                ("norm", Kind::Whole, 1)
            ]
        );
        assert_eq!(grid.count, 8);
    }

    #[test]
    fn expectation_is_the_share_of_the_scope_and_enrichment_its_logarithm() {
        let grid = Grid::new(&model(), &[4, 2, 0, 0, 0, 2, 0, 0], "no-norm");
        let cell = grid.cell(0, 0).unwrap();
        // 8 removed of 1300 in scope: 100 of them are expected to lose 8/13.
        assert!((cell.expected - 8.0 / 13.0).abs() < 1e-12);
        assert!((cell.enrichment().unwrap() - 3.25_f64.log2()).abs() < 1e-12);
        assert_eq!(cell.bin(), Some(2));
        assert_eq!(grid.cell(0, 1).unwrap().bin(), None);
        let norm = grid.cell(1, 0).unwrap();
        assert!(!norm.in_scope && norm.expected == 0.0);
        let expected: f64 =
            grid.rows.iter().flat_map(|row| row.cells.iter().flatten()).map(|cell| cell.expected).sum();
        assert!((expected - 8.0).abs() < 1e-9, "the expectations add up: {expected}");
    }

    #[test]
    fn the_last_layer_keeps_its_label() {
        let grid = |layers| Grid { layers, ..Grid::default() };
        assert_eq!(grid(6).labelled(20), [0, 1, 2, 3, 4, 5]);
        for layers in 1..100 {
            for room in 1..30 {
                let labels = grid(layers).labelled(room);
                assert_eq!(labels.last(), Some(&(layers - 1)));
                assert_eq!(labels[0], 0);
                assert!(labels.len() <= room as usize + 1, "{layers} {room} {labels:?}");
            }
        }
        assert_eq!(grid(28).labelled(10), [0, 3, 6, 9, 12, 15, 18, 21, 24, 27]);
    }

    #[test]
    fn keys_move_by_cell_and_stay_inside() {
        let grid = Grid::new(&model(), &[0; 8], "all");
        assert_eq!(grid.step((0, 0), "ArrowRight", false), Some((0, 1)));
        assert_eq!(grid.step((1, 2), "ArrowRight", false), Some((1, 2)));
        assert_eq!(grid.step((1, 2), "ArrowDown", false), Some((2, 0)));
        assert_eq!(grid.step((3, 0), "ArrowDown", false), Some((3, 0)));
        assert_eq!(grid.step((2, 0), "Home", true), Some((0, 0)));
        assert_eq!(grid.step((0, 0), "End", false), Some((0, 2)));
        assert_eq!(grid.step((0, 0), "x", false), None);
    }
}
