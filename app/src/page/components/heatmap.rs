//! Where the removed parameters are: a grid of layers and modules.

use crate::page::app::App;
use crate::page::format;
use crate::page::heat::{Cell, Grid, Kind};
use crate::page::state::State;
use codingspot_plot::{Cell as TableCell, Table};
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use web_sys::{Element, HtmlElement, KeyboardEvent};

/// How many layers have a number above them.
const LABELS: u32 = 16;

fn cell_id(row: usize, column: usize) -> String {
    format!("cell-{row}-{column}")
}

fn class(cell: Option<&Cell>) -> &'static str {
    match cell {
        None => "none",
        Some(cell) if !cell.in_scope => "none",
        Some(cell) => match cell.bin() {
            None => "zero",
            Some(i32::MIN..=-3) => "dm3",
            Some(-2) => "dm2",
            Some(-1) => "dm1",
            Some(0) => "d0",
            Some(1) => "dp1",
            Some(2) => "dp2",
            Some(3..) => "dp3",
        },
    }
}

fn words(cell: &Cell) -> String {
    let place = match cell.layer {
        Some(layer) => format!("Layer {layer}, {}", cell.module),
        None => cell.module.clone(),
    };
    if !cell.in_scope {
        return format!("{place}: does not compete for this spot.");
    }
    let expected = if cell.expected < 10.0 {
        format!("{:.1}", cell.expected)
    } else {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of parameters")]
        format::count(cell.expected.round() as u64)
    };
    let enrichment = match cell.enrichment() {
        Some(log2) => format!("{:.1} times as many, log₂ {}", log2.exp2(), signed(log2)),
        None => "none".to_owned(),
    };
    format!(
        "{place}: {} of {} removed ({}). Expected {expected}. Enrichment: {enrichment}.",
        format::count(cell.count),
        format::parameters(cell.parameters),
        format::percent(cell.share()),
    )
}

fn signed(value: f64) -> String {
    format!("{}{:.1}", if value < 0.0 { "\u{2212}" } else { "+" }, value.abs())
}

fn number(cell: Option<&Cell>) -> String {
    match cell.and_then(Cell::bin) {
        Some(0) => "0".to_owned(),
        Some(bin) if bin < 0 => format!("\u{2212}{}", -bin),
        Some(bin) => format!("+{bin}"),
        None => String::new(),
    }
}

/// The map, what is known of a cell, and the same as a table.
#[component]
pub(crate) fn HeatMap() -> impl IntoView {
    let app = App::get();
    // The map is made anew when the mask changes, not with every message.
    let version = app.watch(|state| {
        let spot = state.spot.as_ref().map(|spot| spot.choice.key());
        format!("{} {} {} {spot:?}", state.mask.version, state.model.is_some(), state.recorded.is_some())
    });
    let heat = Memo::new(move |_| {
        // Read, not only tracked: a memo that nobody has read follows nothing.
        version.get();
        app.state.with_untracked(State::heat)
    });
    let active = RwSignal::new((0_usize, 0_usize));
    let pinned = RwSignal::new(None::<(usize, usize)>);
    let detail = move |place: (usize, usize)| {
        heat.with(|(_, grid)| grid.as_ref().and_then(|grid| grid.cell(place.0, place.1)).map(words))
    };
    let place_of = |event: &web_sys::Event| {
        let element = event.target()?.dyn_into::<Element>().ok()?.closest("[data-row]").ok().flatten()?;
        let read = |name: &str| element.get_attribute(name)?.parse::<usize>().ok();
        Some((read("data-row")?, read("data-column")?))
    };
    let keys = move |event: KeyboardEvent| {
        let now = active.get_untracked();
        if event.key() == "Enter" {
            event.prevent_default();
            pinned.update(|pinned| *pinned = if *pinned == Some(now) { None } else { Some(now) });
            return;
        }
        let next = heat.with_untracked(|(_, grid)| {
            grid.as_ref().and_then(|grid| grid.step(now, &event.key(), event.ctrl_key()))
        });
        if let Some((row, column)) = next {
            event.prevent_default();
            active.set((row, column));
            if let Some(cell) = document().get_element_by_id(&cell_id(row, column)) {
                drop(cell.unchecked_into::<HtmlElement>().focus());
            }
        }
    };
    view! {
        <div data-testid="heat" data-source=move || heat.with(|(source, _)| *source)>
            <p class="hint">
                {move || heat.with(|(source, grid)| match grid {
                    None => "Load a model to see where its spot is.".to_owned(),
                    Some(grid) => format!(
                        "{}{} removed. A number is the binary logarithm of how many were removed over how many an \
                         even spread would remove.",
                        if *source == "recorded" { "Recorded: " } else { "" },
                        format::parameters(grid.count)
                    ),
                })}
            </p>
            {move || heat.with(|(_, grid)| grid.as_ref().map(|grid| view! {
                <div class="scroll">
                    <table
                        class="heat"
                        role="grid"
                        aria-label="Removed parameters by layer and module"
                        data-testid="heatmap"
                        on:keydown=keys
                        on:focusin=move |event| if let Some(place) = place_of(&event) { active.set(place); }
                        on:click=move |event| if let Some(place) = place_of(&event) {
                            active.set(place);
                            pinned.set(Some(place));
                        }
                    >
                        {head(grid)}
                        <tbody>{body(grid, active)}</tbody>
                    </table>
                </div>
            }))}
            <p class="cell-detail" data-testid="cell-detail">{move || detail(active.get())}</p>
            <p class="cell-detail" data-testid="cell-pinned">
                {move || pinned.get().filter(|place| *place != active.get()).and_then(detail).map(|text| format!("Pinned: {text}"))}
            </p>
            <Legend/>
            <details class="cs-values">
                <summary>"Show as table"</summary>
                <div inner_html=move || heat.with(|(_, grid)| grid.as_ref().map(table).unwrap_or_default())></div>
            </details>
        </div>
    }
}

