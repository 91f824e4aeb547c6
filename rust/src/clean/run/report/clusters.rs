//! Duplicates: how many clusters of which size, and the largest of them.

use std::collections::BTreeMap;

use serde_json::{json, Value};

use super::{first, Excerpts, MEMBER};
use crate::clean::duplicates::ALONE;
use crate::clean::run::decide::Decided;
use crate::clean::run::judge::STAYS;
use crate::clean::run::tags::{Schema, Tags};
use crate::error::Result;

/// Clusters that are shown, and members of each.
const LARGEST: usize = 5;
const MEMBERS: usize = 3;

pub(super) struct Groups {
    clusters: u64,
    documents: u64,
    /// Clusters by their size.
    sizes: BTreeMap<u32, u64>,
    largest: Vec<Group>,
}

struct Group {
    id: u32,
    size: u32,
    kept: Option<u32>,
    members: Vec<u32>,
}

impl Groups {
    pub fn of(clusters: &[u32], decided: &Decided) -> Self {
        let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
        for cluster in clusters.iter().filter(|cluster| **cluster != ALONE) {
            *counts.entry(*cluster).or_default() += 1;
        }
        let mut sizes = BTreeMap::new();
        for size in counts.values() {
            *sizes.entry(*size).or_default() += 1;
        }
        let mut order: Vec<(u32, u32)> = counts.iter().map(|(id, size)| (u32::MAX - size, *id)).collect();
        order.sort_unstable();
        let group = |(size, id): &(u32, u32)| Group { id: *id, size: u32::MAX - size, kept: None, members: Vec::new() };
        let mut largest: Vec<Group> = order.iter().take(LARGEST).map(group).collect();
        for (document, cluster) in clusters.iter().enumerate() {
            let Some(group) = largest.iter_mut().find(|group| group.id == *cluster) else { continue };
            if group.members.len() < MEMBERS {
                group.members.push(document as u32);
            }
            if decided.verdicts[document] == STAYS {
                group.kept.get_or_insert(document as u32);
            }
        }
        let documents = counts.values().map(|size| u64::from(*size)).sum();
        Self { clusters: counts.len() as u64, documents, sizes, largest }
    }

    /// The documents that are shown.
    pub fn members(&self) -> impl Iterator<Item = u32> + '_ {
        self.largest.iter().flat_map(|group| group.members.iter().copied().chain(group.kept))
    }

    pub fn to_json(&self, removed: u64) -> Value {
        json!({"clusters": self.clusters, "documents": self.documents, "removed": removed})
    }

    pub fn to_json_with_members(
        &self,
        removed: u64,
        schema: &Schema,
        excerpts: &Excerpts,
        tags: &Tags,
    ) -> Result<Value> {
        let mut told = self.to_json(removed);
        told["pairs_compared"] = json!(schema.pairs_compared);
        told["sizes"] = json!(self.sizes.iter().collect::<Vec<_>>());
        let mut largest = Vec::new();
        for group in &self.largest {
            let text = |document: &u32| excerpts.get(document).map_or("", |(_, text)| first(text, MEMBER));
            let kept = match group.kept {
                None => Value::Null,
                Some(document) => {
                    let mut records = tags.records_from(document)?;
                    let tag = records.take()?;
                    let id = excerpts.get(&document).map_or(Value::Null, |(id, _)| id.clone());
                    json!({"id": id, "source": schema.sources[tag.source as usize], "number": tag.number})
                }
            };
            let texts: Vec<&str> = group.members.iter().map(text).collect();
            largest.push(json!({"id": group.id, "size": group.size, "kept": kept, "texts": texts}));
        }
        told["largest"] = json!(largest);
        Ok(told)
    }
}
