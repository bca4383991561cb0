//! SVG, an element at a time. Text is escaped here and nowhere else.

use crate::escape::escape;
use crate::palette::{SeriesStyle, Shape};

/// The width in pixels that charts for a screen are drawn for.
pub const WIDE: u32 = 740;
/// The width in pixels that charts for a phone are drawn for.
pub const NARROW: u32 = 340;
/// From this width on there is room beside the plot.
const ROOMY: u32 = 560;

/// Sizes that follow from the width.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) width: f64,
    pub(crate) wide: bool,
    /// The size of most text.
    pub(crate) text: f64,
    /// The size of ticks, units and notes. Never below 12, which stays above 11 on a phone 360 wide.
    pub(crate) small: f64,
}

impl Sizes {
    pub(crate) fn new(width: u32) -> Self {
        let width = width.clamp(240, 4000);
        let wide = width >= ROOMY;
        let text = if wide { 13.5 } else { 12.5 };
        Self { width: f64::from(width), wide, text, small: if wide { 12.5 } else { 12.0 } }
    }
}

/// Where text begins, or its middle, or its end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// An SVG in the making.
#[derive(Debug, Default)]
pub(crate) struct Canvas {
    body: String,
    definitions: String,
}

/// A coordinate: short, and never anything that SVG can't read.
pub(crate) fn place(value: f64) -> String {
    let value = if value.is_finite() { value.clamp(-1e6, 1e6) } else { 0.0 };
    let text = format!("{value:.1}");
    let text = text.strip_suffix(".0").unwrap_or(&text);
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

impl Canvas {
    /// A group with a class and, if not empty, a tooltip.
    pub(crate) fn open(&mut self, class: &str, tooltip: &str) {
        self.body.push_str(&if class.is_empty() {
            "<g>".to_owned()
        } else {
            format!("<g class=\"{class}\">")
        });
        self.tooltip(tooltip);
    }

    fn tooltip(&mut self, tooltip: &str) {
        if !tooltip.is_empty() {
            self.body.push_str(&format!("<title>{}</title>", escape(tooltip)));
        }
    }

    pub(crate) fn close(&mut self) {
        self.body.push_str("</g>\n");
    }

    pub(crate) fn define(&mut self, definition: &str) {
        self.definitions.push_str(definition);
    }

    /// A line; `attributes` are the caller's own, never from data.
    pub(crate) fn line(&mut self, attributes: &str, from: (f64, f64), to: (f64, f64)) {
        self.body.push_str(&format!(
            "<line {attributes} x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>",
            place(from.0),
            place(from.1),
            place(to.0),
            place(to.1)
        ));
    }

    /// A rectangle; negative sizes become 0.
    pub(crate) fn rect(&mut self, attributes: &str, corner: (f64, f64), size: (f64, f64)) {
        self.body.push_str(&format!(
            "<rect {attributes} x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>",
            place(corner.0),
            place(corner.1),
            place(size.0.max(0.0)),
            place(size.1.max(0.0))
        ));
    }

    pub(crate) fn path(&mut self, attributes: &str, d: &str) {
        self.body.push_str(&format!("<path {attributes} d=\"{d}\"/>"));
    }

    pub(crate) fn text(&mut self, class: &str, anchor: Anchor, at: (f64, f64), text: &str) {
        self.body.push_str(&format!(
            "<text class=\"{class}\"{} x=\"{}\" y=\"{}\">{}</text>",
            anchor_attribute(anchor),
            place(at.0),
            place(at.1),
            escape(text)
        ));
    }

    /// Text turned clockwise by so many degrees about a place.
    pub(crate) fn turned(&mut self, class: &str, anchor: Anchor, at: (f64, f64), degrees: i32, text: &str) {
        self.body.push_str(&format!(
            "<text class=\"{class}\"{} transform=\"translate({} {}) rotate({degrees})\">{}</text>",
            anchor_attribute(anchor),
            place(at.0),
            place(at.1),
            escape(text)
        ));
    }

    /// A marker with the colour of the group around it.
    pub(crate) fn marker(&mut self, shape: Shape, at: (f64, f64), size: f64) {
        let (class, d) = marker_path(shape, at, size);
        self.path(&format!("class=\"{class}\""), &d);
    }

    /// A piece of a series as legends have it: its line, and its marker in the middle.
    pub(crate) fn swatch(&mut self, style: SeriesStyle, at: (f64, f64), length: f64) {
        let look = style.look();
        self.line(&stroke(style), at, (at.0 + length, at.1));
        self.marker(look.shape, (at.0 + length / 2.0, at.1), 4.0);
    }

    /// The whole SVG. Without a style sheet of its own it is a part of HTML, where no namespace is needed.
    pub(crate) fn finish(self, frame: &Frame<'_>) -> String {
        let id = frame.id;
        let (width, height) = (place(frame.sizes.width), place(frame.height));
        let namespace = if frame.style.is_some() { " xmlns=\"http://www.w3.org/2000/svg\"" } else { "" };
        let size = if frame.style.is_some() {
            format!(" width=\"{width}\" height=\"{height}\"")
        } else {
            String::new()
        };
        let form = if frame.sizes.wide { "cs-wide" } else { "cs-narrow" };
        let mut definitions = String::new();
        if let Some(style) = &frame.style {
            definitions.push_str(&format!("<style>{style}</style>"));
        }
        if !self.definitions.is_empty() {
            definitions.push_str(&format!("<defs>{}</defs>", self.definitions));
        }
        format!(
            "<svg{namespace} class=\"cs-chart {form}\" id=\"{id}\" role=\"img\" \
             aria-labelledby=\"{id}.title {id}.desc\" viewBox=\"0 0 {width} {height}\"{size}>\
             <title id=\"{id}.title\">{}</title><desc id=\"{id}.desc\">{}</desc>{definitions}\n{}</svg>",
            escape(frame.title),
            escape(&frame.description),
            self.body
        )
    }
}

/// What surrounds the drawing.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    /// Safe as it is.
    pub(crate) id: &'a str,
    pub(crate) title: &'a str,
    pub(crate) description: String,
    pub(crate) sizes: Sizes,
    pub(crate) height: f64,
    /// The style sheet, for an SVG that stands alone.
    pub(crate) style: Option<String>,
}

