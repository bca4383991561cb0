//! Hashes of full published sets, of what of them is used.

use crate::row::Part;
use crate::task::Task;

/// Task, set, SHA-256 and name.
pub(crate) static SETS: &[(Task, Part, &str, &str)] = &[];
