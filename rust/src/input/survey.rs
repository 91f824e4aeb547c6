//! A count of documents that stops once there are enough of them for a hash to choose from.

use super::{compressed, Format, Input, Mapping, Separator, SourceFile};
use crate::error::Result;

/// What was seen of the sources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Documents counted, empty ones included; at least `enough` where the count stopped early.
    pub documents: u64,
    /// Bytes of text by file, where it was read to its end.
    pub text_bytes: Vec<Option<u64>>,
    /// Files that were read to their end and hold no separator.
    pub whole: Vec<bool>,
}

/// Bytes looked at before pages are given back.
const STEP: usize = if cfg!(test) { 5000 } else { 8 << 20 };

/// Counts documents until there are `enough`.
pub fn survey(input: &Input, enough: u64) -> Result<Survey> {
    let mut survey =
        Survey { documents: 0, text_bytes: vec![None; input.files.len()], whole: vec![false; input.files.len()] };
    for (index, file) in input.files.iter().enumerate() {
        if survey.documents >= enough {
            break;
        }
        if file.size == 0 {
            survey.text_bytes[index] = Some(0);
            continue;
        }
        let missing = enough - survey.documents;
        let (breaks, bytes) = match (file.format, file.ranged()) {
            (Format::Parquet, _) => {
                let groups = super::parquet::groups(file, &input.options.column)?;
                let rows: u64 = groups.iter().map(|group| group.0).sum();
                (rows.saturating_sub(1), Some(groups.iter().map(|group| group.1).sum()))
            }
            (_, true) => count_mapped(input, file, missing)?,
            (_, false) => count_stream(input, file, missing)?,
        };
        survey.documents += breaks + 1;
        survey.text_bytes[index] = bytes;
        survey.whole[index] = breaks == 0 && bytes.is_some();
    }
    Ok(survey)
}

fn separator<'a>(input: &'a Input, file: &SourceFile) -> &'a Separator {
    if file.format == Format::Jsonl {
        &Separator::Line
    } else {
        &input.options.separator
    }
}

/// Separators with something behind them, and the length of the text where it was read to its end.
fn count_mapped(input: &Input, file: &SourceFile, enough: u64) -> Result<(u64, Option<u64>)> {
    let map = Mapping::open(file)?;
    let separator = separator(input, file);
    if matches!(separator, Separator::File) {
        return Ok((0, Some(file.size)));
    }
    let reach = separator.reach();
    let (mut breaks, mut place) = (0, 0);
    while place < map.len() {
        let limit = (place + STEP).min(map.len());
        let complete = limit == map.len();
        let mut next = place;
        while let Some(found) = separator.first(&map[..limit], next, complete) {
            next = found.next;
            if next < map.len() {
                breaks += 1;
            }
            if breaks >= enough {
                return Ok((breaks, None));
            }
        }
        map.release(place..limit);
        place = if complete { limit } else { next.max(limit - reach) };
    }
    Ok((breaks, Some(file.size)))
}

fn count_stream(input: &Input, file: &SourceFile, enough: u64) -> Result<(u64, Option<u64>)> {
    let separator = separator(input, file);
    let mut stream = compressed::open(file)?;
    let mut window = Vec::new();
    let (mut breaks, mut done) = (0, 0u64);
    loop {
        let before = done + window.len() as u64;
        let ended = compressed::fill(&mut stream, &mut window, 1 << 20, file, before)?;
        let mut next = 0;
        while let Some(found) = separator.first(&window, next, ended) {
            next = found.next;
            // a separator at the very end opens no document; one at the end of the window might
            if next < window.len() || !ended {
                breaks += 1;
            }
            if breaks >= enough {
                return Ok((breaks, None));
            }
        }
        if ended {
            return Ok((breaks, Some(done + window.len() as u64)));
        }
        let keep = next.max(window.len().saturating_sub(separator.reach()));
        done += keep as u64;
        window.drain(..keep);
    }
}
