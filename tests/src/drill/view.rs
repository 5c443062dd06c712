//! The live view of somebody who keeps closing the laptop.
//!
//! The rule: what is remembered between two connections is one position.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tokio::time::Instant;

use super::random::Random;
use crate::harness::{Client, Feed};

/// What was seen of a job.
#[derive(Debug)]
pub(super) struct JobTimeline {
    /// Every item but heartbeats, each once.
    pub(super) items: Vec<Value>,
    /// The position of the job's end.
    pub(super) end: String,
    /// How often the connection was dropped and resumed.
    pub(super) closed: u32,
}

/// Follows `job` to its end over many connections, each dropped at a random moment and resumed from the position seen
/// last.
pub(super) async fn watch(client: &Client, job: &str, random: &mut Random) -> Result<JobTimeline> {
    let mut view = JobTimeline {
        items: Vec::new(),
        end: String::new(),
        closed: 0,
    };
    let mut after = "0".to_owned();
    loop {
        let mut feed = Feed::of_job(client, job, Some(&after)).await;
        let closing = Instant::now() + random.between(500, 6_000);
        loop {
            let Ok(item) = tokio::time::timeout_at(closing, feed.next()).await else {
                drop(feed);
                view.closed += 1;
                tokio::time::sleep(random.between(0, 3_000)).await;
                break;
            };
            if view.take(item, &mut after)? {
                return Ok(view);
            }
        }
    }
}

/// The same in one go, from the beginning.
pub(super) async fn whole(client: &Client, job: &str) -> Result<Vec<Value>> {
    let mut view = JobTimeline {
        items: Vec::new(),
        end: String::new(),
        closed: 0,
    };
    let mut after = "0".to_owned();
    let mut feed = Feed::of_job(client, job, Some(&after)).await;
    while !view.take(feed.next().await, &mut after)? {}
    Ok(view.items)
}

impl JobTimeline {
    /// Takes what came; whether it was the end.
    fn take(&mut self, item: Option<Result<Value, Value>>, after: &mut String) -> Result<bool> {
        let item = match item {
            Some(Ok(item)) => item,
            Some(Err(error)) => bail!("the feed ended by {error}"),
            None => bail!("the feed ended without an end"),
        };
        match item["__typename"].as_str().context("an item has a type")? {
            "FeedHeartbeat" => return Ok(false),
            "FeedEnd" => {
                ensure!(item["state"] == "COMPLETED", "the job ended: {item}");
                self.end = item["position"]
                    .as_str()
                    .context("an end has a position")?
                    .to_owned();
                return Ok(true);
            }
            "FeedGap" | "JobSnapshot" => bail!("the feed did not go on where it was left: {item}"),
            _ => {}
        }
        let position = item["position"].as_str().context("an item has a position")?;
        let (new, last): (u64, u64) = (position.parse()?, after.parse()?);
        ensure!(new > last, "position {new} came after {last}");
        position.clone_into(after);
        self.items.push(item);
        Ok(false)
    }
}
