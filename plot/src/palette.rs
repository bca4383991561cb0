//! Colours, dashes and shapes: told apart by people with any colour vision, in light and dark, on paper,
//! and by shape and dash alone.

use serde::{Deserialize, Serialize};

/// How one series looks everywhere. Each has a colour, a dash and a shape of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeriesStyle {
    /// The unchanged model: blue, solid, ●.
    Original,
    /// The coding spot: orange, dashed, ▲.
    Spot,
    /// The random control: grey, dotted, ■.
    Random,
    /// Chosen by magnitude: purple, long dashes, ◆.
    Magnitude,
    /// Chosen on general text: green, dash and dot, ▼.
    General,
    /// A difference of two: violet, short dashes, ✚.
    Difference,
    /// Six more; a number above 5 begins again.
    Other(u8),
}

/// The shape of a marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Circle,
    Triangle,
    Square,
    Diamond,
    TriangleDown,
    Plus,
    Cross,
    Star,
    Ring,
    Hexagon,
    HollowSquare,
    HollowDiamond,
}

pub(crate) struct Look {
    pub(crate) light: &'static str,
    pub(crate) dark: &'static str,
    pub(crate) dash: &'static str,
    pub(crate) shape: Shape,
}

const fn look(light: &'static str, dark: &'static str, dash: &'static str, shape: Shape) -> Look {
    Look { light, dark, dash, shape }
}

/// The first six were searched for the largest least distance under three dichromacies (Machado 2009),
/// ΔE76 ≥ 13, with the first three given; a test holds them to it.
pub(crate) const LOOKS: [Look; 12] = [
    look("#1b6ca8", "#7db8e8", "", Shape::Circle),
    look("#b35806", "#f1a340", "7 4", Shape::Triangle),
    look("#6b6b6b", "#b8bcc4", "1.5 4", Shape::Square),
    look("#a3228e", "#e864c0", "13 4", Shape::Diamond),
    look("#0b5d1e", "#c8f7a0", "10 3 2 3", Shape::TriangleDown),
    look("#4b1f91", "#a48cff", "4 3", Shape::Plus),
    look("#7f6400", "#e3d04f", "12 3 2 3 2 3", Shape::Cross),
    look("#b81d38", "#ff7d85", "8 3 4 3", Shape::Star),
    look("#006f79", "#56d3dd", "3 6", Shape::Ring),
    look("#7b4a2d", "#d9a07f", "16 3 4 3", Shape::Hexagon),
    look("#4d6b1f", "#a9cf6b", "2 2 7 2", Shape::HollowSquare),
    look("#8446ad", "#d5a6f2", "6 6", Shape::HollowDiamond),
];

impl SeriesStyle {
    /// The six with a meaning.
    pub const NAMED: [Self; 6] =
        [Self::Original, Self::Spot, Self::Random, Self::Magnitude, Self::General, Self::Difference];

    pub(crate) fn place(self) -> usize {
        match self {
            Self::Original => 0,
            Self::Spot => 1,
            Self::Random => 2,
            Self::Magnitude => 3,
            Self::General => 4,
            Self::Difference => 5,
            Self::Other(number) => 6 + usize::from(number) % 6,
        }
    }

    pub(crate) fn look(self) -> &'static Look {
        &LOOKS[self.place()]
    }

    /// The class that sets the custom property `--cs-c` to the colour of this style.
    pub fn class(self) -> String {
        format!("cs-s{}", self.place())
    }
}

/// Sequential: cividis in seven bins, dark is low.
pub(crate) const SEQUENTIAL: [&str; 7] =
    ["#00204d", "#31446b", "#575d6d", "#84837f", "#a69d75", "#d3c164", "#ffea46"];
/// Diverging: blue below, orange above, in seven bins.
pub(crate) const DIVERGING: [&str; 7] =
    ["#0b4f8a", "#4a90c8", "#b5d3ea", "#f5f5f5", "#f7cfa4", "#e08a2e", "#8f4a00"];

