//! Lines over a common x axis: dose and response, overlap against depth.

use crate::canvas::{Anchor, Canvas, Frame, Sizes, place, stroke};
use crate::legend::{Key, key_height, paint_keys_below, paint_keys_beside};
use crate::mark::{Direction, Mark};
use crate::number;
use crate::palette::SeriesStyle;
use crate::scale::{Axis, Fitted, Scale};
use crate::spread::thinned;
use crate::table::{Cell, Table};
use crate::text;
use serde::{Deserialize, Serialize};

/// A value of a series. Points that are not numbers leave a gap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Place on the x axis.
    #[serde(with = "number::json")]
    pub x: f64,
    /// The value; none is a gap.
    pub y: Option<f64>,
    /// The lower end of its interval.
    pub low: Option<f64>,
    /// The upper end of its interval.
    pub high: Option<f64>,
}

impl Point {
    /// A value without an interval.
    pub fn new(x: f64, y: f64) -> Self {
        Self { x, y: Some(y), low: None, high: None }
    }

    /// A value with an interval.
    pub fn with_interval(x: f64, y: f64, low: f64, high: f64) -> Self {
        Self { x, y: Some(y), low: Some(low), high: Some(high) }
    }

    /// A place without a value.
    pub fn gap(x: f64) -> Self {
        Self { x, y: None, low: None, high: None }
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// The name at the end of the line.
    pub name: String,
    /// Its look.
    pub style: SeriesStyle,
    /// Its points, in the order in which they are joined.
    pub points: Vec<Point>,
}

impl Series {
    /// A line of a name, a look and points.
    pub fn new(name: impl Into<String>, style: SeriesStyle, points: Vec<Point>) -> Self {
        Self { name: name.into(), style, points }
    }
}

/// Lines over a common x axis, with intervals as bands (as whiskers where a series has at most three points).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LineChart {
    /// What the chart shows, in a few words.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The lines.
    pub series: Vec<Series>,
    /// Reference lines.
    pub marks: Vec<Mark>,
}

/// Series with at most this many points get whiskers instead of a band.
const WHISKERS: usize = 3;
/// More points than these get no markers of their own.
const MARKERS: usize = 60;
/// More points than these get no tooltips, which would make a large file.
const TOOLTIPS: usize = 1000;

/// The plot's edges and scales.
pub(crate) struct Plot<'a> {
    pub(crate) x: &'a Fitted,
    pub(crate) y: &'a Fitted,
    pub(crate) left: f64,
    pub(crate) right: f64,
    pub(crate) top: f64,
    pub(crate) bottom: f64,
}

impl Plot<'_> {
    fn x(&self, value: f64) -> f64 {
        self.left + self.x.share(value) * (self.right - self.left)
    }

    fn y(&self, value: f64) -> f64 {
        self.bottom - self.y.share(value) * (self.bottom - self.top)
    }
}

impl LineChart {
    fn can_draw(&self, point: &Point) -> bool {
        self.x.can_draw(point.x) && point.y.is_some_and(|y| self.y.can_draw(y))
    }

    fn interval(&self, point: &Point) -> Option<(f64, f64)> {
        let (low, high) = (point.low?, point.high?);
        (self.y.can_draw(low) && self.y.can_draw(high)).then(|| (low.min(high), low.max(high)))
    }

    fn marks(&self, direction: Direction) -> impl Iterator<Item = &Mark> {
        let axis = if direction == Direction::Vertical { &self.x } else { &self.y };
        self.marks.iter().filter(move |mark| mark.direction == direction && axis.can_draw(mark.at))
    }

    /// What the drawing leaves out, in sentences.
    pub fn notes(&self) -> Vec<String> {
        let (x, y) = self.fit(true);
        let mut below_zero = [0_u64; 2];
        let mut missing = 0_u64;
        let mut outside = 0_u64;
        for point in self.series.iter().flat_map(|series| &series.points) {
            let value = point.y.unwrap_or(f64::NAN);
            if !point.x.is_finite() || !value.is_finite() {
                missing += 1;
            } else if self.x.scale == Scale::Log10 && point.x <= 0.0 {
                below_zero[0] += 1;
            } else if self.y.scale == Scale::Log10 && value <= 0.0 {
                below_zero[1] += 1;
            } else if !self.can_draw(point) || !x.holds(point.x) || !y.holds(value) {
                outside += 1;
            }
        }
        let points = |count: u64| {
            if count == 1 { "1 point".to_owned() } else { format!("{} points", number::thousands(count)) }
        };
        let mut notes = Vec::new();
        for (count, axis) in [(below_zero[0], "horizontal"), (below_zero[1], "vertical")] {
            if count > 0 {
                notes.push(format!(
                    "The logarithmic {axis} axis has no place for {} at 0 or below.",
                    points(count)
                ));
            }
        }
        if missing > 0 {
            notes.push(format!("{} without a number left out.", points(missing)));
        }
        if outside > 0 {
            notes.push(format!("{} outside the range shown.", points(outside)));
        }
        notes
    }

