//! Figures by themselves, as a file: what a report shows, for the page and for reuse.

use crate::chart::Figure;
use crate::page::{Block, Page};
use serde::{Deserialize, Serialize};

/// Version of the format.
const FORMAT: u32 = 1;

/// The figures of a page with what they are about.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// Version of the format.
    pub format: u32,
    /// The page's title.
    pub title: String,
    /// The page's first paragraphs.
    pub lead: Vec<String>,
    /// In order.
    pub figures: Vec<Figure>,
}

impl Figures {
    /// All figures of a page, those that unfold among them.
    pub fn of(page: &Page) -> Self {
        let mut figures = Vec::new();
        for section in &page.contents {
            collect(&section.blocks, &mut figures);
        }
        Self { format: FORMAT, title: page.title.clone(), lead: page.lead.clone(), figures }
    }

    /// Parses what [`Self::to_json`] wrote; what it holds is drawn whatever it is, so nothing else is
    /// trusted.
    ///
    /// # Errors
    /// One sentence: the text is no JSON of this form, or of another version.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let figures: Self =
            serde_json::from_str(text).map_err(|error| format!("the figures can't be read: {error}"))?;
        if figures.format == FORMAT {
            Ok(figures)
        } else {
            Err(format!(
                "the figures have format {}, expected {FORMAT}; make the report again",
                figures.format
            ))
        }
    }

    /// As JSON.
    pub fn to_json(&self) -> String {
        // Plain data: numbers that are none become null.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The figure of this name.
    pub fn get(&self, id: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.id == id)
    }
}

fn collect(blocks: &[Block], figures: &mut Vec<Figure>) {
    for block in blocks {
        match block {
            Block::Figure(figure) => figures.push((**figure).clone()),
            Block::Details { blocks, .. } => collect(blocks, figures),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LineChart, Section};

    #[test]
    fn figures_are_found_and_read_back() {
        let figure = |id: &str| Block::figure(id, LineChart::default(), "It rises.");
        let unfolding = Block::Details { summary: "More".to_owned(), blocks: vec![figure("b")] };
        let page = Page {
            title: "Report".to_owned(),
            contents: vec![Section::new("s", "S", vec![figure("a"), unfolding])],
            ..Page::default()
        };
        let figures = Figures::of(&page);
        assert_eq!(figures.figures.len(), 2);
        assert_eq!(Figures::from_json(&figures.to_json()).as_ref(), Ok(&figures));
        assert!(figures.get("b").is_some() && figures.get("c").is_none());
        for bad in ["", "[]", "{\"format\":2}", "{\"format\":1,\"figures\":[{}]}"] {
            assert!(Figures::from_json(bad).is_err(), "{bad}");
        }
    }
}
