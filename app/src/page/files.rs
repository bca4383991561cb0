//! What dropped files are for, by their names.

/// Most bytes of code that are read from files.
pub const MAX_CODE_BYTES: u64 = 1 << 20;
/// Most files of code that are read at once.
pub const MAX_CODE_FILES: usize = 64;

/// What a set of files is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// A checkpoint or a web pack.
    Model,
    /// A spot.
    Spot,
    /// Code to score.
    Code,
    /// Nothing that can be used.
    Unknown,
}

/// Endings of files of code and the language of each, as the corpus names it.
const CODE: [(&str, &str); 22] = [
    ("py", "python"),
    ("rs", "rust"),
    ("js", "javascript"),
    ("mjs", "javascript"),
    ("ts", "typescript"),
    ("java", "java"),
    ("go", "go"),
    ("c", "c"),
    ("h", "cpp"),
    ("cc", "cpp"),
    ("cpp", "cpp"),
    ("hpp", "cpp"),
    ("cs", "csharp"),
    ("rb", "ruby"),
    ("jl", "julia"),
    ("sh", "bash"),
    ("php", "php"),
    ("swift", "swift"),
    ("kt", "kotlin"),
    ("scala", "scala"),
    ("lua", "lua"),
    ("r", "r"),
];

fn ending(name: &str) -> String {
    name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).unwrap_or_default()
}

/// The language of a file of code.
pub fn language(name: &str) -> Option<&'static str> {
    let ending = ending(name);
    CODE.iter().find(|(known, _)| *known == ending).map(|(_, language)| *language)
}

/// What files of these names are.
pub fn classify<'a>(names: impl IntoIterator<Item = &'a str>) -> Files {
    let names: Vec<&str> = names.into_iter().collect();
    let weights = names.iter().filter(|name| ending(name) == "safetensors").count();
    if names.iter().any(|name| *name == "config.json" || *name == "manifest.json") {
        Files::Model
    } else if names.len() == 1 && weights == 1 {
        Files::Spot
    } else if !names.is_empty() && names.iter().all(|name| language(name).is_some()) {
        Files::Code
    } else {
        Files::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart_by_their_names() {
        assert_eq!(classify(["config.json", "model.safetensors", "tokenizer.json"]), Files::Model);
        assert_eq!(classify(["manifest.json", "0001.bin"]), Files::Model);
        assert_eq!(classify(["spot-all.safetensors"]), Files::Spot);
        assert_eq!(classify(["a.py", "b.RS"]), Files::Code);
        assert_eq!(classify(["a.py", "b.png"]), Files::Unknown);
        assert_eq!(classify(["model-1.safetensors", "model-2.safetensors"]), Files::Unknown);
        assert_eq!(classify([]), Files::Unknown);
    }
}
