//! One unit → blocks of about a megabyte, one after another. Finding where to cut is all that happens here; what is
//! in a block is found by whichever thread took it.

use super::archive::Texts;
use super::raw::{Mark, RawBlock};
use super::span::SpanReader;
use super::{Input, Span, Unit, Validation};
use crate::error::Result;

/// Reads a unit in order.
pub struct UnitReader {
    input: Input,
    spans: std::vec::IntoIter<Span>,
    validation: Validation,
    /// Where the next span begins in all of the text.
    offset: u64,
    current: Option<SpanReader>,
}

impl UnitReader {
    pub fn new(input: &Input, unit: &Unit, validation: Validation) -> Self {
        let spans = unit.spans.clone().into_iter();
        Self { input: input.clone(), spans, validation, offset: unit.offset, current: None }
    }

    /// Reads the rest of a file.
    pub fn rest(input: &Input, file: usize, mark: Mark) -> Result<Self> {
        let span = Span { file: file as u32, start: mark.at, end: u64::MAX, inside: None, open: false };
        let current = Some(SpanReader::open(input, &span, mark, 0)?);
        Ok(Self {
            input: input.clone(),
            spans: Vec::new().into_iter(),
            validation: Validation::None,
            offset: 0,
            current,
        })
    }

    /// Whether the next block costs time to cut off, so that a second thread had better start another unit.
    pub fn slow(&self) -> bool {
        self.current.as_ref().is_some_and(SpanReader::slow)
    }

    pub fn next(&mut self) -> Result<Option<RawBlock>> {
        loop {
            if let Some(current) = &mut self.current {
                if let Some(block) = current.next(&self.input, self.validation)? {
                    return Ok(Some(block));
                }
                self.offset = current.end_offset();
            }
            let Some(span) = self.spans.next() else {
                self.current = None;
                return Ok(None);
            };
            let mark = Mark { at: span.start, ..Mark::default() };
            self.current = Some(SpanReader::open(&self.input, &span, mark, self.offset)?);
        }
    }
}