fn head(grid: &Grid) -> impl IntoView + use<> {
    let labelled = grid.labelled(LABELS);
    let layers = (0..grid.layers).map(move |layer| {
        let text = labelled.contains(&layer).then(|| layer.to_string());
        view! { <th role="columnheader" scope="col" aria-label=format!("Layer {layer}")>{text}</th> }
    });
    view! {
        <thead>
            <tr role="row">
                <th role="columnheader" scope="col">"Layer"</th>
                {layers.collect_view()}
            </tr>
        </thead>
    }
}

fn body(grid: &Grid, active: RwSignal<(usize, usize)>) -> impl IntoView + use<> {
    let rows = grid.rows.iter().enumerate().map(|(row, line)| {
        let cells = line.cells.iter().enumerate().map(|(column, cell)| {
            let shown = number(cell.as_ref());
            let words = cell.as_ref().map_or_else(|| "No such tensor.".to_owned(), words);
            // A name begins with what is to be seen.
            let label = if shown.is_empty() { words } else { format!("{shown}: {words}") };
            view! {
                <td
                    role="gridcell"
                    id=cell_id(row, column)
                    class=class(cell.as_ref())
                    aria-label=label
                    data-row=row
                    data-column=column
                    tabindex=move || if active.get() == (row, column) { "0" } else { "-1" }
                >
                    {shown}
                </td>
            }
        });
        let kind = match line.kind {
            Kind::Matrix => "matrix",
            Kind::Norm => "norm",
            Kind::Whole => "whole",
        };
        let test_id = match (line.kind, line.module.as_str()) {
            (Kind::Whole, module) if module.contains("embed") => "embedding".to_owned(),
            (Kind::Norm, _) => "norm".to_owned(),
            (_, module) => format!("heat-row-{module}"),
        };
        view! {
            <tr role="row" class=kind data-testid=test_id>
                <th role="rowheader" scope="row">{line.module.clone()}</th>
                {cells.collect_view()}
            </tr>
        }
    });
    rows.collect_view()
}

/// The colour bar.
#[component]
fn Legend() -> impl IntoView {
    let bins = [
        ("dm3", "≤ −3"),
        ("dm2", "−2"),
        ("dm1", "−1"),
        ("d0", "0"),
        ("dp1", "+1"),
        ("dp2", "+2"),
        ("dp3", "≥ +3"),
    ];
    view! {
        <div class="legend">
            <span>"log₂ enrichment:"</span>
            {bins.map(|(class, text)| view! { <span class=format!("key {class}")>{text}</span> }).collect_view()}
            <span class="key zero">"none removed"</span>
            <span class="key none">"does not compete"</span>
        </div>
    }
}

fn table(grid: &Grid) -> String {
    let rows = grid.rows.iter().flat_map(|row| row.cells.iter().flatten()).filter(|cell| cell.in_scope).map(
        |cell| {
            let log2 = cell
                .enrichment()
                .map_or_else(|| TableCell::label("–"), |log2| TableCell::number_as(log2, signed(log2)));
            vec![
                TableCell::head(cell.module.clone()),
                TableCell::label(cell.layer.map_or_else(|| "–".to_owned(), |layer| layer.to_string())),
                TableCell::count(cell.count),
                TableCell::count(cell.parameters),
                TableCell::fixed(cell.share(), 4),
                TableCell::fixed(cell.expected, 1),
                log2,
            ]
        },
    );
    let head = ["Module", "Layer", "Removed", "Parameters", "Share, %", "Expected", "log₂ enrichment"];
    Table::new("Removed parameters by tensor", head.map(str::to_owned).to_vec(), rows.collect()).html()
}
