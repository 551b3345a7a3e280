//! Files of the look-alike's library: what a search looks at, and how answers show them.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

/// The first day on which made-up files were uploaded, 2019-01-01, and for how long they were.
const FIRST_UPLOAD_SECONDS: i64 = 1_546_300_800;
const UPLOADS_MILLISECONDS: u64 = 6 * 365 * 86_400_000;

/// Pixels of every picture.
pub(super) const WIDTH: i64 = 800;
pub(super) const HEIGHT: i64 = 600;

/// Folders of the files that a rehearsal finds.
const FOLDERS: [&str; 5] = [
    "/old",
    "/old/banners",
    "/products",
    "/products/2024",
    "/blog",
];

/// A file, a version of one, or a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its ID; a version carries its file's.
    pub id: String,
    /// `file`, `file-version` or `folder`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// The folder that it is in: `/` or `/a/b`.
    pub folder: String,
    /// Bytes.
    pub size: u64,
    /// When it was uploaded.
    pub created_at: Timestamp,
    /// Its tags.
    pub tags: Vec<String>,
}

impl File {
    /// A file whose properties follow from its ID alone.
    pub fn of(id: &str) -> Self {
        let number = spread(id);
        let age = Duration::from_millis(number % UPLOADS_MILLISECONDS);
        Self {
            id: id.to_owned(),
            kind: "file",
            name: format!("photo-{id}.jpg"),
            folder: "/photos".into(),
            size: 10_000 + number % 2_000_000,
            created_at: Timestamp::from_second(FIRST_UPLOAD_SECONDS).unwrap_or_default() + age,
            tags: Vec::new(),
        }
    }

    /// The nth of the files that a rehearsal finds.
    pub(super) fn of_rehearsal(number: u64) -> Self {
        let id = format!(
            "{:024x}",
            0x5f00_0000_0000_0000_u128 << 32 | u128::from(number)
        );
        let file = Self::of(&id);
        let which = usize::try_from(spread(&id)).unwrap_or_default() % FOLDERS.len();
        Self {
            folder: FOLDERS[which].into(),
            tags: if number.is_multiple_of(3) {
                vec!["sale".into()]
            } else {
                Vec::new()
            },
            ..file
        }
    }

    /// Its path in the library.
    pub(super) fn path(&self) -> String {
        format!("{}/{}", self.folder.trim_end_matches('/'), self.name)
    }

    /// It as lists and details show it. `[spec]`
    pub(super) fn json(&self) -> Value {
        let (path, created_at) = (self.path(), format!("{:.3}", self.created_at));
        let endpoint = "https://ik.imagekit.io/sandbox";
        let updated_at = self.created_at.as_millisecond();
        if self.kind == "folder" {
            return json!({
                "type": "folder", "folderId": self.id, "name": self.name, "folderPath": path,
                "createdAt": created_at, "updatedAt": created_at,
            });
        }
        json!({
            "type": self.kind, "fileId": self.id, "name": self.name, "filePath": path,
            "url": format!("{endpoint}{path}?updatedAt={updated_at}"),
            "thumbnail": format!("{endpoint}/tr:n-ik_ml_thumbnail{path}?updatedAt={updated_at}"),
            "fileType": "image", "mime": "image/jpeg", "size": self.size, "width": WIDTH, "height": HEIGHT, "hasAlpha": false,
            "tags": (!self.tags.is_empty()).then_some(&self.tags), "AITags": null, "customCoordinates": null,
            "customMetadata": {}, "embeddedMetadata": {}, "description": "", "selectedFieldsSchema": {},
            "isPrivateFile": false, "isPublished": true,
            "versionInfo": {"id": self.id, "name": "Version 1"},
            "createdAt": created_at, "updatedAt": created_at,
        })
    }
}

/// A number that depends on the ID alone, evenly spread (FNV-1a, then mixed).
pub(super) fn spread(file_id: &str) -> u64 {
    let hash = file_id
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    (hash ^ hash >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 17
}
