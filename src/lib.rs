//! imagekit-bulk-delete: deletes very many files from an ImageKit.io media library.
pub mod outcome;
pub mod stop;
pub mod target;
