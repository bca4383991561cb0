//! Heat maps: one colour a cell, in seven bins, with the scale beside it.

use crate::bins::Bins;
use crate::canvas::{Anchor, Canvas, Frame, Sizes};
use crate::line::paint_notes;
use crate::number;
use crate::palette::white_on;
use crate::spread::{every_nth, thinned};
use crate::table::{Cell, Table};
use crate::text;
use serde::{Deserialize, Serialize};

/// What the colours of a heat map mean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColorScale {
    /// From low to high, in seven bins of equal width; a cell of exactly zero is empty.
    Sequential {
        /// The unit of values.
        unit: String,
        /// The range of the bins; from the data if absent.
        #[serde(default, deserialize_with = "number::json::pair")]
        range: Option<(f64, f64)>,
    },
    /// Away from a centre in both directions, in seven bins that are symmetric about it.
    Diverging {
        /// The value in the middle of the middle bin.
        #[serde(with = "number::json")]
        center: f64,
        /// The unit of values.
        unit: String,
        /// The distance from the centre at which the last bins end; from the data if absent.
        limit: Option<f64>,
    },
    /// Cells hold the ratio of what is observed to what is expected (not its logarithm); colours go by
    /// log₂ of it, in bins around −3 and below, −2, −1, 0, 1, 2, 3 and above, which never change. A cell
    /// of exactly zero, where nothing was observed, is empty.
    Log2Enrichment,
}

impl ColorScale {
    /// From low to high in a unit, over the range of the data.
    pub fn sequential(unit: impl Into<String>) -> Self {
        Self::Sequential { unit: unit.into(), range: None }
    }

    /// Away from a centre in a unit, as far as the data go.
    pub fn diverging(center: f64, unit: impl Into<String>) -> Self {
        Self::Diverging { center, unit: unit.into(), limit: None }
    }
}

/// Values by row and column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeatMap {
    /// What the chart shows, in a few words.
    pub title: String,
    /// What rows are.
    pub row_label: String,
    /// What columns are.
    pub col_label: String,
    /// Names of rows, from the top.
    pub rows: Vec<String>,
    /// Names of columns, from the left.
    pub cols: Vec<String>,
    /// Values by row, then column; none, what is missing and what isn't a number are hatched.
    pub cells: Vec<Vec<Option<f64>>>,
    /// What the colours mean.
    pub scale: ColorScale,
    /// Places after the point of the numbers in cells, which are drawn where they fit.
    pub cell_digits: u8,
    /// Rows after which there is a gap.
    pub group_breaks: Vec<usize>,
    /// A cell, as row and column, with a frame around it.
    pub emphasize: Option<(usize, usize)>,
    /// Whether the cells of the diagonal have a frame.
    pub diagonal: bool,
}

impl Default for HeatMap {
    fn default() -> Self {
        Self {
            title: String::new(),
            row_label: String::new(),
            col_label: String::new(),
            rows: Vec::new(),
            cols: Vec::new(),
            cells: Vec::new(),
            scale: ColorScale::sequential(""),
            cell_digits: 2,
            group_breaks: Vec::new(),
            emphasize: None,
            diagonal: false,
        }
    }
}

/// What one cell shows.
enum Shown {
    NoData,
    Zero,
    Value { colour: &'static str, text: String },
}

/// How names of columns are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    Level,
    Slanted,
    Upright,
}

/// Where names of columns are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Above,
    Below,
}

const GAP: f64 = 7.0;
/// Maps higher than this have the names of columns above them too.
const TALL: f64 = 560.0;
/// Cells narrower than this are laid out the other way on a phone, where there is room downwards.
const NARROWEST: f64 = 14.0;

impl HeatMap {
    fn unit(&self) -> &str {
        match &self.scale {
            ColorScale::Sequential { unit, .. } | ColorScale::Diverging { unit, .. } => unit,
            ColorScale::Log2Enrichment => "× expected",
        }
    }

    fn value(&self, row: usize, col: usize) -> Option<f64> {
        let value = self.cells.get(row)?.get(col).copied()??;
        let fits = value.is_finite() && value.abs() <= 1e200;
        (fits && (value >= 0.0 || self.scale != ColorScale::Log2Enrichment)).then_some(value)
    }

    fn values(&self) -> impl Iterator<Item = f64> {
        (0..self.rows.len())
            .flat_map(move |row| (0..self.cols.len()).filter_map(move |col| self.value(row, col)))
    }

