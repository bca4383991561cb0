//! Horizontal bars, and dots with whiskers: shares, replacements, differences with their intervals.

use crate::canvas::{Anchor, Canvas, Frame, Sizes};
use crate::line::paint_notes;
use crate::mark::Mark;
use crate::number;
use crate::palette::SeriesStyle;
use crate::scale::{Axis, Fitted, Scale};
use crate::spread::thinned;
use crate::table::{Cell, Table};
use crate::text;
use serde::{Deserialize, Serialize};

/// How rows are drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BarForm {
    /// Bars from zero. On a logarithmic axis, which has no zero, dots instead.
    #[default]
    Bars,
    /// Dots with whiskers.
    Dots,
    /// Dots with whiskers beside a line at zero, for differences.
    Forest,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    /// Its name.
    pub label: String,
    /// Its look.
    pub style: SeriesStyle,
    /// The value; none is said to be missing.
    pub value: Option<f64>,
    /// The lower end of its interval.
    pub low: Option<f64>,
    /// The upper end of its interval.
    pub high: Option<f64>,
}

impl Bar {
    /// A row without an interval.
    pub fn new(label: impl Into<String>, style: SeriesStyle, value: f64) -> Self {
        Self { label: label.into(), style, value: Some(value), low: None, high: None }
    }

    /// The same row with an interval.
    #[must_use]
    pub fn with_interval(mut self, low: f64, high: f64) -> Self {
        self.low = Some(low);
        self.high = Some(high);
        self
    }
}

/// Rows under a common heading.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BarGroup {
    /// The heading; empty for none.
    pub name: String,
    /// The rows.
    pub bars: Vec<Bar>,
}

/// Horizontal bars or dots in groups.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BarChart {
    /// What the chart shows, in a few words.
    pub title: String,
    /// The axis of values.
    pub value: Axis,
    /// The rows.
    pub groups: Vec<BarGroup>,
    /// Reference lines, all vertical here whatever their direction.
    pub marks: Vec<Mark>,
    /// Bars or dots.
    pub form: BarForm,
}

impl BarChart {
    fn with_zero(&self) -> bool {
        self.form != BarForm::Dots && self.value.scale == Scale::Linear
    }

    fn bars(&self) -> impl Iterator<Item = &Bar> {
        self.groups.iter().flat_map(|group| &group.bars)
    }

    fn drawable(&self, bar: &Bar) -> Option<f64> {
        bar.value.filter(|value| self.value.can_draw(*value))
    }

    fn interval(&self, bar: &Bar) -> Option<(f64, f64)> {
        let (low, high) = (bar.low?, bar.high?);
        (self.value.can_draw(low) && self.value.can_draw(high)).then(|| (low.min(high), low.max(high)))
    }

    fn marks(&self) -> impl Iterator<Item = &Mark> {
        self.marks.iter().filter(|mark| self.value.can_draw(mark.at))
    }

    fn fit(&self, wide: bool) -> Fitted {
        let values = self
            .bars()
            .flat_map(|bar| {
                let interval = self.interval(bar);
                [self.drawable(bar), interval.map(|ends| ends.0), interval.map(|ends| ends.1)]
            })
            .flatten()
            .chain(self.marks().flat_map(Mark::values))
            .chain(self.with_zero().then_some(0.0));
        self.value.fit(values, if wide { 6 } else { 4 })
    }

    fn write(&self, bar: &Bar) -> String {
        let write = |value: f64| match self.value.decimals {
            Some(places) if self.form == BarForm::Forest && value.abs() < 1e12 => {
                number::signed(value, usize::from(places))
            }
            _ => self.value.write(value),
        };
        bar.value
            .map_or("no value".to_owned(), |value| number::with_interval(value, bar.low, bar.high, write))
    }

    /// What the drawing leaves out, in sentences.
    pub fn notes(&self) -> Vec<String> {
        let fitted = self.fit(true);
        let mut notes = Vec::new();
        let count = |test: &dyn Fn(&Bar) -> bool| self.bars().filter(|bar| test(bar)).count();
        let below =
            count(&|bar| self.value.scale == Scale::Log10 && bar.value.is_some_and(|value| value <= 0.0));
        if below > 0 {
            notes
                .push(format!("The logarithmic axis has no place for {below} of the values, at 0 or below."));
        }
        let outside = count(&|bar| self.drawable(bar).is_some_and(|value| !fitted.holds(value)));
        if outside > 0 {
            notes.push(format!("{outside} of the values outside the range shown."));
        }
        if self.bars().next().is_none() {
            notes.push("No values.".to_owned());
        }
        notes
    }

    fn description(&self) -> String {
        let form = if self.form == BarForm::Bars { "Bar chart" } else { "Dot plot with intervals" };
        let mut text = format!("{form} of {}.", self.value.title());
        for group in &self.groups {
            if !group.name.is_empty() {
                text.push_str(&format!(" {}:", group.name));
            }
            for bar in group.bars.iter().take(40) {
                text.push_str(&format!(" {}: {}.", bar.label, self.write(bar)));
            }
        }
        for mark in &self.marks {
            text.push_str(&format!(" {}.", mark.words(&self.value)));
        }
        text
    }

