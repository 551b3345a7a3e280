//! imagekit-bulk-delete: deletes very many files from an ImageKit.io media library.
pub mod backoff;
pub mod client;
pub mod deleter;
pub mod job;
pub mod journal;
pub mod outcome;
pub mod report;
pub mod sandbox;
pub mod seen;
pub mod source;
pub mod stop;
pub mod summary;
pub mod target;
pub mod throttle;
