//! A file that is replaced in one step: whoever reads it sees all of the old text or all of the new.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use imagekit_bulk_delete::secret;
use tempfile::{Builder, NamedTempFile};

/// A file that is replaced as a whole, whenever a text is written.
#[derive(Debug, Clone)]
pub(crate) struct AtomicFile {
    path: PathBuf,
    readers: Readers,
    method: Method,
}

/// Who may read the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Its owner alone, as a report.
    Owner,
    /// Others, as far as the umask lets them: it holds no secret, and a collector has a user of its own.
    Others,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Replace,
    /// A device or a pipe is written to: replacing `/dev/null` would be a disaster.
    WriteInto,
}

impl AtomicFile {
    /// Checks that a text can be written there, and leaves nothing behind.
    pub(crate) fn prepare(path: &Path, readers: Readers) -> io::Result<Self> {
        let file = Self::at(path, readers);
        match file.method {
            Method::Replace => file.temporary().map(drop)?,
            Method::WriteInto if path.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Method::WriteInto => {}
        }
        Ok(file)
    }

    fn at(path: &Path, readers: Readers) -> Self {
        // A link stays a link: what it names is what is replaced.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let is_special = fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file());
        let method = if is_special {
            Method::WriteInto
        } else {
            Method::Replace
        };
        Self {
            path,
            readers,
            method,
        }
    }

    /// Writes a text there, in place of what was there before, without the keys that it may hold.
    pub(crate) fn write(&self, text: &str) -> io::Result<()> {
        let text = secret::scrub(text);
        if self.method == Method::WriteInto {
            return OpenOptions::new()
                .write(true)
                .open(&self.path)?
                .write_all(text.as_bytes());
        }
        let mut file = self.temporary()?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        Ok(())
    }

    /// Beside the file, so that it can take its place; by its name nobody takes it for one.
    fn temporary(&self) -> io::Result<NamedTempFile> {
        let folder = self
            .path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let mut prefix = std::ffi::OsString::from(".");
        prefix.push(self.path.file_name().unwrap_or_default());
        let mode = match self.readers {
            Readers::Owner => 0o600,
            Readers::Others => 0o666,
        };
        Builder::new()
            .prefix(&prefix)
            .suffix(".tmp")
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(folder.unwrap_or(Path::new(".")))
            .map_err(without_path)
    }
}

/// tempfile's errors name the temporary file, which nobody asked for.
fn without_path(error: io::Error) -> io::Error {
    let cause = error.get_ref().and_then(|inner| inner.source());
    let code = cause
        .and_then(|cause| cause.downcast_ref::<io::Error>())
        .and_then(io::Error::raw_os_error);
    code.map_or(error, io::Error::from_raw_os_error)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_text_is_replaced_and_nothing_else_is_left() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("a.json");
        let file = AtomicFile::prepare(&path, Readers::Others).unwrap();
        assert_eq!(
            fs::read_dir(&folder).unwrap().count(),
            0,
            "checking leaves nothing"
        );
        file.write("one").unwrap();
        file.write("two").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn a_link_stays_and_a_device_is_not_replaced() {
        let folder = TempDir::new().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        AtomicFile::prepare(&link, Readers::Others)
            .unwrap()
            .write("new")
            .unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&real).unwrap(), "new");
        let null = AtomicFile::prepare(Path::new("/dev/null"), Readers::Others).unwrap();
        assert_eq!(null.method, Method::WriteInto);
        null.write("gone").unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_written_is_known_before() {
        assert!(AtomicFile::prepare(Path::new("/nowhere/at/all.json"), Readers::Others).is_err());
        assert!(AtomicFile::prepare(Path::new("/tmp"), Readers::Others).is_err());
    }
}
