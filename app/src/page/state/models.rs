//! Which models there are, and which is chosen.

use super::{Command, State, loading};
use crate::page::format;
use crate::protocol::{Encoding, ModelFacts, ModelSource};
use serde::Deserialize;

/// The model that is chosen unless the address names another.
pub const DEFAULT: &str = "demo";
/// Longest catalogue that is read, bytes.
pub const MAX_CATALOGUE_BYTES: usize = 1 << 20;
/// Most models that a catalogue may list.
const MAX_MODELS: usize = 256;

/// A spot of a model in the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CatalogueSpot {
    /// Its name: `all`, `no-norm`.
    pub name: String,
    /// Its file in the model's directory.
    pub file: String,
}

/// A model in the catalogue, `models/index.json`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CatalogueModel {
    /// Names it in links.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// Its directory, from the catalogue's, with a final slash; or an absolute address.
    pub directory: String,
    /// It is a web pack.
    #[serde(default)]
    pub pack: bool,
    /// Bytes that are fetched; 0 where that is not known.
    #[serde(default)]
    pub bytes: u64,
    /// Parameters; 0 where that is not known.
    #[serde(default)]
    pub parameters: u64,
    /// How its matrices are held, where that is settled.
    #[serde(default)]
    pub encoding: Option<String>,
    /// Fingerprint of its weights, by which a spot's model is named.
    #[serde(default)]
    pub fingerprint: Option<String>,
    /// Its spots.
    #[serde(default)]
    pub spots: Vec<CatalogueSpot>,
}

#[derive(Deserialize)]
struct Catalogue {
    models: Vec<CatalogueModel>,
}

/// Reads a catalogue.
///
/// # Errors
/// One sentence: it is too long, not of this form, or names things that addresses can't be made of.
pub fn read_catalogue(text: &str) -> Result<Vec<CatalogueModel>, String> {
    if text.len() > MAX_CATALOGUE_BYTES {
        return Err(format!("the catalogue of models is longer than {MAX_CATALOGUE_BYTES} bytes"));
    }
    let catalogue: Catalogue = serde_json::from_str(text)
        .map_err(|error| format!("the catalogue of models can't be read: {error}"))?;
    if catalogue.models.len() > MAX_MODELS {
        return Err(format!("the catalogue lists {} models, at most {MAX_MODELS}", catalogue.models.len()));
    }
    Ok(catalogue.models)
}

/// A name that is one plain segment of a path, so that it can't point anywhere else.
pub fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && !name.starts_with('.')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// `ORG/NAME` as the hub allows it.
pub fn is_hub_id(text: &str) -> bool {
    text.split_once('/').is_some_and(|(org, name)| is_plain(org) && is_plain(name))
}

/// A model that someone chose.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ModelChoice {
    /// One of the catalogue, or of a directory of this name beside it.
    Catalogue(String),
    /// One of the Hugging Face hub.
    Hub(String),
    /// Files of this computer, by the name that is shown.
    Local(String),
}

impl ModelChoice {
    /// Whether files go to the worker.
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Local(_))
    }
}

/// The loaded model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedModel {
    /// What the worker says of it.
    pub facts: ModelFacts,
    /// What was chosen.
    pub choice: ModelChoice,
    /// What it is called.
    pub title: String,
}

impl State {
    /// The chosen model in the catalogue.
    pub fn listed(&self) -> Option<&CatalogueModel> {
        match &self.choice {
            ModelChoice::Catalogue(name) => self.catalogue.iter().find(|model| model.name == *name),
            ModelChoice::Hub(_) | ModelChoice::Local(_) => None,
        }
    }

    /// What the chosen model is called.
    pub fn chosen_title(&self) -> String {
        match (&self.choice, self.listed()) {
            (_, Some(model)) => model.title.clone(),
            (ModelChoice::Catalogue(name), None) if name == DEFAULT => "codingspot-demo".to_owned(),
            (ModelChoice::Catalogue(name) | ModelChoice::Hub(name) | ModelChoice::Local(name), None) => {
                name.clone()
            }
        }
    }

    /// Address of the chosen model's directory, with a final slash.
    pub fn chosen_url(&self) -> Option<String> {
        let ModelChoice::Catalogue(name) = &self.choice else { return None };
        let directory = self.listed().map_or_else(|| format!("{name}/"), |model| model.directory.clone());
        let slash = if directory.ends_with('/') { "" } else { "/" };
        Some(if directory.contains("://") {
            format!("{directory}{slash}")
        } else {
            format!("{}{directory}{slash}", self.models_url)
        })
    }

    /// Where the chosen model comes from.
    pub fn chosen_source(&self) -> ModelSource {
        match (&self.choice, self.chosen_url()) {
            (ModelChoice::Hub(repo), _) => ModelSource::Hub { repo: repo.clone() },
            (_, Some(url)) => ModelSource::Url { url, pack: self.listed().is_some_and(|model| model.pack) },
            (_, None) => ModelSource::LocalFiles,
        }
    }

