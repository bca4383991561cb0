//! `codingspot report`.

use crate::args::ReportArgs;
use crate::report::{self, Input};
use crate::{atomic, output};
use codingspot_plot::Figures;

pub(crate) fn run(args: &ReportArgs) -> anyhow::Result<()> {
    let inputs = args.inputs.iter().map(|path| Input::open(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let page = report::page(&inputs)?;
    atomic::write_file(&args.out, page.html().as_bytes())?;
    if let Some(path) = &args.figures {
        atomic::write_file(path, Figures::of(&page).to_json().as_bytes())?;
    }
    output::result(&format!("{}\n", args.out.display()))
}
