//! A page with every kind of chart from invented numbers:
//! `cargo run -p codingspot-plot --example gallery -- gallery.html`.

use codingspot_plot::number::{percent, short_count, thousands};
use codingspot_plot::{
    Axis, Bar, BarChart, BarForm, BarGroup, Block, Cell, ColorScale, HeatMap, Highlight, LineChart, Mark,
    Page, Pane, Point, Section, Series, SeriesStyle, Table,
};

const LANGUAGES: [&str; 12] =
    ["C", "C++", "C#", "Go", "Haskell", "Java", "JavaScript", "PHP", "Python", "Ruby", "Rust", "TypeScript"];
const MODULES: [&str; 11] = [
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
    "input_layernorm",
    "post_attention_layernorm",
    "embed_tokens",
    "lm_head",
];

/// Noise that is the same on every machine.
fn noise(seed: u32) -> f64 {
    let mixed = seed.wrapping_mul(2_654_435_761) ^ seed.rotate_left(13).wrapping_mul(40_503);
    f64::from(mixed % 10_007) / 10_007.0
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn dose() -> LineChart {
    let ks = [0.0, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 2.5e-3, 0.01, 0.03, 0.09, 0.25, 0.6, 1.5, 5.0];
    let curve = |name: &str, style, top: f64, knee: f64, seed: u32| {
        let point = |(place, &k): (usize, &f64)| {
            let place = u32::try_from(place).unwrap_or(0);
            let y = 0.86 + top / (1.0 + (knee / k.max(1e-9)).powf(0.9)) + 0.04 * noise(seed + place);
            let half = 0.03 + 0.06 * (y - 0.8) * noise(seed + 77 + place);
            Point::with_interval(k, y, y - half, y + half)
        };
        Series::new(name, style, ks.iter().enumerate().map(point).collect())
    };
    let mut magnitude = curve("By magnitude", SeriesStyle::Magnitude, 6.4, 2.2, 400);
    // A run that overflowed.
    magnitude.points[10] = Point::gap(0.25);
    let count = |k: f64| (k, short_count(codes(k)));
    LineChart {
        title: "Removing the coding spot ruins code long before random removal does".to_owned(),
        x: Axis::new("Share of parameters removed", "%").log().with_secondary(
            "number of parameters",
            [1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0, 5.0].map(count).to_vec(),
        ),
        y: Axis::new("Loss on held-out code", "nats per token").with_decimals(2),
        series: vec![
            curve("Coding spot, code", SeriesStyle::Spot, 8.1, 0.03, 100),
            curve("Coding spot, English", SeriesStyle::General, 2.6, 0.4, 200),
            curve("Random, same tensors", SeriesStyle::Random, 1.1, 8.0, 300),
            magnitude,
            curve("Code minus English", SeriesStyle::Difference, 5.7, 0.02, 500),
        ],
        marks: vec![
            Mark::vertical(0.012, "knee 0.012 % [0.006, 0.025]").with_interval(0.006, 0.025),
            Mark::horizontal(10.373, "guessing every token alike"),
        ],
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "invented counts")]
fn codes(k: f64) -> u64 {
    (k / 100.0 * 3_212_749_824.0).round() as u64
}

fn overlap() -> LineChart {
    let ks = [0.0025, 0.01, 0.03, 0.09, 0.25, 1.0, 5.0];
    let curve = |name: &str, style, top: f64, seed: u32| {
        let point = |(place, &k): (usize, &f64)| {
            let y = top * (0.55 + 0.1 * (k * 400.0_f64).ln()).min(1.1) * 0.7
                + 0.02 * noise(seed + u32::try_from(place).unwrap_or(0));
            Point::new(k, y)
        };
        Series::new(name, style, ks.iter().enumerate().map(point).collect())
    };
    LineChart {
        title: "Spots of two languages share far more parameters than chance".to_owned(),
        x: Axis::new("Size of each spot", "% of parameters").log().with_ticks(ks),
        y: Axis::new("Jaccard overlap", "").with_range(0.0, 1.0).with_decimals(3),
        series: vec![
            curve("JavaScript and TypeScript", SeriesStyle::Spot, 1.0, 10),
            curve("C and Haskell", SeriesStyle::Other(0), 0.62, 20),
            curve("Python and English prose", SeriesStyle::General, 0.4, 30),
            Series::new(
                "chance",
                SeriesStyle::Random,
                ks.iter().map(|&k| Point::new(k, k / 100.0 / (2.0 - k / 100.0))).collect(),
            ),
        ],
        marks: Vec::new(),
    }
}

fn languages() -> HeatMap {
    let cell = |row: usize, col: usize| {
        let seed = u32::try_from(row * 12 + col).unwrap_or(0);
        let same = if row == col { 3.1 } else { 0.0 };
        Some(same + 0.5 + 1.6 * noise(seed) * noise(seed + 9) - if row == 4 || col == 4 { 0.8 } else { 0.0 })
    };
    HeatMap {
        title: "Each spot hurts its own language most".to_owned(),
        row_label: "Spot of".to_owned(),
        col_label: "Loss measured on".to_owned(),
        rows: names(&LANGUAGES),
        cols: names(&LANGUAGES),
        cells: (0..12)
            .map(|row| (0..12).map(|col| if (row, col) == (7, 2) { None } else { cell(row, col) }).collect())
            .collect(),
        scale: ColorScale::diverging(0.0, "change of loss, nats per token"),
        cell_digits: 2,
        group_breaks: Vec::new(),
        emphasize: None,
        diagonal: true,
    }
}

fn layers(count: usize, scale: ColorScale, title: &str) -> HeatMap {
    let cell = |row: usize, col: usize| {
        if row >= 9 {
            // The embedding and the head stand before and after the layers.
            return (row == 9 && col == 0 || row == 10 && col + 1 == count).then_some(0.3);
        }
        let seed = u32::try_from(row * 97 + col * 13).unwrap_or(0);
        let depth = col as f64 / count as f64;
        let ratio = 2.0_f64.powf(5.0 * noise(seed) - 2.2 + 2.0 * depth - if row >= 7 { 2.0 } else { 0.0 });
        Some(if noise(seed + 3) < 0.06 { 0.0 } else { ratio })
    };
    HeatMap {
        title: title.to_owned(),
        row_label: "Module".to_owned(),
        col_label: "Layer".to_owned(),
        rows: names(&MODULES),
        cols: (0..count).map(|layer| layer.to_string()).collect(),
        cells: (0..MODULES.len()).map(|row| (0..count).map(|col| cell(row, col)).collect()).collect(),
        scale,
        cell_digits: 1,
        group_breaks: vec![6, 8],
        emphasize: Some((6, count - 1)),
        diagonal: false,
    }
}

fn verdicts() -> BarChart {
    let row = |label: &str, style, value: f64, half: f64| {
        Bar::new(label, style, value).with_interval(value - half, value + half)
    };
    BarChart {
        title: "Code loses more than prose, and more than at random".to_owned(),
        value: Axis::new("Change of loss", "nats per token").with_decimals(2),
        groups: vec![
            BarGroup {
                name: "Spot removed".to_owned(),
                bars: vec![
                    row("Code, ten languages", SeriesStyle::Spot, 4.31, 0.21),
                    row("Python", SeriesStyle::Spot, 3.72, 0.44),
                    row("English prose", SeriesStyle::General, 0.58, 0.12),
                ],
            },
            BarGroup {
                name: "Controls".to_owned(),
                bars: vec![
                    row("Random, same tensors", SeriesStyle::Random, 0.01, 0.03),
                    row("Largest magnitude", SeriesStyle::Magnitude, 0.36, 0.2),
                    row("Code minus prose", SeriesStyle::Difference, -0.42, 0.55),
                    Bar { value: None, ..Bar::new("Overflowed run", SeriesStyle::Other(1), 0.0) },
                ],
            },
        ],
        marks: Vec::new(),
        form: BarForm::Forest,
    }
}

fn mass() -> BarChart {
    let bar = |label: &str, value: f64| Bar::new(label, SeriesStyle::Spot, value);
    BarChart {
        title: "A handful of parameters carry much of the score".to_owned(),
        value: Axis::new("Share of the total score", "%").with_decimals(1),
        groups: vec![BarGroup {
            name: String::new(),
            bars: vec![
                bar("Top 1", 0.8),
                bar("Top 10", 3.9),
                bar("Top 100", 9.6),
                bar("Top 1,000", 17.2).with_interval(16.1, 18.4),
                bar("Top 10,000", 28.8).with_interval(27.2, 30.0),
            ],
        }],
        marks: vec![Mark::vertical(25.0, "a quarter")],
        form: BarForm::Bars,
    }
}

fn losses() -> Table {
    let rows = LANGUAGES.iter().enumerate().map(|(place, language)| {
        let seed = u32::try_from(place).unwrap_or(0);
        let value = 3.0 + 2.0 * noise(seed);
        vec![
            Cell::head(*language),
            Cell::fixed(0.8 + 0.3 * noise(seed + 50), 3),
            Cell::interval(value, value - 0.2, value + 0.23, 2),
            Cell::fixed(0.02 * noise(seed + 90), 3),
            Cell::count(65_536 + u64::from(seed) * 4_093),
        ]
    });
    let head = ["Language", "Original", "Spot removed", "Random removed", "Tokens"];
    let mut table = Table::new(
        "Nats per token on held-out text; 95 % intervals by bootstrap over files",
        names(&head),
        rows.collect(),
    );
    table.notes.push("Lower is better.".to_owned());
    table
}

fn where_section() -> Section {
    let density = || ColorScale::sequential("% of the module's parameters");
    let sentence = "Share of each module's parameters that belongs to the spot.";
    let late = layers(32, ColorScale::Log2Enrichment, "The spot lies in late layers' down projections");
    let blocks = vec![
        Block::figure(
            "layers-32",
            late,
            "Parameters of the spot against what a uniform spread would give. The framed cell is the largest.",
        ),
        Block::figure("layers-6", layers(6, density(), "Density of the spot in a small model"), sentence),
        Block::figure("layers-80", layers(80, density(), "Density of the spot in a large model"), sentence),
        Block::figure("mass", mass(), "How much of the sum of all scores the highest hold."),
    ];
    Section::new("where", "Where", blocks)
}

fn language_section() -> Section {
    let blocks = vec![
        Block::figure("matrix", languages(), "The diagonal is the effect of a spot on its own language."),
        Block::figure("overlap", overlap(), "Beside it what two random sets of that size would share."),
        Block::Table(losses()),
    ];
    Section::new("languages", "Languages", blocks)
}

fn verdict_section() -> Section {
    let pane =
        |label: &str, style, text: &str| Pane { label: label.to_owned(), style, text: text.to_owned() };
    let original = "return n % 2 == 0\n\n\ndef is_odd(n):\n    return not is_even(n)";
    let random = "return n % 2 == 0\n\n\ndef is_odd(n):\n    return n % 2 == 1";
    let spot = "the the of </script><img src=x onerror=alert(1)> the and";
    let blocks = vec![
        Block::figure(
            "forest",
            verdicts(),
            "Differences from the original with 95 % intervals; a whisker that crosses zero decides nothing.",
        ),
        Block::Heading("One prompt, before and after".to_owned()),
        Block::pre("Prompt", "def is_even(n):\n    "),
        Block::Panes(vec![
            pane("● Original", SeriesStyle::Original, original),
            pane("▲ Spot removed", SeriesStyle::Spot, spot),
            pane("■ Random removed", SeriesStyle::Random, random),
        ]),
    ];
    Section::new("verdicts", "Verdicts", blocks)
}

fn settings_section() -> Section {
    let fact = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let blocks = vec![
        Block::Facts(vec![
            fact("Weights", "fingerprint 4f0c3b1ed1f4a90f6ad1bbfb3c8b0c77a2ef81a0a2a5d0cc"),
            fact("Scores", "estimator first order, batches of 8 × 512 tokens, f32"),
            fact("Time", "412 s"),
        ]),
        Block::Details {
            summary: "Limits".to_owned(),
            blocks: vec![Block::List(names(&["The model is small.", "One seed."]))],
        },
    ];
    Section::new("settings", "Settings", blocks)
}

fn page() -> Page {
    let dose = Block::figure(
        "dose",
        dose(),
        "Loss against the share of parameters set to zero. Bands are 95 % intervals; the dashed line is the \
         knee of the spot's curve.",
    );
    let paragraph = "The dose-response curve of the spot bends at a hundredth of a percent, where random \
                     removal can't be told from the original.";
    let lead = [
        "Every parameter of an invented model (3,212,749,824 parameters) was scored on code in ten languages. \
         The highest-scored were set to zero, and beside them as many random parameters of the same tensors.",
        "All numbers on this page are made up to show the charts.",
    ];
    let share = format!("{} of {}", thousands(385_530), short_count(3_212_749_824));
    Page {
        title: "What a model loses with its coding spot".to_owned(),
        lead: names(&lead),
        highlights: vec![
            Highlight::new("+4.31 nats", "loss on code without the spot", "95 % interval 4.10 to 4.52"),
            Highlight::new("+0.01 nats", "with as many random parameters", "same tensors, seed 17"),
            Highlight::new(percent(0.000_12, 2), "of parameters at the knee", share),
            Highlight::new("7 of 8", "verdicts agree with the paper", "one could not be decided"),
        ],
        contents: vec![
            Section::new("how-much", "How much", vec![dose]).with_paragraph(paragraph),
            where_section(),
            language_section(),
            verdict_section(),
            settings_section(),
        ],
        footer: vec!["Made with the gallery of codingspot-plot.".to_owned()],
    }
}

fn main() -> std::io::Result<()> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "gallery.html".to_owned());
    std::fs::write(path, page().html())
}
