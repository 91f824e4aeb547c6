//! Which documents stay: by themselves, then among their duplicates.

use std::collections::BTreeSet;

use super::judge::{Judge, Number, STAYS};
use super::request::{Keep, Request};
use super::tags::Tags;
use super::walk::Walk;
use super::worth::numbered;
use crate::clean::duplicates::{self, sizes, survivors, Near, ALONE};
use crate::clean::record::Clustered;
use crate::error::{Error, Result};
use crate::input::Members;

/// Documents whose fields are looked through for those that hold a number.
const LOOKED_THROUGH: u32 = 1000;

/// What was decided of every document.
pub(super) struct Decided {
    /// The number of its reason, or [`STAYS`].
    pub verdicts: Vec<Number>,
    pub clustered: Clustered,
    /// How many documents its near-cluster has, copies among them; 1 where it is alone.
    pub sizes: Vec<u32>,
}

/// The reasons against documents by themselves.
pub(super) fn alone(tags: &Tags, judge: &Judge) -> Result<Vec<Number>> {
    let mut verdicts = Vec::with_capacity(tags.schema.documents as usize);
    tags.each(&mut |_, tag| {
        verdicts.push(judge.first(tag).map_or(STAYS, |(number, _)| number));
        Ok(())
    })?;
    Ok(verdicts)
}

/// Fails where duplicates are told apart by a field that no document has a number in: the first of each would stay.
pub(super) fn refuse_unknown(keep: &Keep, tags: &Tags, walk: &mut impl Walk) -> Result<()> {
    let Keep::Best(field) = keep else { return Ok(()) };
    let (mut known, mut names) = (false, BTreeSet::new());
    tags.each(&mut |_, tag| {
        known |= !tag.value.is_nan();
        Ok(())
    })?;
    if known {
        return Ok(());
    }
    for document in 0..tags.schema.documents.min(LOOKED_THROUGH) {
        let (fields, _) = walk.document(document)?;
        names.extend(Members::of(fields).iter().flat_map(numbered));
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let hint = match names.as_slice() {
        [] => "no field of theirs holds a number: take --keep first, longest or newest, with --force".into(),
        names => format!("such fields of theirs are {}: name one, with --force", names.join(", ")),
    };
    Err(Error::usage(format!("--keep best:{field}: no document has a number under {field:?}")).hint(hint))
}

/// Of the documents that stay by themselves, leaves one of each cluster.
pub(super) fn among_duplicates(
    tags: &Tags,
    request: &Request,
    judge: &Judge,
    mut verdicts: Vec<Number>,
    clustered: Clustered,
) -> Result<Decided> {
    let mut values = Vec::new();
    if request.keep != Keep::First {
        tags.each(&mut |_, tag| {
            values.push(tag.value);
            Ok(())
        })?;
    }
    let near = duplicates::Settings::new(&request.near, request.shingle)?.near != Near::Off;
    for (asked, clusters, reason) in
        [(request.exact, &clustered.exact, judge.exact), (near, &clustered.near, judge.near)]
    {
        if !asked {
            continue;
        }
        let passes = |document: u32| verdicts[document as usize] == STAYS;
        let removed =
            survivors(clusters, &passes, &|document| values.get(document as usize).copied().unwrap_or(f64::NAN));
        for (verdict, removed) in verdicts.iter_mut().zip(removed) {
            if removed {
                *verdict = reason;
            }
        }
    }
    let joined: Vec<u32> = clustered.joined().collect();
    Ok(Decided { verdicts, sizes: sizes(&joined), clustered })
}

impl Clustered {
    /// The cluster of each document: the one of near-duplicates, else the one of copies.
    pub(super) fn joined(&self) -> impl Iterator<Item = u32> + '_ {
        self.near.iter().zip(&self.exact).map(|(near, exact)| if *near == ALONE { *exact } else { *near })
    }

    pub(super) fn of(&self, document: u32) -> u32 {
        let (near, exact) = (self.near[document as usize], self.exact[document as usize]);
        if near == ALONE {
            exact
        } else {
            near
        }
    }
}