    /// A value in full, with its unit.
    fn write(&self, value: f64) -> String {
        let places = usize::from(self.cell_digits);
        let text = match &self.scale {
            ColorScale::Log2Enrichment if value == 0.0 => return "none observed".to_owned(),
            ColorScale::Log2Enrichment => {
                return format!(
                    "{} × expected, log₂ {}",
                    number::significant(value, 3),
                    number::signed(value.log2(), places)
                );
            }
            _ if value.abs() >= 1e9 => number::significant(value, 4),
            ColorScale::Diverging { center, .. } if *center == 0.0 => number::signed(value, places),
            _ => number::fixed(value, places),
        };
        if self.unit().is_empty() { text } else { format!("{text} {}", self.unit()) }
    }

    /// A value as short as a cell needs.
    fn write_short(&self, value: f64) -> String {
        let places = usize::from(self.cell_digits);
        match &self.scale {
            ColorScale::Log2Enrichment => number::signed(value.log2(), places),
            _ if value.abs() >= 1e9 => number::significant(value, 2),
            ColorScale::Diverging { center, .. } if *center == 0.0 => number::signed(value, places),
            _ => number::fixed(value, places),
        }
    }

    fn bins(&self) -> Bins {
        let low = self.values().fold(f64::INFINITY, f64::min);
        let high = self.values().fold(f64::NEG_INFINITY, f64::max);
        match &self.scale {
            ColorScale::Sequential { range, .. } => Bins::sequential(low, high, *range),
            ColorScale::Diverging { center, limit, .. } => {
                let center = if center.is_finite() && center.abs() < 1e200 { *center } else { 0.0 };
                Bins::diverging(low, high, center, *limit)
            }
            ColorScale::Log2Enrichment => Bins::enrichment(),
        }
    }

    fn shown(&self, bins: &Bins, row: usize, col: usize) -> Shown {
        let Some(value) = self.value(row, col) else { return Shown::NoData };
        let diverging = matches!(self.scale, ColorScale::Diverging { .. });
        if value == 0.0 && !diverging {
            return Shown::Zero;
        }
        let measure = if self.scale == ColorScale::Log2Enrichment { value.log2() } else { value };
        Shown::Value { colour: bins.colour(measure), text: self.write_short(value) }
    }

    /// What the drawing leaves out, in sentences.
    pub fn notes(&self) -> Vec<String> {
        let (rows, cols) = (self.rows.len(), self.cols.len());
        let more = self.cells.len() > rows || self.cells.iter().any(|row| row.len() > cols);
        let mut notes = Vec::new();
        if rows == 0 || cols == 0 {
            notes.push("No cells.".to_owned());
        }
        if more {
            notes.push("Cells without a row or column name left out.".to_owned());
        }
        notes
    }

