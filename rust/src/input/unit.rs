//! Cutting the sources into units before anything is encoded.

use serde::{Deserialize, Serialize};

use super::magic::after_mark;
use super::{Format, Input, Mapping, Options, SafeCut, Separator, Side, SourceFile, Survey, Validation};
use crate::error::{Error, Result};

/// A range of one file: bytes of a plain file, row groups of a parquet file, the whole of a compressed one (0..size).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    pub file: u32,
    pub start: u64,
    pub end: u64,
    /// It begins within a document, which belongs to that side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside: Option<Side>,
    /// It ends within a document, of which it then holds nothing but a part.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub open: bool,
}

/// What is done or done again as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    pub spans: Vec<Span>,
    /// Bytes of source text; an estimate for compressed files.
    pub bytes: u64,
    /// Where it begins in all of the text.
    pub offset: u64,
}

/// What text becomes when it is packed: the guess for files whose length as text is not known.
const COMPRESSION_RATIO: u64 = 3;

/// Units of about `target` bytes, in the order of the files. `survey` brings lengths that had to be counted.
pub fn plan_units(input: &Input, target: u64, validation: Validation, survey: Option<&Survey>) -> Result<Vec<Unit>> {
    ask_for_footers(input)?;
    let mut plan = Plan { units: Vec::new(), open: None, target, offset: 0 };
    for (index, file) in input.files.iter().enumerate() {
        let number = index as u32;
        input.options.check()?;
        let counted = survey.and_then(|survey| survey.text_bytes.get(index).copied().flatten());
        if file.size == 0 {
            continue;
        }
        if file.format == Format::Parquet {
            plan.close();
            for (group, (_, bytes)) in super::parquet::groups(file, &input.options.column)?.into_iter().enumerate() {
                plan.add_group(number, group as u64, bytes);
            }
            plan.close();
        } else if !file.ranged() {
            plan.close();
            let span = Span { file: number, start: 0, end: file.size, inside: None, open: false };
            plan.add(span, counted.unwrap_or(file.size * if file.is_plain() { 1 } else { COMPRESSION_RATIO }));
            plan.close();
        } else if file.size <= target {
            let span = Span { file: number, start: 0, end: file.size, inside: None, open: false };
            plan.add(span, file.size);
        } else {
            plan.close();
            let lone = survey.is_some_and(|survey| survey.whole.get(index) == Some(&true));
            cut_file(&mut plan, input, number, file, validation, lone)?;
            plan.close();
        }
    }
    plan.close();
    Ok(plan.units)
}

/// Asks for the footers of parquet files that lie elsewhere, several at a time.
fn ask_for_footers(input: &Input) -> Result<()> {
    const REQUESTS: usize = 8;
    let remotes: Vec<_> = input.files.iter().filter_map(SourceFile::remote_parquet).collect();
    for some in remotes.chunks(REQUESTS) {
        input.options.check()?;
        std::thread::scope(|scope| {
            let asked: Vec<_> = some.iter().map(|remote| scope.spawn(|| remote.tail().map(drop))).collect();
            asked.into_iter().try_for_each(|asked| asked.join().unwrap_or_else(|_| Err(Error::interrupted())))
        })?;
    }
    Ok(())
}

struct Plan {
    units: Vec<Unit>,
    open: Option<Unit>,
    target: u64,
    offset: u64,
}

impl Plan {
    fn add(&mut self, span: Span, bytes: u64) {
        if self.open.as_ref().is_some_and(|unit| unit.bytes + bytes > self.target) {
            self.close();
        }
        let offset = self.offset;
        let unit = self.open.get_or_insert_with(|| Unit { spans: Vec::new(), bytes: 0, offset });
        unit.spans.push(span);
        unit.bytes += bytes;
        self.offset += bytes;
    }

    /// Row groups of one file that fit join into one span.
    fn add_group(&mut self, file: u32, group: u64, bytes: u64) {
        let target = self.target;
        if let Some(unit) = &mut self.open {
            if unit.bytes + bytes <= target {
                if let Some(last) = unit.spans.last_mut().filter(|last| last.file == file && last.end == group) {
                    last.end = group + 1;
                    unit.bytes += bytes;
                    self.offset += bytes;
                    return;
                }
            }
        }
        self.add(Span { file, start: group, end: group + 1, inside: None, open: false }, bytes);
    }

    fn close(&mut self) {
        self.units.extend(self.open.take());
    }
}

