//! The parts of the page, one file each.

mod ab_panel;
mod alert;
mod arm_pane;
mod compare_strip;
mod figures;
mod focus;
mod header;
mod heatmap;
mod k_control;
mod languages;
mod loader;
mod mode;
mod models;
mod page;
mod panel;
mod prompt;
mod score_code;
mod settings;
mod spot_choice;
mod status;
mod tests;
mod theme;
mod token_detail;

pub(super) use page::Page;