    fn description(&self) -> String {
        let (rows, cols) = (self.rows.len(), self.cols.len());
        let mut text =
            format!("Heat map of {rows} rows ({}) by {cols} columns ({}).", self.row_label, self.col_label);
        let all = || (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col)));
        let known = || all().filter_map(|(row, col)| Some((self.value(row, col)?, row, col)));
        for (name, found) in [
            ("Highest", known().max_by(|one, other| one.0.total_cmp(&other.0))),
            ("Lowest", known().min_by(|one, other| one.0.total_cmp(&other.0))),
        ] {
            if let Some((value, row, col)) = found {
                text.push_str(&format!(
                    " {name}: {}, {}: {}.",
                    self.rows[row],
                    self.cols[col],
                    self.write(value)
                ));
            }
        }
        let missing = all().count() - known().count();
        if missing > 0 {
            text.push_str(&format!(" {missing} cells without data."));
        }
        text
    }

    /// The values as a table.
    pub fn table(&self) -> Table {
        let mut head = vec![match (self.row_label.is_empty(), self.col_label.is_empty()) {
            (false, false) => format!("{} (columns: {})", self.row_label, self.col_label),
            _ => format!("{}{}", self.row_label, self.col_label),
        }];
        head.extend(self.cols.iter().cloned());
        let cell = |row: usize, col: usize| {
            self.value(row, col).map_or(Cell::label("no data"), |value| {
                let text = match self.scale {
                    ColorScale::Log2Enrichment => number::significant(value, 3),
                    _ => self.write_short(value),
                };
                Cell::number_as(value, text)
            })
        };
        let rows = self.rows.iter().enumerate().map(|(row, name)| {
            let mut cells = vec![Cell::head(name.clone())];
            cells.extend((0..self.cols.len()).map(|col| cell(row, col)));
            cells
        });
        let notes =
            if self.unit().is_empty() { Vec::new() } else { vec![format!("Values: {}.", self.unit())] };
        Table { notes, ..Table::new(self.title.clone(), head, rows.collect()) }
    }

    /// The same map with rows and columns exchanged; breaks between rows become none.
    fn turned(&self) -> Self {
        let cells = (0..self.cols.len())
            .map(|col| (0..self.rows.len()).map(|row| self.value(row, col)).collect())
            .collect();
        Self {
            row_label: self.col_label.clone(),
            col_label: self.row_label.clone(),
            rows: self.cols.clone(),
            cols: self.rows.clone(),
            cells,
            emphasize: self.emphasize.map(|(row, col)| (col, row)),
            group_breaks: Vec::new(),
            ..self.clone()
        }
    }

    pub(crate) fn draw(&self, id: &str, width: u32, style: Option<String>) -> String {
        let sizes = Sizes::new(width);
        let mut canvas = Canvas::default();
        let height = self.paint_whole(&mut canvas, id, sizes);
        canvas.finish(&Frame {
            id,
            title: &self.title,
            description: self.description(),
            sizes,
            height,
            style,
        })
    }

    fn paint_whole(&self, canvas: &mut Canvas, id: &str, sizes: Sizes) -> f64 {
        let left = self.left(sizes);
        let cell = (sizes.width - left) / self.cols.len().max(1) as f64;
        if !sizes.wide && cell < NARROWEST && self.cols.len() > self.rows.len() {
            // Breaks between what are columns now.
            return self.turned().paint(canvas, id, sizes, &self.group_breaks);
        }
        self.paint(canvas, id, sizes, &[])
    }

    fn left(&self, sizes: Sizes) -> f64 {
        let names = self.rows.iter().map(|name| text::width(name, sizes.small)).fold(0.0, f64::max);
        // Above names that are short stands what they are.
        let label =
            Some(text::width(&self.row_label, sizes.text)).filter(|width| *width < 60.0).unwrap_or(20.0);
        names.min(sizes.width * 0.3).max(label) + 8.0
    }

    fn paint(&self, canvas: &mut Canvas, id: &str, sizes: Sizes, col_breaks: &[usize]) -> f64 {
        let bins = self.bins();
        let hatch = format!("{id}.hatch");
        canvas.define(&format!(
            "<pattern id=\"{hatch}\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" \
             patternTransform=\"rotate(45)\"><rect width=\"6\" height=\"6\" class=\"cs-paper\"/>\
             <line x1=\"0\" y1=\"0\" x2=\"0\" y2=\"6\" class=\"cs-hatch\"/></pattern>"
        ));
        let mut top = self.paint_bar(canvas, sizes, &bins, &hatch);
        let left = self.left(sizes);
        let cols = self.cols.len();
        let rows = self.rows.len();
        let breaks = |list: &[usize], count: usize| {
            let mut list: Vec<usize> = list.iter().copied().filter(|at| at + 1 < count).collect();
            list.sort_unstable();
            list.dedup();
            list
        };
        let row_breaks = breaks(&self.group_breaks, rows);
        let col_breaks = breaks(col_breaks, cols);
        let room = sizes.width - left - 2.0 - col_breaks.len() as f64 * GAP;
        let cell_width = (room / cols.max(1) as f64).min(if sizes.wide { 64.0 } else { 60.0 });
        let cell_height = cell_width.clamp(if sizes.wide { 20.0 } else { 16.0 }, 34.0);
        let shift = |list: &[usize], at: usize| list.iter().filter(|row| **row < at).count() as f64 * GAP;
        let x = |col: usize| left + col as f64 * cell_width + shift(&col_breaks, col);
        let y = |top: f64, row: usize| top + row as f64 * cell_height + shift(&row_breaks, row);

        let tall = rows as f64 * cell_height > TALL;
        let naming = self.naming(sizes, cell_width, tall, &x);
        if tall {
            top += naming.1;
        }
        if !self.row_label.is_empty() && rows > 0 {
            // Beside the names of columns it needs no line of its own.
            top += if tall && naming.1 > 30.0 { 0.0 } else { sizes.text };
            let room = if tall { left } else { sizes.width };
            canvas.text(
                "cs-axis",
                Anchor::Start,
                (0.0, top),
                &text::fitted(&self.row_label, sizes.text, room),
            );
            top += 8.0;
        }
        if tall {
            self.paint_names(canvas, sizes, naming, (top, Side::Above), cell_width, &x);
        }
        let widest = (0..rows)
            .flat_map(|row| (0..cols).map(move |col| (row, col)))
            .filter_map(|(row, col)| match self.shown(&bins, row, col) {
                Shown::Value { text, .. } => Some(text::width(&text, sizes.small)),
                _ => None,
            })
            .fold(0.0, f64::max);
        let with_text = widest <= cell_width - 3.0 && cell_height >= 18.0;
        let named = every_nth(rows, cell_height, sizes.small, 2.0);
        for (row, name) in self.rows.iter().enumerate() {
            let at = y(top, row);
            if named.get(row) == Some(&true) {
                canvas.open("cs-tick", name);
                let label = text::fitted(name, sizes.small, left - 8.0);
                canvas.text(
                    "cs-small",
                    Anchor::End,
                    (left - 8.0, at + cell_height / 2.0 + sizes.small * 0.35),
                    &label,
                );
                canvas.close();
            }
            for col in 0..cols {
                self.paint_cell(
                    canvas,
                    &bins,
                    &hatch,
                    (row, col),
                    (x(col), at),
                    (cell_width, cell_height),
                    with_text.then_some(sizes),
                );
            }
        }
        self.paint_frames(canvas, (cell_width, cell_height), |row, col| (x(col), y(top, row)));
        let bottom = y(top, rows.saturating_sub(1)) + if rows > 0 { cell_height } else { 0.0 };
        let below = self.paint_columns(canvas, sizes, naming, bottom, cell_width, &x);
        paint_notes(canvas, sizes, below, &self.notes())
    }

    #[expect(clippy::too_many_arguments, reason = "places and sizes of one cell")]
    fn paint_cell(
        &self,
        canvas: &mut Canvas,
        bins: &Bins,
        hatch: &str,
        (row, col): (usize, usize),
        (x, y): (f64, f64),
        (width, height): (f64, f64),
        with_text: Option<Sizes>,
    ) {
        // A hair of paper between cells, less where cells are small.
        let hair = if width < 8.0 { 0.5 } else { 1.0 };
        let (corner, size) = ((x, y), (width - hair, height - hair));
        let value = self.value(row, col).map_or("no data".to_owned(), |value| self.write(value));
        canvas.open("cs-cell", &format!("{}, {}: {value}", self.rows[row], self.cols[col]));
        match self.shown(bins, row, col) {
            Shown::NoData => canvas.rect(&format!("fill=\"url(#{hatch})\""), corner, size),
            Shown::Zero => {
                canvas.rect("class=\"cs-empty\"", (x + 0.5, y + 0.5), (size.0 - 1.0, size.1 - 1.0));
            }
            Shown::Value { colour, text } => {
                canvas.rect(&format!("fill=\"{colour}\""), corner, size);
                if let Some(sizes) = with_text {
                    let class = if white_on(colour) { "cs-small cs-white" } else { "cs-small cs-black" };
                    let at = (x + size.0 / 2.0, y + size.1 / 2.0 + sizes.small * 0.35);
                    canvas.text(class, Anchor::Middle, at, &text);
                }
            }
        }
        canvas.close();
    }

    fn paint_frames(
        &self,
        canvas: &mut Canvas,
        size: (f64, f64),
        corner: impl Fn(usize, usize) -> (f64, f64),
    ) {
        let (rows, cols) = (self.rows.len(), self.cols.len());
        let diagonal = if self.diagonal { rows.min(cols) } else { 0 };
        let framed = (0..diagonal).map(|at| (at, at)).chain(self.emphasize);
        for (row, col) in framed.filter(|(row, col)| *row < rows && *col < cols) {
            let (x, y) = corner(row, col);
            let class = if self.emphasize == Some((row, col)) { "cs-frame cs-strong" } else { "cs-frame" };
            // An edge of paper keeps the frame apart from cells of any colour.
            canvas.rect("class=\"cs-frame-edge\"", (x - 0.5, y - 0.5), size);
            canvas.rect(&format!("class=\"{class}\""), (x - 0.5, y - 0.5), size);
        }
    }

    /// How names of columns are written, and how much height they take.
    fn naming(&self, sizes: Sizes, cell_width: f64, tall: bool, x: &dyn Fn(usize) -> f64) -> (Naming, f64) {
        let widths: Vec<f64> = self.cols.iter().map(|name| text::width(name, sizes.small)).collect();
        let widest = widths.iter().copied().fold(0.0, f64::max);
        if widest + 6.0 <= cell_width || widest <= sizes.small * 2.2 {
            return (Naming::Level, sizes.small + 5.0);
        }
        // A slanted name goes down and to the left: at the left edge it has less room.
        let room = |col: usize| (x(col) + cell_width / 2.0) * std::f64::consts::SQRT_2;
        let longest = sizes.width * if sizes.wide { 0.18 } else { 0.26 };
        // Above a tall map slanted names would lean over its edge.
        if !tall && widths.iter().enumerate().all(|(col, width)| *width <= room(col).min(longest)) {
            return (Naming::Slanted, sizes.small + widest * std::f64::consts::FRAC_1_SQRT_2);
        }
        (Naming::Upright, widest.min(sizes.width * 0.5).min(220.0) + 8.0)
    }

    /// Names of columns; `edge` is the map's edge beside them.
    fn paint_names(
        &self,
        canvas: &mut Canvas,
        sizes: Sizes,
        (naming, height): (Naming, f64),
        (edge, side): (f64, Side),
        cell_width: f64,
        x: &dyn Fn(usize) -> f64,
    ) {
        let size = sizes.small;
        let widest = self.cols.iter().map(|name| text::width(name, size)).fold(0.0, f64::max);
        let (width, gap) = if naming == Naming::Level { (widest, 4.0) } else { (size, 3.0) };
        let shown = every_nth(self.cols.len(), cell_width, width, gap);
        canvas.open("cs-tick", "");
        for (col, name) in self.cols.iter().enumerate().filter(|(col, _)| shown.get(*col) == Some(&true)) {
            let middle = x(col) + cell_width / 2.0;
            match (naming, side) {
                (Naming::Level, _) => {
                    let base = if side == Side::Below { edge + size + 4.0 } else { edge - 5.0 };
                    let half = text::width(name, size) / 2.0;
                    canvas.text("cs-small", Anchor::Middle, (middle.min(sizes.width - half), base), name);
                }
                (Naming::Slanted, Side::Below) => {
                    canvas.turned("cs-small", Anchor::End, (middle + size * 0.3, edge + size), -45, name);
                }
                _ => {
                    let name = text::fitted(name, size, height - 6.0);
                    let (anchor, at) = match side {
                        Side::Below => (Anchor::End, edge + 5.0),
                        Side::Above => (Anchor::Start, edge - 5.0),
                    };
                    canvas.turned("cs-small", anchor, (middle + size * 0.35, at), -90, &name);
                }
            }
        }
        canvas.close();
    }

    /// Names of columns and what they are, below the map; the y where they end.
    fn paint_columns(
        &self,
        canvas: &mut Canvas,
        sizes: Sizes,
        naming: (Naming, f64),
        bottom: f64,
        cell_width: f64,
        x: &dyn Fn(usize) -> f64,
    ) -> f64 {
        let Some(last) = self.cols.len().checked_sub(1) else { return bottom };
        self.paint_names(canvas, sizes, naming, (bottom, Side::Below), cell_width, x);
        let mut below = bottom + naming.1;
        if !self.col_label.is_empty() {
            below += sizes.text + 6.0;
            let label = text::fitted(&self.col_label, sizes.text, sizes.width);
            let middle = f64::midpoint(x(0), x(last) + cell_width);
            let half = text::width(&label, sizes.text) / 2.0;
            let middle = middle.max(half).min((sizes.width - half).max(half));
            canvas.text("cs-axis", Anchor::Middle, (middle, below), &label);
        }
        below + 8.0
    }

    /// The colours and what they mean; the y where this ends.
    fn paint_bar(&self, canvas: &mut Canvas, sizes: Sizes, bins: &Bins, hatch: &str) -> f64 {
        let title = match self.scale {
            ColorScale::Log2Enrichment => "log₂ (observed / expected)",
            _ => self.unit(),
        };
        let mut top = 4.0;
        for line in text::wrapped(title, sizes.small, sizes.width, 2) {
            top += sizes.small + 3.0;
            canvas.text("cs-small cs-muted", Anchor::Start, (0.0, top - 3.0), &line);
        }
        top += 3.0;
        let pad = bins.labels.last().map_or(0.0, |label| text::width(&label.1, sizes.small)) / 2.0;
        let start = text::width(bins.labels.first().map_or("", |label| &label.1), sizes.small) / 2.0;
        let start = if self.scale == ColorScale::Log2Enrichment || start < 8.0 { 0.0 } else { start };
        let length = (sizes.width - start - pad - if sizes.wide { 300.0 } else { 8.0 }).min(448.0);
        let step = length / 7.0;
        for (bin, colour) in bins.colours.iter().enumerate() {
            canvas.rect(
                &format!("class=\"cs-bin\" fill=\"{colour}\""),
                (start + bin as f64 * step, top),
                (step - 1.0, 13.0),
            );
        }
        let at = |value: f64| start + (value - bins.edges[0]) / (bins.edges[7] - bins.edges[0]) * length;
        let below = top + 13.0 + sizes.small + 2.0;
        let widths: Vec<f64> = bins.labels.iter().map(|(_, label)| text::width(label, sizes.small)).collect();
        let inside = |((value, _), width): (&(f64, String), &f64)| {
            at(*value).max(width / 2.0).min(sizes.width - width / 2.0)
        };
        let places: Vec<f64> = bins.labels.iter().zip(&widths).map(inside).collect();
        canvas.open("cs-tick", "");
        let shown = thinned(&places, &widths, 6.0);
        for (((_, label), at), _) in bins.labels.iter().zip(&places).zip(shown).filter(|(_, shown)| *shown) {
            canvas.text("cs-small", Anchor::Middle, (*at, below), label);
        }
        canvas.close();
        let (zero, no_data) = self.kinds(bins);
        let mut keys = Vec::new();
        if zero {
            let words = if self.scale == ColorScale::Log2Enrichment { "none observed" } else { "zero" };
            keys.push(("class=\"cs-empty\"".to_owned(), words));
        }
        if no_data {
            keys.push((format!("fill=\"url(#{hatch})\" class=\"cs-bin\""), "no data"));
        }
        let (mut x, y) = if sizes.wide { (start + length + pad + 24.0, top) } else { (0.0, below + 8.0) };
        for (attributes, words) in &keys {
            canvas.rect(attributes, (x, y), (20.0, 13.0));
            canvas.text("cs-small cs-muted", Anchor::Start, (x + 26.0, y + 11.0), words);
            x += 26.0 + text::width(words, sizes.small) + 18.0;
        }
        let cut = match (bins.below, bins.above) {
            (false, false) => "",
            (true, false) => "The first colour stands for lower values too.",
            (false, true) => "The last colour stands for higher values too.",
            (true, true) => "The colours at the ends stand for values beyond them too.",
        };
        let mut end = if sizes.wide || keys.is_empty() { below } else { y + 15.0 };
        if !cut.is_empty() {
            end = paint_notes(canvas, sizes, end + 2.0, &[cut.to_owned()]) - 6.0;
        }
        end + 16.0
    }

    /// Whether there are cells of zero that are drawn empty, and cells without data.
    fn kinds(&self, bins: &Bins) -> (bool, bool) {
        let mut found = (false, false);
        for row in 0..self.rows.len() {
            for col in 0..self.cols.len() {
                match self.shown(bins, row, col) {
                    Shown::Zero => found.0 = true,
                    Shown::NoData => found.1 = true,
                    Shown::Value { .. } => {}
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::palette::DIVERGING;

    #[test]
    fn enrichment_bins_never_change() {
        let map = |value| HeatMap {
            rows: vec!["a".to_owned()],
            cols: vec!["b".to_owned()],
            cells: vec![vec![Some(value)]],
            scale: ColorScale::Log2Enrichment,
            ..HeatMap::default()
        };
        for (ratio, bin) in [(1.0, 3), (2.0, 4), (8.0, 6), (1e9, 6), (0.25, 1), (1e-9, 0)] {
            let map = map(ratio);
            let Shown::Value { colour, .. } = map.shown(&map.bins(), 0, 0) else { panic!("no value") };
            assert_eq!(colour, DIVERGING[bin], "{ratio}");
        }
        assert!(matches!(map(0.0).shown(&map(0.0).bins(), 0, 0), Shown::Zero));
        assert!(matches!(map(-1.0).shown(&map(0.0).bins(), 0, 0), Shown::NoData));
    }
}
