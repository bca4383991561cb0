//! The parts of the page, one file each.

mod alert;
mod arm_pane;
mod backend;
mod findings;
mod k_control;
mod loader;
mod page;
mod prompt;
mod scope;
mod settings;

pub(super) use page::Page;