fn anchor_attribute(anchor: Anchor) -> &'static str {
    match anchor {
        Anchor::Start => "",
        Anchor::Middle => " text-anchor=\"middle\"",
        Anchor::End => " text-anchor=\"end\"",
    }
}

/// The attributes of a series' line.
pub(crate) fn stroke(style: SeriesStyle) -> String {
    let dash = style.look().dash;
    if dash.is_empty() {
        "class=\"cs-line\"".to_owned()
    } else {
        format!("class=\"cs-line\" stroke-dasharray=\"{dash}\"")
    }
}

/// A closed outline through points given as angle (from the top, in turns) and radius.
fn outline(at: (f64, f64), corners: &[(f64, f64)]) -> String {
    let mut d = String::new();
    for (turn, radius) in corners {
        let (sin, cos) = (turn * std::f64::consts::TAU).sin_cos();
        let letter = if d.is_empty() { 'M' } else { 'L' };
        d.push_str(&format!("{letter}{} {}", place(at.0 + radius * sin), place(at.1 - radius * cos)));
    }
    d.push('Z');
    d
}

fn marker_path(shape: Shape, at: (f64, f64), r: f64) -> (&'static str, String) {
    let regular = |corners: u8, turn: f64, radius: f64| {
        let corners: Vec<(f64, f64)> =
            (0..corners).map(|corner| (turn + f64::from(corner) / f64::from(corners), radius)).collect();
        outline(at, &corners)
    };
    let circle = format!(
        "M{0} {2}A{3} {3} 0 1 1 {1} {2}A{3} {3} 0 1 1 {0} {2}Z",
        place(at.0 - r),
        place(at.0 + r),
        place(at.1),
        place(r)
    );
    let strokes = |turn: f64| {
        let arm = |turn: f64| {
            let (sin, cos) = (turn * std::f64::consts::TAU).sin_cos();
            (r * 1.2 * sin, r * 1.2 * cos)
        };
        let ((a, b), (c, d)) = (arm(turn), arm(turn + 0.25));
        format!(
            "M{} {}L{} {}M{} {}L{} {}",
            place(at.0 - a),
            place(at.1 - b),
            place(at.0 + a),
            place(at.1 + b),
            place(at.0 - c),
            place(at.1 - d),
            place(at.0 + c),
            place(at.1 + d)
        )
    };
    let full = "cs-mark";
    let hollow = "cs-mark cs-hollow";
    match shape {
        Shape::Circle => (full, circle),
        Shape::Ring => (hollow, circle),
        Shape::Triangle => (full, regular(3, 0.0, r * 1.35)),
        Shape::TriangleDown => (full, regular(3, 0.5, r * 1.35)),
        Shape::Square => (full, regular(4, 0.125, r * 1.25)),
        Shape::HollowSquare => (hollow, regular(4, 0.125, r * 1.25)),
        Shape::Diamond => (full, regular(4, 0.0, r * 1.4)),
        Shape::HollowDiamond => (hollow, regular(4, 0.0, r * 1.4)),
        Shape::Hexagon => (full, regular(6, 0.0, r * 1.2)),
        Shape::Plus => ("cs-mark cs-strokes", strokes(0.0)),
        Shape::Cross => ("cs-mark cs-strokes", strokes(0.125)),
        Shape::Star => {
            let corners: Vec<(f64, f64)> = (0..10_u8)
                .map(|corner| (f64::from(corner) / 10.0, if corner % 2 == 0 { r * 1.5 } else { r * 0.65 }))
                .collect();
            (full, outline(at, &corners))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_short_and_finite() {
        assert_eq!(place(1.0), "1");
        assert_eq!(place(-0.01), "0");
        assert_eq!(place(f64::NAN), "0");
        assert_eq!(place(f64::INFINITY), "0");
        assert_eq!(place(12.345), "12.3");
    }
}