    fn fit(&self, wide: bool) -> (Fitted, Fitted) {
        let drawn =
            || self.series.iter().flat_map(|series| &series.points).filter(|point| self.can_draw(point));
        let xs = drawn().map(|point| point.x).chain(self.marks(Direction::Vertical).flat_map(Mark::values));
        let ys = drawn()
            .flat_map(|point| {
                let interval = self.interval(point);
                [point.y, interval.map(|ends| ends.0), interval.map(|ends| ends.1)].into_iter().flatten()
            })
            .chain(self.marks(Direction::Horizontal).flat_map(Mark::values));
        (self.x.fit(xs, if wide { 8 } else { 4 }), self.y.fit(ys, 5))
    }

    /// A sentence or two for those who don't see the chart.
    fn description(&self) -> String {
        let mut text = format!(
            "Line chart of {} against {}{}.",
            self.y.title(),
            self.x.title(),
            if self.x.scale == Scale::Log10 { " on a logarithmic axis" } else { "" }
        );
        for series in self.series.iter().take(20) {
            let mut drawn = series.points.iter().filter(|point| self.can_draw(point));
            let (first, last) = (drawn.next(), drawn.next_back());
            let value = |point: &Point| {
                format!("{} at {}", self.y.write(point.y.unwrap_or(f64::NAN)), self.x.write(point.x))
            };
            text.push_str(&match (first, last) {
                (None, _) => format!(" {}: no values.", series.name),
                (Some(only), None) => format!(" {}: {}.", series.name, value(only)),
                (Some(first), Some(last)) => {
                    format!(" {}: from {} to {}.", series.name, value(first), value(last))
                }
            });
        }
        for mark in self.marks.iter().take(20) {
            text.push_str(&format!(" {}.", mark.words(self.axis_of(mark))));
        }
        text
    }

    fn axis_of(&self, mark: &Mark) -> &Axis {
        if mark.direction == Direction::Vertical { &self.x } else { &self.y }
    }

    /// The values as a table: a row for every x, a column for every series.
    pub fn table(&self) -> Table {
        let mut xs: Vec<f64> =
            self.series.iter().flat_map(|series| &series.points).map(|point| point.x).collect();
        xs.sort_by(f64::total_cmp);
        xs.dedup_by(|one, other| one.to_bits() == other.to_bits());
        let secondary = self.x.secondary.as_ref().filter(|secondary| !secondary.ticks.is_empty());
        let mut head = vec![self.x.title()];
        head.extend(secondary.map(|secondary| secondary.label.clone()));
        head.extend(self.series.iter().map(|series| series.name.clone()));
        let mut sorted: Vec<Vec<&Point>> = Vec::with_capacity(self.series.len());
        for series in &self.series {
            let mut points: Vec<&Point> = series.points.iter().collect();
            points.sort_by(|one, other| one.x.total_cmp(&other.x));
            sorted.push(points);
        }
        let mut cursors = vec![0_usize; sorted.len()];
        let mut rows = Vec::with_capacity(xs.len());
        for x in xs {
            let mut row = vec![Cell::number_as(x, number::significant(x, 6))];
            if let Some(secondary) = secondary {
                let label = secondary.ticks.iter().find(|(at, _)| (at - x).abs() <= x.abs() * 1e-9);
                row.push(label.map_or(Cell::Empty, |(_, label)| Cell::label(label.clone())));
            }
            for (points, cursor) in sorted.iter().zip(&mut cursors) {
                let mut cell = Cell::Empty;
                while let Some(point) = points.get(*cursor).filter(|point| point.x.to_bits() == x.to_bits()) {
                    // Of several values at one place the first stands in the table; the data have all.
                    if cell == Cell::Empty {
                        cell = Cell::measured(point.y, point.low, point.high, |value| self.y.write(value));
                    }
                    *cursor += 1;
                }
                row.push(cell);
            }
            rows.push(row);
        }
        let mut notes: Vec<String> =
            self.marks.iter().map(|mark| format!("{}.", mark.words(self.axis_of(mark)))).collect();
        if !self.y.title().is_empty() {
            notes.insert(0, format!("Values: {}.", self.y.title()));
        }
        Table { notes, ..Table::new(self.title.clone(), head, rows) }
    }

