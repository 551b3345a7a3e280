//! A file as ImageKit tells of it, in a list and in its details.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// What ImageKit knows of a file. All but the ID may be missing. `[spec]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileInfo {
    /// The ID; a version of a file carries the file's own.
    pub file_id: String,
    /// `file`, `file-version` or `folder`.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// The file's name.
    #[serde(default)]
    pub name: Option<String>,
    /// Its path in the media library.
    #[serde(default)]
    pub file_path: Option<String>,
    /// Its URL, by which the CDN's caches know it.
    #[serde(default)]
    pub url: Option<String>,
    /// Bytes.
    #[serde(default, deserialize_with = "whole_number")]
    pub size: Option<u64>,
    /// When it was uploaded, ISO 8601.
    #[serde(default)]
    pub created_at: Option<String>,
}

impl FileInfo {
    /// A file as a JSON object tells of it; `None` if it has no ID. A folder's is its `folderId`. `[spec]`
    pub(super) fn parse(file: &Value) -> Option<Self> {
        let parsed = Self::deserialize(file).ok();
        parsed.or_else(|| {
            let mut file = file.as_object()?.clone();
            let folder_id = file.remove("folderId")?;
            file.insert("fileId".into(), folder_id);
            Self::deserialize(Value::Object(file)).ok()
        })
    }

    /// Whether this is the file itself, as against one of its versions or a folder.
    pub fn is_file(&self) -> bool {
        self.kind.as_deref().is_none_or(|kind| kind == "file")
    }
}

/// A size that is no whole number is as good as none: the rest is worth having.
fn whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(Value::deserialize(deserializer)?.as_u64())
}
