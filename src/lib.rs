//! Deletes very many files from an ImageKit.io media library, and writes one true report row for each.
//!
//! This is the library; the binary adds options, questions, signals and drawing. The journey of an ID:
//!
//! ```text
//!  list, stdin                                           report row, then RunStats, then [purge]
//!     |                                                                ^
//!  [source] --Target--> [job: admit, group, n in flight] ---Decision---+
//!                          |                     ^
//!                          v                     |
//!                     [deleter]  permit -> intent -> attempt -> classify
//!                      |    |                       |
//!               [journal]   +---------[api]---------+
//!                                   |   |   |
//!                       [throttle] [backoff] [client] = one HTTP request, without an opinion on retry
//! ```
//!
//! - [`target`] and [`outcome`] are the nouns that come in and go out; [`stop`] is the token that ends a run early;
//!   [`human`] is how numbers and durations read.
//! - [`secret`] takes private keys out of every text that leaves the process.
//! - [`source`] turns bytes into records, on a thread of its own, and holds the lists of `--except`.
//! - [`job`] admits records (what is settled, protected or a duplicate is not sent), groups them, and writes each
//!   decision as a row; if that fails, the run stops: no deletion without a record.
//! - [`deleter`] carries one batch to its decisions; it alone owns what is ambiguous.
//! - [`api`] holds the one attempt loop, for deletions, reads and purges: a permit, one request, what the response
//!   means for the throttle, the next attempt.
//! - [`throttle`] says who may send now, and what an outage is; [`backoff`] is the arithmetic of delays, for both.
//! - [`client`] is one request to ImageKit; what is known of its wire format is stated there, once.
//! - [`journal`] is `<report>.state`: the lock, and which IDs may be in flight.
//! - [`report`] writes a row for each outcome, resumes from what it finds on disk, and is compacted at the end.
//! - [`purge`] takes the URLs of deleted files out of the CDN's caches, once their rows stand.
//! - [`list`] finds the files to begin with: all that a search finds, each once, while the library is in use.
//! - [`lookup`] finds out by reads what ImageKit knows of IDs, for [`check`] and for the URLs of [`purge`]; [`plan`] is
//!   the arithmetic of what a run would take.
//! - [`id_set`] is the one set behind duplicates, resume and `--except`; [`files`] is what a path names.
//! - [`summary`] is what the rows add up to, as text, JSON and Prometheus metrics.
//! - [`html`] makes a page of a report's rows, and of what the run that wrote it knows besides.
//! - [`sandbox`] is a look-alike of ImageKit on loopback, for rehearsals and for the tests.

pub mod api;
pub mod backoff;
pub mod check;
pub mod client;
pub mod deleter;
pub mod files;
pub mod html;
pub mod human;
pub mod id_set;
pub mod job;
pub mod journal;
pub mod list;
pub mod lookup;
pub mod outcome;
pub mod plan;
pub mod purge;
pub mod report;
pub mod sandbox;
pub mod secret;
pub mod source;
pub mod stop;
pub mod summary;
pub mod target;
pub mod throttle;
