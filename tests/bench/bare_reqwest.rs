//! What reqwest alone takes to delete so many files, to measure the binary against: no list, no report, no limits.
//!
//! `bare_reqwest BASE_URL REQUESTS CONCURRENCY`; ends with an error at the first answer that is not a 204.

use std::error::Error;

use futures::{TryStreamExt, stream};
use reqwest::{Client, redirect, retry};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [base, requests, concurrency] = arguments.as_slice() else {
        return Err("give BASE_URL REQUESTS CONCURRENCY".into());
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(delete(base, requests.parse()?, concurrency.parse()?))
}

async fn delete(base: &str, requests: u64, concurrency: usize) -> Result<(), Box<dyn Error>> {
    let client = Client::builder()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .no_proxy()
        .build()?;
    let delete = async |number: u64| -> Result<(), Box<dyn Error>> {
        let url = format!("{base}/v1/files/{number:024x}");
        let request = client.delete(url).basic_auth("private_bench", Some(""));
        match request.send().await?.status().as_u16() {
            204 => Ok(()),
            status => Err(format!("HTTP {status}").into()),
        }
    };
    stream::iter((0..requests).map(Ok))
        .try_for_each_concurrent(concurrency, delete)
        .await
}