    pub(crate) fn draw(&self, id: &str, width: u32, style: Option<String>) -> String {
        let sizes = Sizes::new(width);
        let (x, y) = self.fit(sizes.wide);
        let mut canvas = Canvas::default();
        let height = self.paint(&mut canvas, id, sizes, &x, &y);
        canvas.finish(&Frame {
            id,
            title: &self.title,
            description: self.description(),
            sizes,
            height,
            style,
        })
    }

    fn paint(&self, canvas: &mut Canvas, id: &str, sizes: Sizes, x: &Fitted, y: &Fitted) -> f64 {
        let width = sizes.width;
        let left = y
            .labels
            .iter()
            .map(|label| text::width(label, sizes.small))
            .fold(18.0, f64::max)
            .min(width / 3.0)
            + 10.0;
        let mut keys = self.keys(sizes, sizes.wide);
        let longest = keys
            .iter()
            .flat_map(|key| &key.lines)
            .map(|line| text::width(line, sizes.text * text::BOLD))
            .fold(0.0, f64::max);
        let plot_height = if sizes.wide { 330.0 } else { 240.0 };
        let beside = sizes.wide && keys.iter().map(|key| key_height(key, sizes)).sum::<f64>() <= plot_height;
        if sizes.wide && !beside {
            keys = self.keys(sizes, false);
        }
        let right = if beside && !keys.is_empty() { width - longest - 46.0 } else { width - 12.0 };

        let title_lines = text::wrapped(&self.y.title(), sizes.text, width, 2);
        let mut top = 4.0;
        for line in &title_lines {
            top += sizes.text + 4.0;
            canvas.text("cs-axis", Anchor::Start, (0.0, top - 4.0), line);
        }
        top += 6.0;
        let plot = Plot { x, y, left, right, top, bottom: top };
        let labels = self.mark_labels(&plot, sizes);
        let label_rows = labels.iter().map(|label| label.row + 1).max().unwrap_or(0);
        top += label_rows as f64 * (sizes.small + 5.0) + 4.0;
        let plot = Plot { top, bottom: top + plot_height, ..plot };

        paint_axes(canvas, sizes, &plot);
        self.paint_marks(canvas, sizes, &plot, &labels);
        let clip = format!("{id}.clip");
        canvas.define(&format!(
            "<clipPath id=\"{clip}\"><rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/></clipPath>",
            place(left - 8.0),
            place(plot.top - 8.0),
            place(right - left + 16.0),
            place(plot_height + 16.0)
        ));
        for series in &self.series {
            self.paint_band(canvas, &plot, series, &clip);
        }
        for series in &self.series {
            self.paint_line(canvas, &plot, series, &clip);
        }

        let mut bottom = self.paint_x_labels(canvas, sizes, &plot);
        self.aim(&mut keys, &plot);
        if beside {
            paint_keys_beside(canvas, sizes, &plot, &mut keys);
        } else {
            bottom = paint_keys_below(canvas, sizes, bottom + 8.0, &keys);
        }
        paint_notes(canvas, sizes, bottom, &self.notes())
    }

