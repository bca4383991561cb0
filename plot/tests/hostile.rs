//! Whatever the data are, charts and pages are well-formed, finite and inert.

use codingspot_plot::{
    Axis, Bar, BarChart, BarForm, BarGroup, Block, Cell, Chart, ColorScale, Direction, Figure, HeatMap,
    Highlight, LineChart, Mark, NARROW, Page, Pane, Point, Scale, Section, Series, SeriesStyle, Table, WIDE,
};
use proptest::prelude::*;
use proptest::sample::select;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

const HOSTILE: [&str; 12] = [
    "",
    "loss",
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\" onload=\"alert(1)",
    "'&amp;]]><!-- -->",
    "\u{0}\u{1}\u{b}\u{1b}\u{7f}\u{9f}\u{fffe}\u{ffff}\r\n\t\u{2028}",
    "\u{202e}gnirts\u{202c} 日本語 🦀 e\u{301}",
    "| a \\| b \\\\| `c|d` | **e** |",
    "# [link](https://example.org) ![i](x.png) <b> &copy; 1. - ---",
    "```\n~~~\n- a\n  - b\n| --- |\n===\n[a]: b",
    "https://example.org/a.js a_very_long_name_without_any_space_that_could_be_broken_anywhere_at_all_01234",
];

const ODD: [f64; 10] =
    [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN, 5e-324, 1e300, 1e-300];

fn words() -> impl Strategy<Value = String> {
    prop_oneof![4 => select(&HOSTILE[..]).prop_map(str::to_owned), 1 => any::<String>()]
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        5 => -10.0..10.0_f64,
        2 => any::<f64>(),
        2 => select(&ODD[..]),
    ]
}

fn maybe() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![4 => number().prop_map(Some), 1 => Just(None)]
}

fn axis() -> impl Strategy<Value = Axis> {
    let ticks = proptest::option::weighted(0.3, proptest::collection::vec(number(), 0..12));
    let range = proptest::option::weighted(0.2, (number(), number()));
    let secondary =
        proptest::option::weighted(0.3, (words(), proptest::collection::vec((number(), words()), 0..8)));
    (words(), words(), any::<bool>(), ticks, range, secondary, any::<Option<u8>>()).prop_map(
        |(label, unit, log, ticks, range, secondary, decimals)| {
            let mut axis = Axis { ticks, range, decimals, ..Axis::new(label, unit) };
            if log {
                axis.scale = Scale::Log10;
            }
            match secondary {
                Some((label, ticks)) => axis.with_secondary(label, ticks),
                None => axis,
            }
        },
    )
}

fn style() -> impl Strategy<Value = SeriesStyle> {
    prop_oneof![select(&SeriesStyle::NAMED[..]), any::<u8>().prop_map(SeriesStyle::Other)]
}

fn mark() -> impl Strategy<Value = Mark> {
    (any::<bool>(), number(), words(), maybe(), maybe()).prop_map(|(vertical, at, label, low, high)| Mark {
        direction: if vertical { Direction::Vertical } else { Direction::Horizontal },
        at,
        label,
        low,
        high,
    })
}

fn line() -> impl Strategy<Value = Chart> {
    let point = (number(), maybe(), maybe(), maybe()).prop_map(|(x, y, low, high)| Point { x, y, low, high });
    let series = (words(), style(), proptest::collection::vec(point, 0..9))
        .prop_map(|(name, style, points)| Series { name, style, points });
    (
        words(),
        axis(),
        axis(),
        proptest::collection::vec(series, 0..24),
        proptest::collection::vec(mark(), 0..5),
    )
        .prop_map(|(title, x, y, series, marks)| LineChart { title, x, y, series, marks }.into())
}

fn heat() -> impl Strategy<Value = Chart> {
    let scale = prop_oneof![
        (words(), proptest::option::of((number(), number())))
            .prop_map(|(unit, range)| ColorScale::Sequential { unit, range }),
        (number(), words(), maybe()).prop_map(|(center, unit, limit)| ColorScale::Diverging {
            center,
            unit,
            limit
        }),
        Just(ColorScale::Log2Enrichment),
    ];
    let cells = proptest::collection::vec(proptest::collection::vec(maybe(), 0..20), 0..14);
    let names = |most| proptest::collection::vec(words(), 0..most);
    (
        (words(), words(), words(), names(14), names(20), cells, scale),
        (
            any::<u8>(),
            proptest::collection::vec(any::<usize>(), 0..3),
            any::<Option<(usize, usize)>>(),
            any::<bool>(),
        ),
    )
        .prop_map(
            |(
                (title, row_label, col_label, rows, cols, cells, scale),
                (cell_digits, group_breaks, emphasize, diagonal),
            )| {
                HeatMap {
                    title,
                    row_label,
                    col_label,
                    rows,
                    cols,
                    cells,
                    scale,
                    cell_digits,
                    group_breaks,
                    emphasize,
                    diagonal,
                }
                .into()
            },
        )
}

