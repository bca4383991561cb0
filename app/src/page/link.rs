//! Links that hold the page's choices, in the part of an address that is not sent anywhere.
//!
//! `#v=1&model=…&spot=…&n=…&mode=…&seed=…&prompt=…`, with sampling where it is not the usual.

use super::state::models::{is_hub_id, is_plain};
use super::state::{ModelChoice, Settings, SpotChoice};
use crate::protocol::RunMode;

/// Version of the format.
const VERSION: &str = "1";
/// Longest fragment that is read, bytes.
const MAX_FRAGMENT: usize = 64 << 10;
/// Longest prompt that is taken from a link, bytes.
const MAX_PROMPT: usize = 32 << 10;

/// What a link holds; a field that it lacks, or that makes no sense, stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Link {
    /// The model; none where it is files of this computer.
    pub model: Option<ModelChoice>,
    /// The spot; none where it is not one that comes with the model.
    pub spot: Option<SpotChoice>,
    /// How many parameters are zero.
    pub count: Option<u64>,
    /// The mode.
    pub mode: Option<RunMode>,
    /// The prompt.
    pub prompt: Option<String>,
    /// Seed.
    pub seed: Option<u64>,
    /// Longest continuation, where it is not the usual.
    pub max_tokens: Option<String>,
    /// Temperature, where it is not the usual.
    pub temperature: Option<String>,
    /// Nucleus, where it is not the usual.
    pub top_p: Option<String>,
}

/// Everything but letters, digits and `-._~` as `%XX`.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let value = digit(rest.next())? * 16 + digit(rest.next())?;
                bytes.push(u8::try_from(value).ok()?);
            }
            // As forms write spaces.
            b'+' => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}

impl Link {
    /// A link to these choices.
    pub fn new(
        model: &ModelChoice,
        spot: &SpotChoice,
        count: u64,
        mode: RunMode,
        settings: &Settings,
        prompt: &str,
    ) -> Self {
        let usual = Settings::default();
        let unusual = |value: &String, usual: &String| (value != usual).then(|| value.clone());
        Self {
            model: (!model.is_local()).then(|| model.clone()),
            spot: matches!(spot, SpotChoice::Named(_)).then(|| spot.clone()),
            count: Some(count),
            mode: Some(mode),
            prompt: Some(prompt.to_owned()),
            seed: settings.seed.trim().parse().ok(),
            max_tokens: unusual(&settings.max_tokens, &usual.max_tokens),
            temperature: unusual(&settings.temperature, &usual.temperature),
            top_p: unusual(&settings.top_p, &usual.top_p),
        }
    }

    /// The fragment, without `#`.
    pub fn fragment(&self) -> String {
        let model = self.model.as_ref().map(|model| match model {
            ModelChoice::Hub(repo) => format!("hub:{repo}"),
            ModelChoice::Catalogue(name) | ModelChoice::Local(name) => name.clone(),
        });
        let mode = self.mode.map(|mode| match mode {
            RunMode::SameText => "same".to_owned(),
            RunMode::OwnText => "own".to_owned(),
        });
        let fields = [
            ("model", model),
            ("spot", self.spot.as_ref().map(SpotChoice::key)),
            ("n", self.count.map(|count| count.to_string())),
            ("mode", mode),
            ("seed", self.seed.map(|seed| seed.to_string())),
            ("max", self.max_tokens.clone()),
            ("temperature", self.temperature.clone()),
            ("top_p", self.top_p.clone()),
            ("prompt", self.prompt.clone()),
        ];
        let mut text = format!("v={VERSION}");
        for (name, value) in fields {
            if let Some(value) = value {
                text.push_str(&format!("&{name}={}", escape(&value)));
            }
        }
        text
    }

    /// Reads a fragment, with or without `#`; none where it is not of this version.
    pub fn parse(fragment: &str) -> Option<Self> {
        let fragment = fragment.strip_prefix('#').unwrap_or(fragment);
        if fragment.len() > MAX_FRAGMENT {
            return None;
        }
        let fields: Vec<(&str, String)> = fragment
            .split('&')
            .filter_map(|field| field.split_once('='))
            .filter_map(|(name, value)| Some((name, unescape(value)?)))
            .collect();
        let get =
            |name: &str| fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value.clone());
        if get("v").as_deref() != Some(VERSION) {
            return None;
        }
        let model = get("model").and_then(|model| match model.strip_prefix("hub:") {
            Some(repo) => is_hub_id(repo).then(|| ModelChoice::Hub(repo.to_owned())),
            None => is_plain(&model).then_some(ModelChoice::Catalogue(model)),
        });
        let short = |value: Option<String>| value.filter(|value| value.len() <= 24);
        Some(Self {
            model,
            spot: get("spot").filter(|name| is_plain(name)).map(SpotChoice::Named),
            count: get("n").and_then(|count| count.parse().ok()),
            mode: get("mode").and_then(|mode| match mode.as_str() {
                "same" => Some(RunMode::SameText),
                "own" => Some(RunMode::OwnText),
                _ => None,
            }),
            prompt: get("prompt").filter(|prompt| prompt.len() <= MAX_PROMPT),
            seed: get("seed").and_then(|seed| seed.parse().ok()),
            max_tokens: short(get("max")),
            temperature: short(get("temperature")),
            top_p: short(get("top_p")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_comes_back() {
        let settings = Settings { seed: "7".into(), max_tokens: "64".into(), ..Settings::default() };
        let prompt = "fn main() {\n    // 100 % & \"quoted\" + ünïcode\n#x";
        for model in
            [ModelChoice::Catalogue("demo".into()), ModelChoice::Hub("meta-llama/Llama-3.2-1B".into())]
        {
            let spot = SpotChoice::Named("all".into());
            let link = Link::new(&model, &spot, 80_319, RunMode::OwnText, &settings, prompt);
            let fragment = link.fragment();
            assert!(fragment.starts_with("v=1&model="), "{fragment}");
            assert!(!fragment.contains(['\n', ' ', '"', '#']), "{fragment}");
            assert_eq!(Link::parse(&format!("#{fragment}")), Some(link));
        }
    }

    #[test]
    fn local_files_are_left_out_and_nonsense_is_passed_over() {
        let settings = Settings::default();
        let local = ModelChoice::Local("my model".into());
        let link = Link::new(&local, &SpotChoice::Code, 1, RunMode::SameText, &settings, "");
        assert_eq!((&link.model, &link.spot), (&None, &None));
        let read = Link::parse("v=1&model=../../x&n=-4&mode=z&seed=x&prompt=%ff&spot=a%2Fb&max=3").unwrap();
        assert_eq!(read, Link { max_tokens: Some("3".into()), ..Link::default() });
        assert_eq!(Link::parse("v=2&model=demo"), None);
        assert_eq!(Link::parse(""), None);
        assert_eq!(Link::parse(&format!("v=1&prompt={}", "a".repeat(MAX_FRAGMENT))), None);
    }
}
