//! Faults that whoever asks for them by the address bring about: `?fault=device-lost@37`, `oom`, `quota`, `stall`.

use crate::protocol::Fault;

/// The fault that an address asks for.
pub fn parse(text: &str) -> Option<Fault> {
    match text.split_once('@') {
        Some(("device-lost", token)) => Some(Fault::DeviceLost { token: token.parse().ok()? }),
        Some(_) => None,
        None => match text {
            "device-lost" => Some(Fault::DeviceLost { token: 1 }),
            "oom" => Some(Fault::OutOfMemory),
            "quota" => Some(Fault::Quota),
            "stall" => Some(Fault::Stall),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_names() {
        assert_eq!(parse("device-lost@37"), Some(Fault::DeviceLost { token: 37 }));
        assert_eq!(
            [parse("oom"), parse("quota"), parse("stall")],
            [Some(Fault::OutOfMemory), Some(Fault::Quota), Some(Fault::Stall)]
        );
        assert_eq!([parse("device-lost@x"), parse(""), parse("oom@2")], [None, None, None]);
    }
}
