//! The web form of a checkpoint, in which a browser fetches and keeps a model.
//!
//! [`encoding`] is how weights become words, and words become weights again. A word that is 0 stands
//! for weights that are `+0`, whatever the encoding and its scales, so that switching a parameter off
//! is clearing its bits.
//!
//! The crate reads and writes nothing: bytes come in and go out, and what comes in is checked.

pub mod encoding;

pub use encoding::{Encoding, PackedRows};
