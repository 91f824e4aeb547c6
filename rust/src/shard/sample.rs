//! How many bytes a token has, and how fast they become tokens, from the beginning of the sources.

use std::sync::Arc;
use std::time::Instant;

use super::encoder::TextEncoder;
use crate::error::Result;
use crate::input::{Block, Event, Feed, Format, Input, Span, Ticket, Unit, Validation};

/// What encoding the beginning of the sources shows.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    pub bytes_per_token: f64,
    pub bytes_per_second: f64,
}

/// Encodes a little of a few files, the same of them each time.
pub fn sample(input: &Input, encoder: &impl TextEncoder) -> Result<Sample> {
    const FILES: usize = 8;
    const BYTES: usize = 256 << 10;
    let files: Vec<usize> = (0..input.files.len()).filter(|&file| input.files[file].size > 0).collect();
    let step = files.len().div_ceil(FILES).max(1);
    let mut scratch = encoder.scratch();
    let (mut bytes, mut tokens, mut ids) = (0, 0, Vec::<u32>::new());
    let started = Instant::now();
    for &file in files.iter().step_by(step) {
        let found = &input.files[file];
        let end = if found.format == Format::Parquet { 1 } else { found.size };
        let span = Span { file: file as u32, start: 0, end, inside: None, open: false };
        let unit = Unit { spans: vec![span], bytes: found.size, offset: 0 };
        let feed = Feed::new(input, Arc::new(vec![unit]), vec![(0, 0..1)], Validation::None);
        let Some(Ticket { event: Event::Block(raw), .. }) = feed.next(0)? else { continue };
        let block = Block::new(raw, found, &input.options, Validation::None)?;
        let mut taken = 0;
        for text in block.documents() {
            let mut most = text.len().min(BYTES - taken);
            while most < text.len() && text[most] & 0xc0 == 0x80 {
                most += 1;
            }
            ids.clear();
            encoder.prepare(&[&text[..most]], &mut scratch)?;
            encoder.encode(&text[..most], &mut scratch, &mut ids)?;
            taken += most;
            bytes += most;
            tokens += ids.len();
            if taken >= BYTES {
                break;
            }
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    if tokens == 0 {
        return Ok(Sample { bytes_per_token: 4.0, bytes_per_second: 1e8 });
    }
    // rounded, so that job.json spells it the same everywhere
    let bytes_per_token = (bytes as f64 / tokens as f64 * 100.0).round() / 100.0;
    Ok(Sample { bytes_per_token, bytes_per_second: bytes as f64 / seconds.max(1e-6) })
}
