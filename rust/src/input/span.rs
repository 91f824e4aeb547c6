//! One span of a file → blocks.

use std::path::Path;
use std::sync::Arc;

use super::archive::{Archive, Texts};
use super::cut::{cut, wait_for};
use super::elements::{self, Layout};
use super::magic::{self, after_mark};
use super::parquet::Rows;
use super::raw::{Content, BLOCK_BYTES};
use super::table::{self, Header};
use super::warc::Records;
use super::window::{Window, LONGEST};
use super::{
    compressed, Compression, Format, Input, Mapping, Mark, Place, RawBlock, Separator, Side, SourceFile, Span, Text,
    Validation,
};
use crate::error::{Error, Result};

enum Bytes {
    Mapped { map: Arc<Mapping>, end: usize },
    Stream(Window, Made),
    Rows(Box<Rows>),
    Records(Box<Records>),
    Archive(Box<Archive<SpanReader>>),
}

/// What a stream is made of.
enum Made {
    Text,
    Lines,
    Elements { closed: bool },
    Table(Arc<Header>),
}

pub(super) struct SpanReader {
    file: u32,
    within: Option<Arc<SourceFile>>,
    start: u64,
    position: u64,
    offset: u64,
    inside: Option<Side>,
    /// The last document of the span goes on in the next one.
    open: bool,
    line: Option<u64>,
    bytes: Bytes,
}

impl SpanReader {
    pub fn open(input: &Input, span: &Span, mark: Mark, offset: u64) -> Result<Self> {
        let file = &input.files[span.file as usize];
        let (mut position, mut before) = (mark.at, mark.line);
        let bytes = match file.format {
            Format::Parquet => {
                position = 0;
                Bytes::Rows(Box::new(Rows::open(file, input, span.end, mark)?))
            }
            Format::Tar => Bytes::Archive(Box::new(Archive::open(file, span.file, mark, &input.options)?)),
            Format::Warc => {
                let stream = compressed::open(file, mark.at, &input.options)?;
                Bytes::Records(Box::new(Records::new(stream, mark)))
            }
            Format::Text | Format::Jsonl if file.ranged() => {
                Bytes::Mapped { map: Mapping::open(file)?, end: span.end.min(file.size) as usize }
            }
            Format::Text | Format::Jsonl => {
                let window = Window::new(compressed::open(file, mark.at, &input.options)?);
                Bytes::Stream(window, if file.format == Format::Text { Made::Text } else { Made::Lines })
            }
            Format::Json | Format::Csv => {
                let window = Window::new(compressed::open(file, 0, &input.options)?);
                let Begun { mut window, made, begin, lines } = begun(window, file, input)?;
                position = begin.max(mark.at);
                if mark.at <= begin {
                    before = lines;
                } else if file.is_plain() {
                    window = Window::new(compressed::open(file, mark.at, &input.options)?);
                } else {
                    window.pass(mark.at - begin, file, begin)?;
                }
                Bytes::Stream(window, made)
            }
        };
        let line = (!file.ranged()).then_some(before);
        let start = position;
        let (inside, open) = (span.inside, span.open);
        Ok(Self { file: span.file, within: None, start, position, offset, inside, open, line, bytes })
    }

    /// Whether the next block costs time to cut off.
    pub fn slow(&self) -> bool {
        !matches!(self.bytes, Bytes::Mapped { .. })
    }

    /// Where what was read ends in all of the text.
    pub fn end_offset(&self) -> u64 {
        self.offset + self.position - self.start
    }

    fn next_mapped(&mut self, input: &Input, file: &SourceFile, validation: Validation) -> Option<RawBlock> {
        let Bytes::Mapped { map, end } = &self.bytes else { return None };
        let (separator, safe_cut) = how(input, file.format == Format::Jsonl);
        let start = self.position as usize;
        if start >= *end {
            return None;
        }
        let window = &map[start..*end];
        let (length, open) = cut(window, true, self.open, separator, safe_cut).unwrap_or((window.len(), self.open));
        let text = Text::Mapped { map: map.clone(), range: start..start + length };
        Some(self.hand_on(text, file.format == Format::Jsonl, open, validation))
    }

