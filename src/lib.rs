//! Deletes very many files from an ImageKit.io media library, and writes one true report row for each.
//!
//! This is the library side of one program; the binary side (command line, progress, questions) lies
//! beside it. The way of an ID through the house:
//!
//! ```text
//!  CSV, stdin                                             report row, then stats, then screen
//!     |                                                                ^
//!  [source] --Target--> [job: admit, group, n in flight] ---Decision---+
//!                             |                  ^
//!                             v                  |
//!                        [deleter]  permit -> intent -> send -> classify -> decide
//!                          |    |                |
//!                    [journal]  +-----[api]------+     the one attempt loop: permit, send, classify, backoff
//!                                    |     |
//!                           [throttle]   [client] = one HTTP request, no opinion on retry
//! ```
//!
//! - [`target`] and [`outcome`] are the nouns that come in and go out; [`stop`] is the token that ends a run early.
//! - [`secret`] takes private keys out of every text that leaves the process.
//! - [`source`] turns bytes into records, on a thread of its own.
//! - [`job`] admits records (what is settled or a duplicate drops out), groups them, and hands each decision to one
//!   `record`; if that fails, the run stops: no deletion without a record.
//! - [`deleter`] is the life of one group of IDs, and the only owner of what is ambiguous about an ID.
//! - [`api`] is the only loop that repeats a request, for deletions, reads and purges alike.
//! - [`throttle`] says who may send now, and what an outage is; [`backoff`] is the arithmetic of delays, for both.
//! - [`client`] is one request to ImageKit; what is known of its wire format is stated there, once.
//! - [`journal`] is `<report>.state`: the lock, and which IDs may be in flight.
//! - [`report`] writes a row for each outcome, knows how to go on from itself, and is made whole at the end.
//! - [`purge`] takes the URLs of deleted files out of the CDN's caches, once their rows stand.
//! - [`lookup`] finds out by reads what ImageKit knows of IDs: for [`check`], which writes it down before anything is
//!   deleted, and for the URLs of [`purge`]. [`plan`] is the arithmetic of what a run would take.
//! - [`list`] finds the files to begin with: all that a search finds, each once, while the library is in use.
//! - [`id_set`] is the one set behind duplicates and resume.
//! - [`summary`] counts outcomes and is the closing text, the JSON and the exit code; [`metrics`] is the same
//!   for Prometheus while a run goes on.
//! - [`html`] makes a page to look at out of a report's rows, and of the pauses of the run that wrote it.
//! - [`sandbox`] is a look-alike of ImageKit on loopback, for rehearsals and as the tests' other side.

pub mod api;
pub mod backoff;
pub mod check;
pub mod client;
pub mod deleter;
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
