//! The names of lines: beside their ends where there is room, below the plot else.

use crate::canvas::{Anchor, Canvas, Sizes, place};
use crate::line::Plot;
use crate::palette::SeriesStyle;
use crate::spread::spread;
use crate::text;

/// A label of the legend: a series or a horizontal mark.
pub(crate) struct Key<'a> {
    pub(crate) style: Option<SeriesStyle>,
    pub(crate) lines: Vec<String>,
    pub(crate) name: &'a str,
    /// Where it points at: the last drawn point of a series, the right end of a mark.
    pub(crate) target: Option<(f64, f64)>,
}

/// The height that a label takes, with the room around it.
pub(crate) fn key_height(key: &Key<'_>, sizes: Sizes) -> f64 {
    key.lines.len().max(1) as f64 * (sizes.text + 2.0) + 4.0
}

fn open_key(canvas: &mut Canvas, key: &Key<'_>) {
    let class = key.style.map_or_else(String::new, SeriesStyle::class);
    canvas.open(&class, key.name);
}

fn paint_key(canvas: &mut Canvas, sizes: Sizes, key: &Key<'_>, at: (f64, f64)) {
    match key.style {
        Some(style) => canvas.swatch(style, at, 22.0),
        None => canvas.line("class=\"cs-reference\"", at, (at.0 + 22.0, at.1)),
    }
    let step = sizes.text + 2.0;
    let first = at.1 - (key.lines.len().max(1) - 1) as f64 * step / 2.0 + sizes.text * 0.35;
    let class = if key.style.is_some() { "cs-key" } else { "cs-tick" };
    for (row, line) in key.lines.iter().enumerate() {
        canvas.text(class, Anchor::Start, (at.0 + 29.0, first + row as f64 * step), line);
    }
}

/// Labels beside the plot, each as near to the end of its line as the others leave it.
pub(crate) fn paint_keys_beside(canvas: &mut Canvas, sizes: Sizes, plot: &Plot<'_>, keys: &mut [Key<'_>]) {
    // Without a point there is nothing to be beside of: such keys come last.
    let target = |key: &Key<'_>| key.target.map_or(plot.bottom, |target| target.1);
    keys.sort_by(|one, other| target(one).total_cmp(&target(other)));
    let targets: Vec<f64> = keys.iter().map(target).collect();
    let heights: Vec<f64> = keys.iter().map(|key| key_height(key, sizes)).collect();
    let places = spread(&targets, &heights, plot.top - 4.0, plot.bottom + 8.0).unwrap_or(targets);
    for (key, at) in keys.iter().zip(places) {
        open_key(canvas, key);
        let start = plot.right + 14.0;
        if let Some((x, y)) =
            key.target.filter(|target| target.0 > plot.right - (plot.right - plot.left) * 0.3)
            && ((at - y).abs() > 3.0 || x < plot.right - 8.0)
        {
            let d = format!(
                "M{} {}L{} {}L{} {}",
                place(x + 6.0),
                place(y),
                place(plot.right.max(x + 6.0)),
                place(y),
                place(start - 3.0),
                place(at)
            );
            canvas.path("class=\"cs-leader\"", &d);
        }
        paint_key(canvas, sizes, key, (start, at));
        canvas.close();
    }
}

/// A legend in rows; the y where it ends.
pub(crate) fn paint_keys_below(canvas: &mut Canvas, sizes: Sizes, top: f64, keys: &[Key<'_>]) -> f64 {
    let mut x = 0.0;
    let mut y = top;
    let mut row = 0.0;
    for key in keys {
        let width = 29.0
            + key.lines.iter().map(|line| text::width(line, sizes.text * text::BOLD)).fold(0.0, f64::max)
            + 16.0;
        if x > 0.0 && x + width > sizes.width {
            x = 0.0;
            y += row;
            row = 0.0;
        }
        let height = key_height(key, sizes) + 2.0;
        open_key(canvas, key);
        paint_key(canvas, sizes, key, (x, y + height / 2.0));
        canvas.close();
        x += width;
        row = f64::max(row, height);
    }
    y + row + 4.0
}
