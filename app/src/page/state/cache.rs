//! What this browser keeps of models.

use super::{Command, ModelChoice, State, send};
use crate::protocol::{CacheEntry, RequestId, ToEngine};

/// What is kept, as the worker last said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cache {
    /// By model.
    pub entries: Vec<CacheEntry>,
    /// Bytes that the browser lets the page keep.
    pub quota_bytes: Option<u64>,
    /// Whether the worker has said it.
    pub known: bool,
    pending: Option<RequestId>,
}

impl Cache {
    pub(super) fn awaits(&self, id: RequestId) -> bool {
        self.pending == Some(id)
    }

    /// Waits no longer for a request; whether it did.
    pub(super) fn forget(&mut self, id: RequestId) -> bool {
        let awaited = self.awaits(id);
        if awaited {
            self.pending = None;
        }
        awaited
    }

    pub(super) fn forget_request(&mut self) {
        self.pending = None;
    }

    pub(super) fn listed(&mut self, entries: Vec<CacheEntry>, quota_bytes: Option<u64>) {
        self.entries = entries;
        self.quota_bytes = quota_bytes;
        self.known = true;
        self.pending = None;
    }
}

/// The last part of an address or of a path.
fn last_part(address: &str) -> &str {
    let address = address.trim_end_matches('/');
    address.rsplit('/').next().unwrap_or(address)
}

impl State {
    /// Asks what is kept.
    pub(super) fn list_cache(&mut self) -> Vec<Command> {
        let id = self.next_id();
        self.cache.pending = Some(id);
        vec![send(ToEngine::ListCache { id })]
    }

    /// Deletes what is kept of a model.
    pub fn evict(&mut self, key: String) -> Vec<Command> {
        if self.engine.is_none() {
            return Vec::new();
        }
        let id = self.next_id();
        self.cache.pending = Some(id);
        vec![send(ToEngine::EvictCache { id, key: Some(key) })]
    }

    /// Deletes what a stopped loading has left.
    pub fn delete_partial(&mut self) -> Vec<Command> {
        self.kept_bytes = 0;
        self.kept_of_choice().map(|entry| entry.key.clone()).map(|key| self.evict(key)).unwrap_or_default()
    }

    /// What is kept of the chosen model: the worker names it by its directory, or by its id on the hub.
    pub fn kept_of_choice(&self) -> Option<&CacheEntry> {
        let name = match &self.choice {
            ModelChoice::Hub(repo) => repo.clone(),
            ModelChoice::Catalogue(_) => last_part(&self.chosen_url()?).to_owned(),
            ModelChoice::Local(_) => return None,
        };
        self.cache.entries.iter().find(|entry| entry.name == name)
    }

    /// What an entry is called here: as in the catalogue, where it is from there.
    pub fn kept_title(&self, entry: &CacheEntry) -> String {
        let listed = self.catalogue.iter().find(|model| last_part(&model.directory) == entry.name);
        listed.map_or_else(|| entry.name.clone(), |model| model.title.clone())
    }

    /// What there is without a network: the value of `data-net`, and a sentence.
    pub fn net(&self) -> (&'static str, String) {
        if self.online {
            return ("online", String::new());
        }
        let whole = self.kept_of_choice().filter(|entry| entry.bytes >= entry.total_bytes && entry.bytes > 0);
        match whole {
            Some(entry) => (
                "offline-cached",
                format!(
                    "Offline. Using the copy kept in this browser ({}).",
                    crate::page::format::bytes(entry.bytes)
                ),
            ),
            None if self.is_chosen_loaded() => {
                ("offline-cached", "Offline. The loaded model goes on working.".to_owned())
            }
            None => (
                "offline-missing",
                format!(
                    "Offline, and {} is not kept here. Recorded results still work.",
                    self.chosen_title()
                ),
            ),
        }
    }
}