    fn next_streamed(&mut self, input: &Input, file: &SourceFile, validation: Validation) -> Result<Option<RawBlock>> {
        let Bytes::Stream(window, made) = &mut self.bytes else { return Ok(None) };
        let (separator, safe_cut) = how(input, matches!(made, Made::Lines));
        let mut wanted = BLOCK_BYTES + BLOCK_BYTES / 4;
        let (length, open) = loop {
            let first = window.rest().is_empty() && self.position == 0;
            window.fill(wanted, file, self.position)?;
            if first && matches!(file.place, Place::Elsewhere(_)) {
                let head = &window.rest()[..window.rest().len().min(magic::HEAD)];
                magic::check(Path::new(&file.name), file.format, Compression::None, head)?;
            }
            let (rest, ended) = (window.rest(), window.ended);
            if rest.is_empty() {
                return Ok(None);
            }
            let found = match made {
                Made::Text | Made::Lines => cut(rest, ended, false, separator, safe_cut),
                Made::Elements { .. } => whole(rest, ended, elements::cut),
                Made::Table(header) => whole(rest, ended, |rest, most| table::cut(rest, header.delimiter, most)),
            };
            if let Some(found) = found {
                break found;
            }
            if rest.len() > LONGEST && !matches!(made, Made::Text | Made::Lines) {
                let (name, byte) = (&file.name, self.position);
                return Err(Error::data(format!("{name}: what begins at byte {byte} does not end"))
                    .hint("look for a quote or a bracket that is not closed there"));
            }
            wanted = wait_for(wanted);
        };
        let text = window.take(length);
        match made {
            Made::Text | Made::Lines => {
                let lines = matches!(made, Made::Lines);
                Ok(Some(self.hand_on(Text::Owned(text), lines, open, validation)))
            }
            Made::Elements { closed } => {
                let all = window.ended && window.rest().is_empty();
                if *closed && all && text.trim_ascii_end().last() != Some(&b']') {
                    return Err(Error::data(format!("{} is cut off: its JSON array does not end", file.name))
                        .hint("fetch or write the file again"));
                }
                let lines = newlines(&text);
                Ok(Some(self.take(text.len(), lines, Content::Elements { text })))
            }
            Made::Table(header) => {
                let (header, lines) = (header.clone(), newlines(&text));
                Ok(Some(self.take(text.len(), lines, Content::Records { text, header })))
            }
        }
    }

    fn hand_on(&mut self, text: Text, lines: bool, open: bool, validation: Validation) -> RawBlock {
        let side = open.then(|| self.inside.unwrap_or_else(|| validation.side(after_mark(&text, self.position))));
        let lines_more = match (lines, self.line) {
            (true, Some(_)) => newlines(&text),
            _ => 0,
        };
        let length = text.len();
        let content = if lines { Content::Lines { text } } else { Content::Text { text, inside: self.inside, open } };
        self.inside = side;
        self.take(length, lines_more, content)
    }

    fn take(&mut self, length: usize, lines: u64, content: Content) -> RawBlock {
        let offset = self.end_offset();
        let (position, line) = (self.position, self.line);
        self.position += length as u64;
        self.line = line.map(|line| line + lines);
        let after = Mark { at: self.position, row: 0, line: self.line.unwrap_or(0) };
        RawBlock { file: self.file, position, offset, line, after, within: self.within.clone(), content }
    }
}

fn newlines(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}

/// What ends a document, and where it may be cut all the same.
fn how(input: &Input, lines: bool) -> (&Separator, Option<&super::SafeCut>) {
    if lines {
        (&Separator::Line, None)
    } else {
        (&input.options.separator, input.options.safe_cut.as_ref())
    }
}

