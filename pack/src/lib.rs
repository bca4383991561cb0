//! The web form of a checkpoint, in which a browser fetches and keeps a model.
//!
//! [`encoding`] is how weights become words, and words become weights again. A word that is 0 stands
//! for weights that are `+0`, whatever the encoding and its scales, so that switching a parameter off
//! is clearing its bits. [`manifest`] says what lies where in a pack's files and what it must hash to.
//! [`levels`] is how a pack holds a spot.
//!
//! The crate reads and writes nothing: bytes come in and go out, and what comes in is checked.

pub mod encoding;
pub mod levels;
pub mod manifest;

pub use encoding::{
    BLOCK, Encoding, EncodingParseError, PackedRows, code, pack_rows, scale, set_code, unpack_rows, value_of,
};
pub use levels::{Levels, LevelsError, LevelsHeader};
pub use manifest::{Manifest, ManifestError};