/// Red, green and blue of `#rrggbb`, linear, 0 to 1.
fn linear(colour: &str) -> [f64; 3] {
    [1, 3, 5].map(|at| {
        let part = colour.get(at..at + 2).and_then(|part| u8::from_str_radix(part, 16).ok()).unwrap_or(0);
        let part = f64::from(part) / 255.0;
        if part <= 0.040_45 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
    })
}

/// Contrast of two colours after WCAG 2.2, from 1 to 21.
pub(crate) fn contrast(one: &str, other: &str) -> f64 {
    let [one, other] = [one, other].map(|colour| {
        let [red, green, blue] = linear(colour);
        0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05
    });
    one.max(other) / one.min(other)
}

/// Whether white reads better than black on a colour.
pub(crate) fn white_on(colour: &str) -> bool {
    contrast(colour, "#ffffff") > contrast(colour, "#000000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_on_every_bin_reads_well() {
        for colour in SEQUENTIAL.into_iter().chain(DIVERGING) {
            let text = if white_on(colour) { "#ffffff" } else { "#000000" };
            let contrast = contrast(colour, text);
            assert!(contrast >= 4.5, "{colour}: {contrast:.2}");
        }
        assert!((contrast("#000000", "#ffffff") - 21.0).abs() < 1e-9);
    }

    #[test]
    fn series_colours_read_well_on_both_themes() {
        for look in &LOOKS {
            for (colour, paper) in [(look.light, "#ffffff"), (look.dark, "#1b1f22")] {
                assert!(
                    contrast(colour, paper) >= 4.5,
                    "{colour} on {paper}: {:.2}",
                    contrast(colour, paper)
                );
            }
        }
    }

    #[test]
    fn every_style_has_a_dash_and_a_shape_of_its_own() {
        for (place, one) in LOOKS.iter().enumerate() {
            for other in &LOOKS[..place] {
                assert!(one.dash != other.dash && one.shape != other.shape && one.light != other.light);
            }
        }
        assert_eq!(SeriesStyle::Other(255).place(), 6 + 3);
    }

    /// CIE L*a*b* of linear sRGB, D65.
    fn lab([red, green, blue]: [f64; 3]) -> [f64; 3] {
        let f = |t: f64| if t > 0.008_856 { t.cbrt() } else { 7.787 * t + 16.0 / 116.0 };
        let x = f((0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505);
        let y = f(0.2126 * red + 0.7152 * green + 0.0722 * blue);
        let z = f((0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089);
        [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
    }

    #[test]
    fn named_styles_differ_under_colour_blindness() {
        // Machado, Oliveira and Fernandes 2009, severity 1: none, protanopia, deuteranopia, tritanopia.
        let visions = [
            [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            [
                [0.152_286, 1.052_583, -0.204_868],
                [0.114_503, 0.786_281, 0.099_216],
                [-0.003_882, -0.048_116, 1.051_998],
            ],
            [
                [0.367_322, 0.860_646, -0.227_968],
                [0.280_085, 0.672_501, 0.047_413],
                [-0.011_820, 0.042_940, 0.968_881],
            ],
            [
                [1.255_528, -0.076_749, -0.178_779],
                [-0.078_411, 0.930_809, 0.147_602],
                [0.004_733, 0.691_367, 0.303_900],
            ],
        ];
        for vision in visions {
            let seen = |colour: &str| {
                let linear = linear(colour);
                lab(vision.map(|row: [f64; 3]| {
                    row.iter().zip(linear).map(|(a, b)| a * b).sum::<f64>().clamp(0.0, 1.0)
                }))
            };
            for theme in [|look: &Look| look.light, |look: &Look| look.dark] {
                for (place, one) in LOOKS[..6].iter().enumerate() {
                    for other in &LOOKS[..place] {
                        let [one, other] = [theme(one), theme(other)];
                        let distance = seen(one)
                            .iter()
                            .zip(seen(other))
                            .map(|(a, b)| (a - b).powi(2))
                            .sum::<f64>()
                            .sqrt();
                        assert!(distance >= 12.0, "{one} and {other}: {distance:.1}");
                    }
                }
            }
        }
    }
}