    fn keys(&self, sizes: Sizes, beside: bool) -> Vec<Key<'_>> {
        let room = if beside { (sizes.width * 0.27).min(240.0) } else { (sizes.width - 40.0).min(380.0) };
        let lines = |name: &str| text::wrapped(name, sizes.text * text::BOLD, room, 2);
        let series = self.series.iter().map(|series| Key {
            style: Some(series.style),
            lines: lines(&series.name),
            name: &series.name,
            target: None,
        });
        let marks = self.marks(Direction::Horizontal).map(|mark| Key {
            style: None,
            lines: lines(&mark.label),
            name: &mark.label,
            target: None,
        });
        series.chain(marks).collect()
    }

    /// Gives every key what it points at.
    fn aim(&self, keys: &mut [Key<'_>], plot: &Plot<'_>) {
        let series = self.series.iter().map(|series| {
            let last = series.points.iter().rev().find(|point| self.can_draw(point) && plot.x.holds(point.x));
            last.and_then(|point| Some((plot.x(point.x), plot.y(point.y?))))
        });
        let marks = self.marks(Direction::Horizontal).map(|mark| Some((plot.right, plot.y(mark.at))));
        for (key, target) in keys.iter_mut().zip(series.chain(marks)) {
            key.target = target.map(|(x, y)| (x, y.clamp(plot.top, plot.bottom)));
        }
    }

    /// Ticks and labels below the plot; the y where they end.
    fn paint_x_labels(&self, canvas: &mut Canvas, sizes: Sizes, plot: &Plot<'_>) -> f64 {
        for (ticks, length) in [(&plot.x.minor, 3.0), (&plot.x.ticks, 6.0)] {
            canvas.open("cs-ticks", "");
            for tick in ticks {
                let at = plot.x(*tick);
                canvas.line("", (at, plot.bottom), (at, plot.bottom + length));
            }
            canvas.close();
        }
        let mut below = plot.bottom + 8.0 + sizes.small;
        let first: Vec<(f64, &str)> =
            plot.x.ticks.iter().zip(&plot.x.labels).map(|(tick, label)| (*tick, label.as_str())).collect();
        paint_row(canvas, sizes, plot, &first, below);
        let secondary = self.x.secondary.as_ref();
        let second: Vec<(f64, &str)> = secondary.map_or_else(Vec::new, |secondary| {
            let mut ticks: Vec<(f64, &str)> = secondary
                .ticks
                .iter()
                .filter(|(at, _)| self.x.can_draw(*at) && plot.x.holds(*at))
                .map(|(at, label)| (*at, label.as_str()))
                .collect();
            ticks.sort_by(|one, other| one.0.total_cmp(&other.0));
            ticks
        });
        if !second.is_empty() {
            below += sizes.small + 4.0;
            paint_row(canvas, sizes, plot, &second, below);
        }
        let mut title = self.x.title();
        if self.x.scale == Scale::Log10 && !title.is_empty() {
            title.push_str(", log scale");
        }
        if let Some(secondary) =
            secondary.filter(|secondary| !second.is_empty() && !secondary.label.is_empty())
        {
            title.push_str(&format!("; below: {}", secondary.label));
        }
        let middle = f64::midpoint(plot.left, plot.right);
        below += 4.0;
        for line in text::wrapped(
            &title,
            sizes.text,
            (sizes.width - 8.0).min(plot.right - plot.left + 2.0 * plot.left),
            3,
        ) {
            below += sizes.text + 4.0;
            let half = text::width(&line, sizes.text) / 2.0;
            canvas.text(
                "cs-axis",
                Anchor::Middle,
                (middle.clamp(half.min(middle), (sizes.width - half).max(half)), below),
                &line,
            );
        }
        below + 6.0
    }

    fn paint_band(&self, canvas: &mut Canvas, plot: &Plot<'_>, series: &Series, clip: &str) {
        canvas.open(&format!("{} cs-bands", series.style.class()), "");
        if series.points.len() <= WHISKERS {
            for point in series.points.iter().filter(|point| self.can_draw(point)) {
                if let Some((low, high)) = self.interval(point) {
                    let at = plot.x(point.x);
                    let ends = [plot.y(low), plot.y(high)].map(|end| end.clamp(plot.top, plot.bottom));
                    canvas.line("class=\"cs-whisker\"", (at, ends[0]), (at, ends[1]));
                    for end in ends {
                        canvas.line("class=\"cs-whisker\"", (at - 4.0, end), (at + 4.0, end));
                    }
                }
            }
        } else {
            for run in self.runs(series) {
                let ends: Vec<(f64, f64, f64)> = run
                    .iter()
                    .filter_map(|point| {
                        let (low, high) = self.interval(point)?;
                        Some((plot.x(point.x), plot.y(low), plot.y(high)))
                    })
                    .collect();
                if ends.len() > 1 {
                    let upper = ends.iter().map(|(x, _, high)| (*x, *high));
                    let lower = ends.iter().rev().map(|(x, low, _)| (*x, *low));
                    let d = joined(upper.chain(lower)) + "Z";
                    canvas.path(&format!("class=\"cs-band\" clip-path=\"url(#{clip})\""), &d);
                }
            }
        }
        canvas.close();
    }

    /// Points without a gap between them.
    fn runs<'a>(&self, series: &'a Series) -> Vec<Vec<&'a Point>> {
        let mut runs: Vec<Vec<&Point>> = vec![Vec::new()];
        for point in &series.points {
            if self.can_draw(point) {
                if let Some(run) = runs.last_mut() {
                    run.push(point);
                }
            // A value at 0 of a log axis is left out before the line begins and makes no gap in it.
            } else if runs.last().is_some_and(|run| !run.is_empty()) {
                runs.push(Vec::new());
            }
        }
        runs
    }

    fn paint_line(&self, canvas: &mut Canvas, plot: &Plot<'_>, series: &Series, clip: &str) {
        let look = series.style.look();
        canvas.open(&series.style.class(), "");
        for run in self.runs(series).iter().filter(|run| run.len() > 1) {
            let d = joined(run.iter().map(|point| (plot.x(point.x), plot.y(point.y.unwrap_or(0.0)))));
            canvas.path(&format!("{} clip-path=\"url(#{clip})\"", stroke(series.style)), &d);
        }
        let shown = series.points.iter().filter(|point| self.can_draw(point) && plot.x.holds(point.x));
        let many = series.points.len() > MARKERS;
        if series.points.len() > TOOLTIPS {
            canvas.close();
            return;
        }
        for point in shown {
            let Some(y) = point.y.filter(|y| plot.y.holds(*y)) else { continue };
            let at = (plot.x(point.x), plot.y(y));
            let value = number::with_interval(y, point.low, point.high, |value| self.y.write(value));
            canvas.open(
                "cs-point",
                &format!(
                    "{}\n{}: {}\n{}: {value}",
                    series.name,
                    self.x.title(),
                    self.x.write(point.x),
                    self.y.title()
                ),
            );
            // A larger target than what is seen.
            canvas.rect("class=\"cs-hit\"", (at.0 - 8.0, at.1 - 8.0), (16.0, 16.0));
            if !many {
                canvas.marker(look.shape, at, 4.0);
            }
            canvas.close();
        }
        canvas.close();
    }

    fn mark_labels(&self, plot: &Plot<'_>, sizes: Sizes) -> Vec<MarkLabel> {
        let mut labels: Vec<MarkLabel> = Vec::new();
        for mark in self.marks(Direction::Vertical).filter(|mark| plot.x.holds(mark.at)) {
            let at = plot.x(mark.at);
            let text = text::fitted(&mark.label, sizes.small, sizes.width - 16.0);
            let width = text::width(&text, sizes.small);
            let middle = at.max(width / 2.0 + 2.0).min(sizes.width - width / 2.0 - 2.0);
            let (from, to) = (middle - width / 2.0, middle + width / 2.0);
            let free = |row: usize| {
                !labels
                    .iter()
                    .any(|label| label.row == row && from < label.to + 10.0 && to > label.from - 10.0)
            };
            let row = (0..labels.len()).find(|row| free(*row)).unwrap_or(labels.len());
            labels.push(MarkLabel { at, from, to, row, text, tooltip: mark.words(&self.x) });
        }
        labels
    }

    fn paint_marks(&self, canvas: &mut Canvas, sizes: Sizes, plot: &Plot<'_>, labels: &[MarkLabel]) {
        let band = |mark: &Mark, axis: &Axis| {
            let (low, high) = mark.low.zip(mark.high)?;
            (axis.can_draw(low) && axis.can_draw(high)).then(|| (low.min(high), low.max(high)))
        };
        for mark in self.marks(Direction::Vertical) {
            if let Some((low, high)) = band(mark, &self.x) {
                let ends = [plot.x(low), plot.x(high)].map(|end| end.clamp(plot.left, plot.right));
                canvas.rect(
                    "class=\"cs-mark-band\"",
                    (ends[0], plot.top),
                    (ends[1] - ends[0], plot.bottom - plot.top),
                );
            }
        }
        for mark in self.marks(Direction::Horizontal).filter(|mark| plot.y.holds(mark.at)) {
            if let Some((low, high)) = band(mark, &self.y) {
                let ends = [plot.y(high), plot.y(low)].map(|end| end.clamp(plot.top, plot.bottom));
                canvas.rect(
                    "class=\"cs-mark-band\"",
                    (plot.left, ends[0]),
                    (plot.right - plot.left, ends[1] - ends[0]),
                );
            }
            canvas.open("", &mark.words(&self.y));
            let at = plot.y(mark.at);
            canvas.line("class=\"cs-reference\"", (plot.left, at), (plot.right, at));
            canvas.close();
        }
        let rows = labels.iter().map(|label| label.row + 1).max().unwrap_or(0);
        for label in labels {
            let above = (rows - label.row) as f64 * (sizes.small + 5.0);
            let base = plot.top - 2.0 - above + sizes.small;
            canvas.open("", &label.tooltip);
            canvas.line("class=\"cs-reference\"", (label.at, base + 4.0), (label.at, plot.bottom));
            canvas.text(
                "cs-small cs-halo",
                Anchor::Middle,
                (f64::midpoint(label.from, label.to), base),
                &label.text,
            );
            canvas.close();
        }
    }
}

