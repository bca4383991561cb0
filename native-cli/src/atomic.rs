//! Files and directories that appear under their name whole or not at all.

use anyhow::Context as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// How the names of temporary files and directories begin.
pub(crate) const TEMPORARY: &str = ".codingspot-";

/// Writes `bytes` to a temporary file beside `path` and renames it.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    write_with(path, |file| file.write_all(bytes))
}

/// Lets `fill` write to a temporary file beside `path` and renames it.
pub(crate) fn write_with(
    path: &Path,
    fill: impl FnOnce(&mut fs::File) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let folder = parent(path);
    let write = || -> std::io::Result<()> {
        fs::create_dir_all(folder)?;
        let mut file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(folder)?;
        fill(file.as_file_mut())?;
        file.as_file().sync_all()?;
        make_readable(file.path())?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    write().with_context(|| format!("{} can't be written", path.display()))
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Temporary files are private; results are for whoever may read the folder.
#[cfg(unix)]
fn make_readable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(if path.is_dir() { 0o755 } else { 0o644 }))
}

#[cfg(not(unix))]
fn make_readable(_path: &Path) -> std::io::Result<()> {
    Ok(())
}

/// A directory that is filled under a temporary name and then takes its final one.
#[derive(Debug)]
pub(crate) struct NewDirectory {
    temporary: tempfile::TempDir,
    path: PathBuf,
}

impl NewDirectory {
    /// Begins `path`, which must not exist, be empty, or hold the file `replaces` (then the old
    /// directory is replaced once the new one is whole).
    pub(crate) fn begin(path: &Path, replaces: Option<&str>) -> anyhow::Result<Self> {
        if path.exists() {
            let empty = path.is_dir() && fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
            let ours = replaces.is_some_and(|marker| path.join(marker).is_file());
            anyhow::ensure!(
                empty || ours,
                "{} exists already and is not empty; choose another name or remove it",
                path.display()
            );
        }
        let folder = parent(path);
        let create = || -> std::io::Result<_> {
            fs::create_dir_all(folder)?;
            tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(folder)
        };
        let temporary = create().with_context(|| format!("{} can't be created", path.display()))?;
        Ok(Self { temporary, path: path.to_owned() })
    }

    /// Where to write meanwhile.
    pub(crate) fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// Gives the directory its name.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        let rename = || -> std::io::Result<()> {
            make_readable(self.temporary.path())?;
            if self.path.exists() {
                // The old directory moves into the new one's temporary sibling, so that at every
                // moment one whole directory exists.
                let old =
                    tempfile::Builder::new().prefix(".codingspot-old-").tempdir_in(parent(&self.path))?;
                fs::rename(&self.path, old.path().join("old"))?;
            }
            fs::rename(self.temporary.keep(), &self.path)
        };
        let path = self.path.clone();
        rename().with_context(|| format!("{} can't be written", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_directory_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("out");
        let new = NewDirectory::begin(&path, None).unwrap();
        fs::write(new.path().join("a"), "x").unwrap();
        drop(new);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn only_a_directory_with_the_marker_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("out");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("precious"), "x").unwrap();
        assert!(NewDirectory::begin(&path, Some("marker")).is_err());
        fs::write(path.join("marker"), "x").unwrap();
        let new = NewDirectory::begin(&path, Some("marker")).unwrap();
        fs::write(new.path().join("fresh"), "y").unwrap();
        new.finish().unwrap();
        assert!(path.join("fresh").is_file() && !path.join("precious").exists());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
