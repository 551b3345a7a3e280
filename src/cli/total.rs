//! How many records there will be: counted beforehand, or while the run goes on.

use std::path::Path;
use std::sync::Arc;
use std::thread::{Builder, sleep};
use std::time::Duration;

use imagekit_bulk_delete::job::Total;
use imagekit_bulk_delete::source::{Input, Sources};

use super::options::Cli;
use crate::progress::Progress;

/// A run that is over by then needs no count.
const COUNT_AFTER: Duration = Duration::from_secs(1);

/// The total, as soon as it is known. Files are counted on a thread of their own, from handles of their own: reading a
/// file once more is cheap beside deleting what it lists.
pub(crate) fn of_run(cli: &Cli, counted: Option<u64>, progress: &Progress) -> Arc<Total> {
    let total = Arc::new(counted.map_or_else(Total::new, Total::from));
    if counted.is_none()
        && (progress.is_shown() || is_exported(cli))
        && let (Ok(inputs), Ok(options)) = (cli.inputs(), cli.reading.options())
        && inputs.iter().all(is_file)
    {
        let total = Arc::clone(&total);
        // Where no thread can start, nobody knows the total.
        let _ = Builder::new().spawn(move || {
            sleep(COUNT_AFTER);
            if let Ok(mut sources) = Sources::open(&inputs, &options)
                && let Ok(records) = sources
                    .records()
                    .try_fold(0, |records, record| record.map(|_| records + 1))
            {
                let _ = total.set(records);
            }
        });
    }
    total
}

/// Whether a file for other programs tells the total: that must not depend on what is shown.
fn is_exported(cli: &Cli) -> bool {
    cli.display.summary_json.is_some() || cli.display.metrics_file.is_some()
}

fn is_file(input: &Input) -> bool {
    match input {
        Input::Stdin => false,
        Input::File(path) => Path::new(path)
            .metadata()
            .is_ok_and(|metadata| metadata.is_file()),
    }
}