/// The label of a vertical mark, above the plot.
struct MarkLabel {
    at: f64,
    from: f64,
    to: f64,
    row: usize,
    text: String,
    tooltip: String,
}

fn joined(points: impl Iterator<Item = (f64, f64)>) -> String {
    let mut d = String::new();
    for (x, y) in points {
        d.push_str(&format!("{}{} {}", if d.is_empty() { 'M' } else { 'L' }, place(x), place(y)));
    }
    d
}

/// The grid, the labels of the y axis and the base line.
fn paint_axes(canvas: &mut Canvas, sizes: Sizes, plot: &Plot<'_>) {
    canvas.open("cs-grid", "");
    for tick in &plot.y.ticks {
        let at = plot.y(*tick);
        canvas.line("", (plot.left, at), (plot.right, at));
    }
    canvas.close();
    canvas.open("cs-tick", "");
    let mut lowest = f64::INFINITY;
    for (tick, label) in plot.y.ticks.iter().zip(&plot.y.labels) {
        let at = plot.y(*tick);
        // Ticks given by a caller may lie on each other.
        if lowest - at >= sizes.small || (lowest - at).is_nan() || lowest.is_infinite() {
            let label = text::fitted(label, sizes.small, plot.left - 8.0);
            canvas.text("cs-small", Anchor::End, (plot.left - 8.0, at + sizes.small * 0.35), &label);
            lowest = at;
        }
    }
    canvas.close();
    canvas.line("class=\"cs-base\"", (plot.left, plot.bottom), (plot.right, plot.bottom));
}