    /// Bytes of the chosen model's files, where they are known.
    pub fn chosen_bytes(&self) -> Option<u64> {
        let listed = self.listed().map(|model| model.bytes).filter(|bytes| *bytes > 0);
        self.needs.as_ref().map(|needs| needs.total_bytes).or(listed)
    }

    /// Whether the chosen model is the loaded one.
    pub fn is_chosen_loaded(&self) -> bool {
        self.model.as_ref().is_some_and(|model| {
            model.choice == self.choice
                && self.encoding.is_none_or(|encoding| encoding == model.facts.encoding)
        })
    }

    /// Chooses a model; loading is another step.
    pub fn choose_model(&mut self, choice: ModelChoice) -> Vec<Command> {
        if self.choice != choice {
            self.choice = choice;
            self.needs = None;
        }
        Vec::new()
    }

    /// Chooses a model of the hub by its id.
    pub fn choose_hub(&mut self, id: &str) -> Vec<Command> {
        let id = id.trim().trim_start_matches("https://huggingface.co/").trim_end_matches('/');
        if is_hub_id(id) {
            self.choose_model(ModelChoice::Hub(id.to_owned()))
        } else {
            self.refuse(format!(
                "A model of the hub is named ORG/NAME, as in meta-llama/Llama-3.2-1B; \"{id}\" is not. Correct the id."
            ));
            Vec::new()
        }
    }

    /// Chooses how matrices are held.
    pub fn choose_encoding(&mut self, encoding: Option<Encoding>) {
        if self.encoding != encoding {
            self.encoding = encoding;
            self.needs = None;
        }
    }

    /// The title of a model of the catalogue by the fingerprint of its weights.
    pub fn title_of(&self, fingerprint: &str) -> Option<&CatalogueModel> {
        self.catalogue.iter().find(|model| model.fingerprint.as_deref() == Some(fingerprint))
    }

    /// Name of the button that loads.
    pub fn load_label(&self) -> String {
        match self.chosen_bytes() {
            Some(size) => format!("Load model ({})", format::bytes(size)),
            None if matches!(self.choice, ModelChoice::Hub(_)) => "Ask for its size".to_owned(),
            None => "Load model".to_owned(),
        }
    }

    /// What the chosen model needs, in a sentence.
    pub fn needs_text(&self) -> Option<String> {
        let needs = self.needs.as_ref().filter(|_| !self.is_chosen_loaded())?;
        Some(loading::needs_text(needs, self.engine.as_ref()))
    }
}

/// A catalogue for tests of the page's words, which are not to change with the bundled model.
#[cfg(test)]
pub(super) const EXAMPLE: &str = r#"{
  "models": [
    {
      "name": "demo", "title": "codingspot-demo", "directory": "demo/", "pack": false, "bytes": 10809704,
      "parameters": 5405184, "encoding": "f32",
      "fingerprint": "9033b3c0eafd131017d3d81ea51304692517dad1b45801c72dd9886cb2303f05",
      "spots": [
        { "name": "all", "file": "spot-all.safetensors" },
        { "name": "no-norm", "file": "spot-no-norm.safetensors" }
      ]
    }
  ]
}"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catalogues_are_read_and_names_stay_in_place() {
        let text = include_str!("../../../../demo/models.json");
        let models = read_catalogue(text).unwrap();
        assert_eq!(models[0].name, DEFAULT);
        assert!(models[0].spots.iter().any(|spot| spot.name == "no-norm"));
        // What it says of the bundled model is so.
        let weights = concat!(env!("CARGO_MANIFEST_DIR"), "/../demo/model/model.safetensors");
        assert_eq!(models[0].bytes, std::fs::metadata(weights).unwrap().len());
        assert!(read_catalogue("{}").is_err() && read_catalogue("[").is_err());
        assert!(is_plain("stories260K") && !is_plain("../x") && !is_plain("a/b") && !is_plain(""));
        assert!(is_hub_id("meta-llama/Llama-3.2-1B") && !is_hub_id("a/b/c") && !is_hub_id("a"));
    }

    #[test]
    fn the_address_of_a_model_is_beside_the_catalogue() {
        let mut state = State::new("http://host/models/".into());
        assert_eq!(state.chosen_url().unwrap(), "http://host/models/demo/");
        assert_eq!(state.load_label(), "Load model");
        state.catalogue = read_catalogue(EXAMPLE).unwrap();
        assert_eq!(state.load_label(), "Load model (10.8 MB)");
        state.choose_hub("https://huggingface.co/meta-llama/Llama-3.2-1B");
        assert_eq!(state.chosen_source(), ModelSource::Hub { repo: "meta-llama/Llama-3.2-1B".into() });
        state.choose_hub("not an id");
        assert!(state.alert.is_some());
    }
}