/// How far around a nominal cut a separator or a safe place is sought at once.
const STEP: usize = if cfg!(test) { 5000 } else { 8 << 20 };

/// Cuts a big plain file: after the last separator before each nominal place, or within a document that fills a unit.
fn cut_file(
    plan: &mut Plan,
    input: &Input,
    number: u32,
    file: &SourceFile,
    validation: Validation,
    lone: bool,
) -> Result<()> {
    let map = Mapping::open(file)?;
    let lines = file.format == Format::Jsonl;
    let (separator, safe_cut) = match (lines, lone) {
        (true, _) => (&Separator::Line, None),
        (false, true) => (&Separator::File, input.options.safe_cut.as_ref()),
        (false, false) => (&input.options.separator, input.options.safe_cut.as_ref()),
    };
    // equal units rather than a small one at the end; none so small that what decides a document's side is cut
    let most = (file.size / (2 * Validation::PREFIX as u64)).max(1);
    let count = file.size.div_ceil(plan.target).min(most);
    let step = file.size.div_ceil(count) as usize;
    let mut start = 0usize;
    let mut inside = None;
    while start < map.len() {
        let nominal = start + step;
        // a tail that is little more than a unit is not worth another
        let (end, open) = if nominal + step / 8 >= map.len() {
            (map.len(), false)
        } else {
            place(&map, start, nominal, separator, &input.options, safe_cut)?
        };
        let side = open.then(|| inside.unwrap_or_else(|| validation.side(after_mark(&map[start..end], start as u64))));
        let span = Span { file: number, start: start as u64, end: end as u64, inside, open };
        plan.add(span, (end - start) as u64);
        plan.close();
        (start, inside) = (end, side);
    }
    Ok(())
}

/// The end of the unit that begins at `start`, and whether that is within a document.
fn place(
    map: &Mapping,
    start: usize,
    nominal: usize,
    separator: &Separator,
    options: &Options,
    safe_cut: Option<&SafeCut>,
) -> Result<(usize, bool)> {
    let mut high = nominal;
    while high > start && !matches!(separator, Separator::File) {
        options.check()?;
        let low = high.saturating_sub(STEP).max(start);
        let until = high + separator.head(&map[high..nominal]);
        let found = separator.last(&map[low..until]);
        if high < nominal {
            map.release(low..high);
        }
        if let Some(found) = found {
            return Ok((low + found.next, false));
        }
        high = low;
    }
    match safe_cut {
        Some(safe_cut) => within(map, start, nominal, separator, options, safe_cut),
        None => behind(map, start + separator.tail(&map[start..nominal]), separator, options),
    }
}

/// The first safe place behind `nominal`, or the end of the document if that comes first.
fn within(
    map: &Mapping,
    start: usize,
    nominal: usize,
    separator: &Separator,
    options: &Options,
    safe_cut: &SafeCut,
) -> Result<(usize, bool)> {
    let mut low = nominal - (64 << 10).min((nominal - start) / 2);
    let mut width = 64 << 10;
    // what is cut off must not reach into a later document, nor into a separator that may begin before `low`
    let mut from = start + separator.tail(&map[start..low]);
    while low < map.len() {
        options.check()?;
        let high = (low + width).min(map.len());
        let found = separator.first(&map[from..high], 0, high == map.len());
        let tail = separator.tail(&map[from..high]);
        let limit = from + found.map_or(tail, |found| found.end);
        if let Some(cut) = safe_cut(&map[start..high], low - start, limit - start).map(|cut| start + cut) {
            if cut < map.len() {
                return Ok((cut, true));
            }
        }
        if let Some(found) = found {
            return Ok((from + found.next, false));
        }
        // twice as much where a separator fills all of this
        let most = if tail == 0 { usize::MAX } else { STEP };
        (low, width, from) = (high, (width * 2).min(most), from + tail);
    }
    Ok((map.len(), false))
}

/// The end of the document at `low`.
fn behind(map: &Mapping, mut low: usize, separator: &Separator, options: &Options) -> Result<(usize, bool)> {
    let mut width = STEP;
    while low < map.len() {
        options.check()?;
        let high = (low + width).min(map.len());
        if let Some(found) = separator.first(&map[low..high], 0, high == map.len()) {
            return Ok((low + found.next, false));
        }
        if high == map.len() {
            break;
        }
        let tail = separator.tail(&map[low..high]);
        map.release(low..low + tail);
        width = if tail == 0 { width * 2 } else { STEP };
        low += tail;
    }
    Ok((map.len(), false))
}