impl Texts for SpanReader {
    fn entry(
        input: &Input,
        number: u32,
        file: Arc<SourceFile>,
        stream: compressed::Stream,
        mark: Mark,
        offset: u64,
    ) -> Result<Self> {
        let most = if file.compression == Compression::None { file.size } else { u64::MAX };
        let Begun { mut window, made, begin, lines } = begun(Window::of_size(stream, most), &file, input)?;
        window.pass(mark.at.saturating_sub(begin), &file, begin)?;
        let (position, line) = if mark.at > begin { (mark.at, mark.line) } else { (begin, lines) };
        let bytes = Bytes::Stream(window, made);
        let (inside, open, line) = (None, false, Some(line));
        Ok(Self { file: number, within: Some(file), start: position, position, offset, inside, open, line, bytes })
    }

    fn next(&mut self, input: &Input, validation: Validation) -> Result<Option<RawBlock>> {
        let file = self.within.clone();
        let file = file.as_deref().unwrap_or(&input.files[self.file as usize]);
        match &mut self.bytes {
            Bytes::Rows(rows) => {
                let Some(content) = rows.next(BLOCK_BYTES)? else { return Ok(None) };
                let (length, after) = (content.len(), rows.mark());
                Ok(Some(RawBlock { after, ..self.take(length, 0, content) }))
            }
            Bytes::Records(records) => {
                let Some(documents) = records.next(BLOCK_BYTES, file, &input.options)? else { return Ok(None) };
                let (length, after) = (documents.text.len(), records.mark());
                Ok(Some(RawBlock { after, ..self.take(length, 0, Content::Documents(documents)) }))
            }
            Bytes::Archive(archive) => {
                let offset = self.offset + self.position - self.start;
                let block = archive.next(input, validation, offset)?;
                self.position += block.as_ref().map_or(0, |block| block.len() as u64);
                Ok(block)
            }
            Bytes::Mapped { .. } => Ok(self.next_mapped(input, file, validation)),
            Bytes::Stream(..) => self.next_streamed(input, file, validation),
        }
    }
}

/// A stream whose beginning was read: the header of a table, the bracket of an array.
struct Begun {
    window: Window,
    made: Made,
    /// The bytes and the lines that were read.
    begin: u64,
    lines: u64,
}

fn begun(mut window: Window, file: &SourceFile, input: &Input) -> Result<Begun> {
    if file.format == Format::Text {
        return Ok(Begun { window, made: Made::Text, begin: 0, lines: 0 });
    }
    if file.format == Format::Csv {
        let delimiter = table::delimiter(&file.name);
        let length = window.fill_until(file, 0, |text, _| table::cut(text, delimiter, 1))?;
        let length = length.unwrap_or(window.rest().len());
        if length == 0 {
            return Ok(Begun { window, made: Made::Text, begin: 0, lines: 0 });
        }
        let record = window.take(length);
        let made = Made::Table(Arc::new(Header::read(&record, file, &input.options)?));
        return Ok(Begun { window, made, begin: length as u64, lines: newlines(&record) });
    }
    let lines = Made::Lines;
    if file.format == Format::Jsonl {
        return Ok(Begun { window, made: lines, begin: 0, lines: 0 });
    }
    let found = window.fill_until(file, 0, |text, ended| elements::layout(after_mark(text, 0), ended))?;
    let (layout, begin) = found.unwrap_or((Layout::Lines, 0));
    let Layout::Elements { closed } = layout else {
        return Ok(Begun { window, made: lines, begin: 0, lines: 0 });
    };
    let begin = begin + window.rest().len() - after_mark(window.rest(), 0).len();
    let lines = newlines(&window.take(begin));
    Ok(Begun { window, made: Made::Elements { closed }, begin: begin as u64, lines })
}

/// Where the next block of whole records ends; None where more text is needed first.
fn whole(text: &[u8], complete: bool, cut: impl Fn(&[u8], usize) -> Option<usize>) -> Option<(usize, bool)> {
    if complete && text.len() <= BLOCK_BYTES + BLOCK_BYTES / 4 {
        return Some((text.len(), false));
    }
    if text.len() < BLOCK_BYTES {
        return None;
    }
    cut(text, BLOCK_BYTES).or(complete.then_some(text.len())).map(|length| (length, false))
}
