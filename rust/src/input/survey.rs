//! A count of documents that stops once there are enough of them for a hash to choose from.

use super::reader::UnitReader;
use super::{compressed, Block, Format, Input, Mapping, Mark, Separator, SourceFile, Validation};
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
        input.options.check()?;
        if file.size == 0 {
            survey.text_bytes[index] = Some(0);
            continue;
        }
        let missing = enough - survey.documents;
        let (Count { breaks, any }, bytes) = match (file.format, file.ranged()) {
            (Format::Parquet, _) => {
                let groups = super::parquet::groups(file, &input.options.column)?;
                let rows: u64 = groups.iter().map(|group| group.0).sum();
                let breaks = rows.saturating_sub(1);
                (Count { breaks, any: breaks > 0 }, Some(groups.iter().map(|group| group.1).sum()))
            }
            (Format::Text | Format::Jsonl, true) => count_mapped(input, file, missing)?,
            (Format::Text | Format::Jsonl, false) => count_stream(input, file, missing)?,
            (Format::Json | Format::Csv | Format::Warc | Format::Tar, _) => count_read(input, index, missing)?,
        };
        survey.documents += breaks + 1;
        survey.text_bytes[index] = bytes;
        survey.whole[index] = !any && bytes.is_some();
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

struct Count {
    /// Separators with something behind them.
    breaks: u64,
    /// There is a separator, perhaps at the very end only.
    any: bool,
}

/// What there is of separators, and the length of the text where it was read to its end.
fn count_mapped(input: &Input, file: &SourceFile, enough: u64) -> Result<(Count, Option<u64>)> {
    let map = Mapping::open(file)?;
    let separator = separator(input, file);
    if matches!(separator, Separator::File) {
        return Ok((Count { breaks: 0, any: false }, Some(file.size)));
    }
    let (mut count, mut place, mut width) = (Count { breaks: 0, any: false }, 0, STEP);
    while place < map.len() {
        input.options.check()?;
        let limit = (place + width).min(map.len());
        let complete = limit == map.len();
        let mut next = place;
        while let Some(found) = separator.first(&map[..limit], next, complete) {
            next = found.next;
            count.any = true;
            if next < map.len() {
                count.breaks += 1;
            }
            if count.breaks >= enough {
                return Ok((count, None));
            }
        }
        let done = if complete { limit } else { next + separator.tail(&map[next..limit]) };
        map.release(place..done);
        // twice as much where a separator fills all of this
        width = if done == place { width * 2 } else { STEP };
        place = done;
    }
    Ok((count, Some(file.size)))
}

/// The same of a file whose documents are found by reading it.
fn count_read(input: &Input, file: usize, enough: u64) -> Result<(Count, Option<u64>)> {
    let mut reader = UnitReader::rest(input, file, Mark::default())?;
    let (mut documents, mut bytes) = (0u64, 0);
    loop {
        input.options.check()?;
        let Some(raw) = reader.next()? else { break };
        bytes += raw.len() as u64;
        let block = Block::new(raw, &input.files[file], &input.options, Validation::None)?;
        documents += block.segments.iter().filter(|segment| segment.ends).count() as u64;
        if documents > enough {
            return Ok((Count { breaks: documents - 1, any: true }, None));
        }
    }
    Ok((Count { breaks: documents.saturating_sub(1), any: documents > 1 }, Some(bytes)))
}

fn count_stream(input: &Input, file: &SourceFile, enough: u64) -> Result<(Count, Option<u64>)> {
    let separator = separator(input, file);
    let mut stream = compressed::open(file, 0, &input.options)?;
    let mut window = Vec::new();
    let (mut count, mut done) = (Count { breaks: 0, any: false }, 0u64);
    loop {
        input.options.check()?;
        let before = done + window.len() as u64;
        // as much again where a separator fills all of the window
        let wanted = window.len().max(1 << 20);
        let ended = compressed::fill(&mut stream, &mut window, wanted, file, before)?;
        let mut next = 0;
        while let Some(found) = separator.first(&window, next, ended) {
            next = found.next;
            // a separator at the very end opens no document; one at the end of the window might
            count.any = true;
            if next < window.len() || !ended {
                count.breaks += 1;
            }
            if count.breaks >= enough {
                return Ok((count, None));
            }
        }
        if ended {
            return Ok((count, Some(done + window.len() as u64)));
        }
        let past = next + separator.tail(&window[next..]);
        done += past as u64;
        window.drain(..past);
    }
}