    /// The values as a table.
    pub fn table(&self) -> Table {
        let grouped = self.groups.iter().any(|group| !group.name.is_empty());
        let mut head = vec![String::new(), self.value.title()];
        if grouped {
            head.insert(1, "Group".to_owned());
        }
        let mut rows = Vec::new();
        for group in &self.groups {
            for bar in &group.bars {
                let mut row = vec![Cell::head(bar.label.clone())];
                if grouped {
                    row.push(Cell::label(group.name.clone()));
                }
                row.push(match bar.value {
                    Some(value) => Cell::Number {
                        text: self.write(bar),
                        value: Some(value),
                        low: bar.low,
                        high: bar.high,
                    },
                    None => Cell::label("no value"),
                });
                rows.push(row);
            }
        }
        let notes = self.marks.iter().map(|mark| format!("{}.", mark.words(&self.value))).collect();
        Table { notes, ..Table::new(self.title.clone(), head, rows) }
    }

    pub(crate) fn draw(&self, id: &str, width: u32, style: Option<String>) -> String {
        let sizes = Sizes::new(width);
        let mut canvas = Canvas::default();
        let height = self.paint(&mut canvas, sizes);
        canvas.finish(&Frame {
            id,
            title: &self.title,
            description: self.description(),
            sizes,
            height,
            style,
        })
    }

    fn paint(&self, canvas: &mut Canvas, sizes: Sizes) -> f64 {
        let fitted = self.fit(sizes.wide);
        let widest = |texts: &mut dyn Iterator<Item = f64>| texts.fold(0.0, f64::max);
        let labels = widest(&mut self.bars().map(|bar| text::width(&bar.label, sizes.text)));
        let values = widest(&mut self.bars().map(|bar| text::width(&self.write(bar), sizes.small)));
        // On a phone names and values stand above their bars.
        let (left, right) = if sizes.wide {
            (labels.min(sizes.width * 0.34) + 12.0, sizes.width - values.min(sizes.width * 0.3) - 14.0)
        } else {
            (10.0, sizes.width - 12.0)
        };
        let x = |value: f64| left + fitted.share(value).clamp(0.0, 1.0) * (right - left);
        let row_height = if sizes.wide { 25.0 } else { 26.0 + sizes.text };

        let mut top = 2.0;
        let mark_labels = self.marks().filter(|mark| fitted.holds(mark.at)).count();
        let mark_top = top;
        top += mark_labels as f64 * (sizes.small + 4.0) + if mark_labels > 0 { 6.0 } else { 0.0 };
        let mut rows = Vec::new();
        let mut heads = Vec::new();
        let mut y = top;
        for (place, group) in self.groups.iter().enumerate() {
            if !group.name.is_empty() {
                y += if place > 0 { 10.0 } else { 0.0 } + sizes.text + 6.0;
                heads.push((y - 5.0, group.name.as_str()));
            } else if place > 0 {
                y += 12.0;
            }
            for bar in &group.bars {
                rows.push((y, bar));
                y += row_height;
            }
        }
        let bottom = y + 4.0;

        canvas.open("cs-grid", "");
        for tick in &fitted.ticks {
            canvas.line("", (x(*tick), top), (x(*tick), bottom));
        }
        canvas.close();
        for (row, mark) in self.marks().filter(|mark| fitted.holds(mark.at)).enumerate() {
            let at = x(mark.at);
            if let Some((low, high)) = mark
                .low
                .zip(mark.high)
                .filter(|(low, high)| self.value.can_draw(*low) && self.value.can_draw(*high))
            {
                let ends = [x(low.min(high)), x(low.max(high))];
                canvas.rect("class=\"cs-mark-band\"", (ends[0], top), (ends[1] - ends[0], bottom - top));
            }
            let base = mark_top + sizes.small + row as f64 * (sizes.small + 4.0);
            let label = text::fitted(&mark.label, sizes.small, sizes.width - 8.0);
            let half = text::width(&label, sizes.small) / 2.0;
            canvas.open("", &mark.words(&self.value));
            canvas.line("class=\"cs-reference\"", (at, base + 4.0), (at, bottom));
            canvas.text(
                "cs-small cs-halo",
                Anchor::Middle,
                (at.max(half).min((sizes.width - half).max(half)), base),
                &label,
            );
            canvas.close();
        }
        for (base, name) in heads {
            canvas.text(
                "cs-group cs-halo",
                Anchor::Start,
                (0.0, base),
                &text::fitted(name, sizes.text * text::BOLD, sizes.width),
            );
        }
        if fitted.low <= 0.0 && fitted.high >= 0.0 {
            canvas.line("class=\"cs-base\"", (x(0.0), top), (x(0.0), bottom));
        }
        for (row, bar) in rows {
            self.paint_row(canvas, sizes, bar, row, (left, right), &x);
        }
        self.paint_axis(canvas, sizes, &fitted, bottom, (left, right), &x)
    }

