//! What the file system says of a path: its folder, what it names through links, whether it still names a file.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::iter::successors;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

/// How many links are followed; more lead in a circle.
const MAX_LINKS: usize = 40;

/// Everybody may write to such a folder, and only remove what is their own.
const STICKY: u32 = 0o1000;

/// The folder that a file lies in.
pub fn folder(path: &Path) -> &Path {
    let folder = path.parent();
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// The path with more at its end: `a.csv` and `.state` make `a.csv.state`.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The path, then what it names, through link after link; the last one need not be there.
pub fn through_links(path: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let named = |link: &PathBuf| Some(folder(link).join(fs::read_link(link).ok()?));
    successors(Some(path.to_owned()), named).take(MAX_LINKS)
}

/// The first bytes of a file, at most that many.
pub fn first_bytes(mut file: &File, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether both are of one file, whatever it is called.
pub fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Whether an open file still has this name.
pub(crate) fn is_in_place(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(held), Ok(named)) => is_same(&held, &named),
        _ => false,
    }
}

/// Whether somebody else may have put a file there for us: it is not ours, in a folder where everybody can write.
pub fn is_planted(path: &Path, file: &Metadata) -> bool {
    let mode = fs::metadata(folder(path)).map_or(0, |folder| folder.mode());
    mode & STICKY != 0 && file.uid() != geteuid().as_raw()
}

/// Flushes the folder of a file, so that its name survives a power cut.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}