/// A row of labels below the plot, thinned where they would touch.
fn paint_row(canvas: &mut Canvas, sizes: Sizes, plot: &Plot<'_>, labels: &[(f64, &str)], base: f64) {
    let room = (plot.right - plot.left) / 2.0;
    let labels: Vec<(f64, String, f64)> = labels
        .iter()
        .map(|(at, label)| {
            let label = text::fitted(label, sizes.small, room);
            let width = text::width(&label, sizes.small);
            // At the edges labels stay inside the picture.
            let half = width / 2.0;
            let at = plot.x(*at).max(half).min((sizes.width - half).max(half));
            (at, label, width)
        })
        .collect();
    let places: Vec<f64> = labels.iter().map(|label| label.0).collect();
    let widths: Vec<f64> = labels.iter().map(|label| label.2).collect();
    canvas.open("cs-tick", "");
    for ((at, label, _), shown) in labels.iter().zip(thinned(&places, &widths, 5.0)) {
        if shown {
            canvas.text("cs-small", Anchor::Middle, (*at, base), label);
        }
    }
    canvas.close();
}

/// Sentences below the drawing; the y where they end.
pub(crate) fn paint_notes(canvas: &mut Canvas, sizes: Sizes, top: f64, notes: &[String]) -> f64 {
    let mut below = top;
    for note in notes {
        for line in text::wrapped(note, sizes.small, sizes.width - 4.0, 3) {
            below += sizes.small + 4.0;
            canvas.text("cs-small cs-muted", Anchor::Start, (0.0, below), &line);
        }
    }
    below + 6.0
}