fn bars() -> impl Strategy<Value = Chart> {
    let bar = (words(), style(), maybe(), maybe(), maybe())
        .prop_map(|(label, style, value, low, high)| Bar { label, style, value, low, high });
    let group =
        (words(), proptest::collection::vec(bar, 0..5)).prop_map(|(name, bars)| BarGroup { name, bars });
    let form = select(&[BarForm::Bars, BarForm::Dots, BarForm::Forest][..]);
    (words(), axis(), proptest::collection::vec(group, 0..4), proptest::collection::vec(mark(), 0..3), form)
        .prop_map(|(title, value, groups, marks, form)| BarChart { title, value, groups, marks, form }.into())
}

fn chart() -> impl Strategy<Value = Chart> {
    prop_oneof![line(), heat(), bars()]
}

/// Parses markup and checks what holds for all of ours.
fn check(markup: &str) -> Result<(), TestCaseError> {
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let document = match roxmltree::Document::parse_with_options(markup, options) {
        Ok(document) => document,
        Err(error) => return Err(TestCaseError::fail(format!("{error}\n{markup}"))),
    };
    let mut ids = std::collections::BTreeSet::new();
    for node in document.descendants().filter(roxmltree::Node::is_element) {
        for attribute in node.attributes() {
            let (name, value) = (attribute.name(), attribute.value());
            prop_assert!(!name.starts_with("on") && name != "src" && name != "style", "{name}={value}");
            prop_assert!(name != "href" || value.starts_with('#'), "{name}={value}");
            if name == "id" {
                prop_assert!(ids.insert(value.to_owned()), "id {value} twice");
            }
            let coordinate = matches!(name, "x" | "y" | "x1" | "x2" | "y1" | "y2" | "width" | "height");
            if coordinate && node.tag_name().name() != "meta" {
                prop_assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{name}={value}");
            }
            if matches!(name, "d" | "viewBox" | "transform") {
                prop_assert!(!value.contains("NaN") && !value.contains("inf"), "{name}={value}");
            }
        }
        prop_assert!(
            !["img", "iframe", "object", "embed", "link", "foreignObject", "image", "use"]
                .contains(&node.tag_name().name())
        );
    }
    for node in document.descendants().filter(|node| node.has_attribute("aria-labelledby")) {
        for id in node.attribute("aria-labelledby").unwrap_or("").split(' ') {
            prop_assert!(ids.contains(id), "nothing has the id {id}");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_chart_is_well_formed(chart in chart(), id in words(), width in any::<u32>()) {
        check(&chart.svg(&id))?;
        check(&chart.svg_for(&id, NARROW))?;
        check(&chart.svg_for(&id, width))?;
        check(&chart.svg_file(&id))?;
        check(&chart.table().html())?;
        check(&Figure::new(id, chart.clone(), "What it shows.").html())?;
        let lines = chart.table().tsv();
        let tabs = lines.lines().map(|line| line.matches('\t').count());
        let tabs: std::collections::BTreeSet<usize> = tabs.collect();
        prop_assert_eq!(tabs.len(), 1);
    }

    #[test]
    fn every_table_comes_back_from_markdown(
        caption in words(),
        head in proptest::collection::vec(words(), 0..4),
        rows in proptest::collection::vec(proptest::collection::vec(words(), 0..4), 0..4),
    ) {
        let cells = |row: &Vec<String>| row.iter().map(Cell::label).collect();
        let table = Table::new(caption.clone(), head.clone(), rows.iter().map(cells).collect());
        let columns = rows.iter().chain([&head]).map(Vec::len).max().unwrap_or(0);
        let text = table.markdown();
        let mut found = Vec::new();
        let mut before = String::new();
        let mut cell = None;
        for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::TableCell) => cell = Some(String::new()),
                Event::End(TagEnd::TableCell) => found.extend(cell.take()),
                Event::Text(text) => cell.as_mut().unwrap_or(&mut before).push_str(&text),
                Event::Start(Tag::Paragraph | Tag::Strong | Tag::Table(_) | Tag::TableHead | Tag::TableRow)
                | Event::End(
                    TagEnd::Paragraph | TagEnd::Strong | TagEnd::Table | TagEnd::TableHead | TagEnd::TableRow,
                ) => {}
                other => return Err(TestCaseError::fail(format!("{other:?} in\n{text}"))),
            }
        }
        let all = |row: &Vec<String>| (0..columns).map(|at| plain(row.get(at).map_or("", String::as_str))).collect();
        let rows: Vec<Vec<String>> = if columns > 0 { [&head].into_iter().chain(&rows).map(all).collect() } else { vec![] };
        prop_assert_eq!(plain(&before), plain(&caption), "{}", text);
        prop_assert_eq!(found.iter().map(|text| plain(text)).collect::<Vec<_>>(), rows.concat(), "{}", text);
    }

    #[test]
    fn charts_come_back_from_json(chart in chart()) {
        let json = chart.json();
        let back: Chart = serde_json::from_str(&json).unwrap();
        // NaN is equal to nothing, and what isn't finite comes back as missing: the text is the same.
        prop_assert_eq!(&back.json(), &json);
        prop_assert_eq!(back.svg("c").len() > 100, true);
    }

    #[test]
    fn every_page_is_well_formed_and_inert(
        charts in proptest::collection::vec((words(), chart(), words()), 0..3),
        texts in proptest::collection::vec(words(), 12),
    ) {
        let figure = |(id, chart, sentence): &(String, Chart, String)| {
            Block::figure(id.clone(), chart.clone(), sentence.clone())
        };
        let figures = charts.iter().map(figure);
        let text = |place: usize| texts[place].clone();
        let mut blocks: Vec<Block> = figures.collect();
        blocks.extend([
            Block::Heading(text(0)),
            Block::Paragraph(text(1)),
            Block::List(vec![text(2), text(3)]),
            Block::Pre { label: text(4), text: text(5) },
            Block::Panes(vec![Pane { label: text(6), style: SeriesStyle::Spot, text: text(7) }]),
            Block::Facts(vec![(text(8), text(9))]),
            Block::Table(Table::new(
                text(10),
                vec![text(11), text(0)],
                vec![vec![Cell::label(text(1)), Cell::fixed(f64::NAN, 2)], vec![]],
            )),
        ]);
        let details = Block::Details { summary: text(2), blocks: blocks.clone() };
        let page = Page {
            title: text(3),
            lead: vec![text(4)],
            highlights: vec![Highlight::new(text(5), text(6), text(7))],
            contents: vec![
                Section::new(text(8), text(9), blocks).with_paragraph(text(10)),
                Section::new(text(8), text(11), vec![details]),
            ],
            footer: vec![text(0)],
        };
        let html = page.html();
        check(&html)?;
        let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
        let document = roxmltree::Document::parse_with_options(&html, options).unwrap();
        let scripts: Vec<_> = document.descendants().filter(|node| node.has_tag_name("script")).collect();
        // Twice, as the blocks stand in two sections, and twice, as each has its data and its table.
        prop_assert_eq!(scripts.len(), 1 + charts.len() * 4);
        let mut data = charts.iter().chain(&charts).map(|(_, chart, _)| chart.json());
        let is_data = |id: &str| id.starts_with("data-");
        for script in scripts.iter().filter(|node| node.attribute("id").is_some_and(is_data)) {
            let chart: Chart = serde_json::from_str(script.text().unwrap_or("")).unwrap();
            prop_assert_eq!(Some(chart.json()), data.next());
        }
        prop_assert!(data.next().is_none());
        for event in Parser::new_ext(&page.markdown(), Options::all()) {
            let inert = !matches!(
                event,
                Event::Html(_) | Event::InlineHtml(_) | Event::Code(_) | Event::Rule
                    | Event::FootnoteReference(_) | Event::InlineMath(_) | Event::DisplayMath(_) | Event::TaskListMarker(_)
                    | Event::Start(Tag::Link { .. } | Tag::Image { .. } | Tag::HtmlBlock | Tag::BlockQuote(_)
                        | Tag::FootnoteDefinition(_) | Tag::Emphasis | Tag::Strikethrough | Tag::MetadataBlock(_))
            );
            prop_assert!(inert, "{event:?} in\n{}", page.markdown());
        }
        let page_json = serde_json::to_string(&page).unwrap();
        let back: Page = serde_json::from_str(&page_json).unwrap();
        prop_assert_eq!(serde_json::to_string(&back).unwrap(), page_json);
    }
}

