//! `codingspot report`.

use crate::args::{ReportArgs, UsageError};
use crate::report::{self, Input};
use crate::{atomic, output};
use codingspot_plot::Figures;

pub(crate) fn run(args: &ReportArgs) -> anyhow::Result<()> {
    if args.markdown.as_ref().is_some_and(|path| *path == args.out) {
        return Err(UsageError(format!(
            "--markdown and --out are both {}; name two files",
            args.out.display()
        ))
        .into());
    }
    let inputs = args.inputs.iter().map(|path| Input::open(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let page = report::page(&inputs)?;
    let is_markdown = args.out.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("md"));
    let text = if is_markdown { page.markdown() } else { page.html() };
    atomic::write_file(&args.out, text.as_bytes())?;
    if let Some(path) = &args.markdown {
        atomic::write_file(path, page.markdown().as_bytes())?;
    }
    if let Some(path) = &args.figures {
        atomic::write_file(path, Figures::of(&page).to_json().as_bytes())?;
    }
    output::result(&format!("{}\n", args.out.display()))
}