    fn paint_row(
        &self,
        canvas: &mut Canvas,
        sizes: Sizes,
        bar: &Bar,
        top: f64,
        (left, right): (f64, f64),
        x: &dyn Fn(f64) -> f64,
    ) {
        let words = self.write(bar);
        canvas.open(&bar.style.class(), &format!("{}: {words} {}", bar.label, self.value.unit));
        let middle = if sizes.wide {
            let base = top + 12.5 + sizes.text * 0.35;
            let name = text::fitted(&bar.label, sizes.text, left - 12.0);
            canvas.text("cs-ink", Anchor::End, (left - 12.0, base), &name);
            let value = text::fitted(&words, sizes.small, sizes.width - right - 10.0);
            // Bars carry their values; dots have them in a column, as intervals are compared there.
            if self.form == BarForm::Bars {
                let end = [self.drawable(bar), bar.high.filter(|high| self.value.can_draw(*high)), Some(0.0)];
                let end = end.into_iter().flatten().fold(f64::NEG_INFINITY, f64::max);
                let at = if self.value.scale == Scale::Linear { x(end) + 8.0 } else { right + 8.0 };
                canvas.text("cs-small cs-ink cs-halo", Anchor::Start, (at, base), &value);
            } else {
                canvas.text("cs-small cs-ink", Anchor::End, (sizes.width - 2.0, base), &value);
            }
            top + 12.5
        } else {
            let value = text::fitted(&words, sizes.small, sizes.width * 0.6);
            let room = sizes.width - text::width(&value, sizes.small) - 12.0;
            canvas.text(
                "cs-ink cs-halo",
                Anchor::Start,
                (0.0, top + sizes.text),
                &text::fitted(&bar.label, sizes.text, room),
            );
            canvas.text("cs-small cs-ink cs-halo", Anchor::End, (sizes.width, top + sizes.text), &value);
            top + sizes.text + 12.0
        };
        let value = self.drawable(bar);
        let interval = self.interval(bar).map(|(low, high)| (x(low), x(high)));
        if let (BarForm::Bars, Scale::Linear, Some(value)) = (self.form, self.value.scale, value) {
            let (from, to) = (x(0.0).min(x(value)), x(0.0).max(x(value)));
            canvas.rect("class=\"cs-bar\"", (from, middle - 6.5), ((to - from).max(1.0), 13.0));
            if let Some((low, high)) = interval {
                canvas.line("class=\"cs-error\"", (low, middle), (high, middle));
                for end in [low, high] {
                    canvas.line("class=\"cs-error\"", (end, middle - 3.5), (end, middle + 3.5));
                }
            }
        } else {
            if let Some((low, high)) = interval {
                canvas.line("class=\"cs-whisker\"", (low, middle), (high, middle));
                for end in [low, high] {
                    canvas.line("class=\"cs-whisker\"", (end, middle - 3.5), (end, middle + 3.5));
                }
            }
            if let Some(value) = value {
                canvas.marker(bar.style.look().shape, (x(value), middle), 4.6);
            }
        }
        canvas.close();
    }

    fn paint_axis(
        &self,
        canvas: &mut Canvas,
        sizes: Sizes,
        fitted: &Fitted,
        bottom: f64,
        (left, right): (f64, f64),
        x: &dyn Fn(f64) -> f64,
    ) -> f64 {
        let mut below = bottom + sizes.small + 4.0;
        let widths: Vec<f64> = fitted.labels.iter().map(|label| text::width(label, sizes.small)).collect();
        let places: Vec<f64> = fitted
            .ticks
            .iter()
            .zip(&widths)
            .map(|(tick, width)| x(*tick).max(width / 2.0).min(sizes.width - width / 2.0))
            .collect();
        canvas.open("cs-tick", "");
        let shown = thinned(&places, &widths, 8.0);
        for ((place, label), _) in places.iter().zip(&fitted.labels).zip(shown).filter(|(_, shown)| *shown) {
            canvas.text("cs-small", Anchor::Middle, (*place, below), label);
        }
        canvas.close();
        let mut title = self.value.title();
        if self.value.scale == Scale::Log10 && !title.is_empty() {
            title.push_str(", log scale");
        }
        below += 3.0;
        for line in text::wrapped(&title, sizes.text, sizes.width, 2) {
            below += sizes.text + 4.0;
            let half = text::width(&line, sizes.text) / 2.0;
            let middle = f64::midpoint(left, right).max(half).min((sizes.width - half).max(half));
            canvas.text("cs-axis", Anchor::Middle, (middle, below), &line);
        }
        paint_notes(canvas, sizes, below + 4.0, &self.notes())
    }
}