/// Text without control characters, and with one space wherever there is white space.
fn plain(text: &str) -> String {
    let text: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn check_all(chart: impl Into<Chart>) -> String {
    let chart = chart.into();
    for width in [0, NARROW, WIDE, u32::MAX] {
        check(&chart.svg_for("c", width)).expect("well-formed");
    }
    chart.svg("c")
}

#[test]
fn empty_single_and_equal_data_draw() {
    check_all(LineChart::default());
    check_all(HeatMap::default());
    check_all(BarChart::default());
    let series = |points| LineChart {
        series: vec![Series::new("only", SeriesStyle::Spot, points)],
        ..LineChart::default()
    };
    check_all(series(vec![]));
    let one = check_all(series(vec![Point::with_interval(1.0, 2.0, 1.5, 2.5)]));
    assert!(one.contains("cs-whisker") && !one.contains("cs-band\""));
    let equal = check_all(series((0..9).map(|x| Point::new(f64::from(x), 0.7)).collect()));
    assert!(equal.contains("cs-line"));
}

#[test]
fn a_gap_parts_the_line() {
    let points = vec![
        Point::new(0.0, 1.0),
        Point::new(1.0, 2.0),
        Point::gap(2.0),
        Point::new(3.0, f64::NAN),
        Point::new(4.0, 1.0),
        Point::new(5.0, 2.0),
    ];
    let chart =
        LineChart { series: vec![Series::new("a", SeriesStyle::Spot, points)], ..LineChart::default() };
    let svg = check_all(chart.clone());
    assert_eq!(svg.matches("<path class=\"cs-line\"").count(), 2);
    assert_eq!(chart.notes(), ["2 points without a number left out."]);
    assert!(svg.contains("2 points without a number left out."));
}

#[test]
fn a_log_axis_says_what_it_leaves_out() {
    let points = vec![Point::new(0.0, 1.0), Point::new(0.01, 2.0), Point::new(1.0, 3.0)];
    let chart = LineChart {
        x: Axis::new("k", "%").log(),
        series: vec![Series::new("a", SeriesStyle::Spot, points)],
        ..LineChart::default()
    };
    let svg = check_all(chart.clone());
    assert!(svg.contains("no place for 1 point at 0 or below"), "{svg}");
    assert_eq!(svg.matches("<g class=\"cs-point\">").count(), 2);
    // The table has it nevertheless.
    assert_eq!(chart.table().rows.len(), 3);
}

#[test]
fn the_last_layer_is_always_labelled() {
    for count in 1..=130_usize {
        let chart = HeatMap {
            rows: (0..12).map(|row| format!("module {row}")).collect(),
            cols: (0..count).map(|layer| layer.to_string()).collect(),
            cells: vec![vec![Some(0.5); count]; 12],
            ..HeatMap::default()
        };
        for width in [NARROW, WIDE] {
            let svg = chart.svg_for("c", width);
            assert!(svg.contains(&format!(">{}</text>", count - 1)), "{count} layers at {width}");
            assert_eq!(svg.matches("class=\"cs-cell\"").count(), 12 * count);
        }
    }
}

#[test]
fn zero_is_empty_and_missing_is_hatched() {
    let chart = HeatMap {
        rows: vec!["a".to_owned()],
        cols: vec!["x".to_owned(), "y".to_owned(), "z".to_owned()],
        cells: vec![vec![Some(0.0), None, Some(3.0)]],
        scale: ColorScale::sequential("parameters"),
        cell_digits: 0,
        ..HeatMap::default()
    };
    let svg = check_all(chart);
    assert!(
        svg.contains(">zero</text>") && svg.contains(">no data</text>") && svg.contains(">parameters</text>")
    );
    assert!(svg.contains("<title>a, y: no data</title><rect fill=\"url(#c.hatch)\""));
    assert!(svg.contains("<title>a, x: 0 parameters</title><rect class=\"cs-empty\""));
    assert!(svg.contains("<title>a, z: 3 parameters</title>"));
}

#[test]
fn tables_hold_what_charts_draw() {
    let chart = LineChart {
        x: Axis::new("k", "%").with_secondary("parameters", vec![(0.25, "80,319".to_owned())]),
        y: Axis::new("loss", "nats").with_decimals(2),
        series: vec![
            Series::new("spot", SeriesStyle::Spot, vec![Point::with_interval(0.25, 4.31, 4.1, 4.52)]),
            Series::new("random", SeriesStyle::Random, vec![Point::new(0.01, 0.5)]),
        ],
        marks: vec![Mark::vertical(0.1, "knee").with_interval(0.05, 0.2)],
        ..LineChart::default()
    };
    let table = chart.table();
    assert_eq!(table.head, ["k (%)", "parameters", "spot", "random"]);
    let texts: Vec<Vec<&str>> = table.rows.iter().map(|row| row.iter().map(Cell::text).collect()).collect();
    assert_eq!(texts, [vec!["0.01", "", "", "0.50"], vec!["0.25", "80,319", "4.31 [4.10, 4.52]", ""]]);
    assert_eq!(table.notes, ["Values: loss (nats).", "knee: 0.1 [0.05, 0.2] %."]);
}

#[test]
fn a_page_loads_nothing() {
    let html = Page { title: "Report".to_owned(), ..Page::default() }.html();
    for what in ["http://", "https://", "@import", "url("] {
        assert!(!html.contains(what), "{what}");
    }
    assert!(html.contains("default-src 'none'"));
}
