//! Page headers of parquet files, of which a little is needed: Thrift's compact protocol.

use std::io::Read;

use parquet::errors::ParquetError;

/// Bytes of the longest header: statistics in it may be as long as texts.
const LONGEST: usize = 64 << 20;
/// Structs within structs: headers have three.
const DEEPEST: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Dictionary,
    Other,
}

/// What comes before the content of a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub kind: Kind,
    /// Bytes of the content as it lies there, and unpacked.
    pub packed: u64,
    pub unpacked: u64,
    /// With those that are null.
    pub rows: u64,
    /// Whether the texts lie there as they are, and in no dictionary.
    pub plain: bool,
    /// All of it.
    pub bytes: Vec<u8>,
}

impl Header {
    pub fn read(from: impl Read) -> Result<Self, ParquetError> {
        let mut thrift = Thrift { from, bytes: Vec::with_capacity(64) };
        let mut numbers = Vec::new();
        thrift.structure(0, 0, &mut numbers)?;
        let number = |within: i64, field: i64| {
            let found = numbers.iter().find(|(place, _)| *place == (within, field));
            found.and_then(|(_, number)| u64::try_from(*number).ok())
        };
        let needed = |within, field| number(within, field).ok_or_else(damaged);
        // of the first and of the second kind of data pages: where their own headers are, and the encoding in them
        let (kind, data) = match needed(0, 1)? {
            0 => (Kind::Data, Some((5, 2))),
            3 => (Kind::Data, Some((8, 4))),
            2 => (Kind::Dictionary, None),
            _ => (Kind::Other, None),
        };
        let (rows, encoding) = match data {
            Some((within, encoding)) => (needed(within, 1)?, Some(needed(within, encoding)?)),
            None => (0, None),
        };
        let (unpacked, packed) = (needed(0, 2)?, needed(0, 3)?);
        Ok(Self { kind, packed, unpacked, rows, plain: encoding == Some(0), bytes: thrift.bytes })
    }
}

fn damaged() -> ParquetError {
    ParquetError::General("a page has no sound header".into())
}

struct Thrift<R> {
    from: R,
    bytes: Vec<u8>,
}

/// The field that a number stands in, after the field of the struct around it.
type Numbers = Vec<((i64, i64), i64)>;

impl<R: Read> Thrift<R> {
    fn structure(&mut self, within: i64, depth: usize, numbers: &mut Numbers) -> Result<(), ParquetError> {
        let mut field = 0i64;
        loop {
            let byte = self.byte()?;
            if byte == 0 {
                return Ok(());
            }
            field = match byte >> 4 {
                0 => self.number()?,
                more => field + i64::from(more),
            };
            match byte & 15 {
                1 | 2 => {}
                4..=6 => {
                    let number = self.number()?;
                    if depth < 2 {
                        numbers.push(((within, field), number));
                    }
                }
                12 if depth < DEEPEST => self.structure(field, depth + 1, numbers)?,
                other => self.pass(other, depth)?,
            }
        }
    }

    fn pass(&mut self, kind: u8, depth: usize) -> Result<(), ParquetError> {
        match kind {
            1..=3 => self.byte().map(drop),
            4..=6 => self.varint().map(drop),
            7 => self.take(8),
            8 => {
                let length = self.varint()?;
                self.take(length)
            }
            9 | 10 if depth < DEEPEST => {
                let byte = self.byte()?;
                let count = if byte >> 4 == 15 { self.varint()? } else { u64::from(byte >> 4) };
                (0..count).try_for_each(|_| self.pass(byte & 15, depth + 1))
            }
            12 if depth < DEEPEST => self.structure(-1, depth + 1, &mut Vec::new()),
            _ => Err(damaged()),
        }
    }

    fn byte(&mut self) -> Result<u8, ParquetError> {
        self.take(1)?;
        self.bytes.last().copied().ok_or_else(damaged)
    }

    fn take(&mut self, length: u64) -> Result<(), ParquetError> {
        let start = self.bytes.len();
        if length > (LONGEST - start.min(LONGEST)) as u64 {
            return Err(damaged());
        }
        self.bytes.resize(start + length as usize, 0);
        self.from.read_exact(&mut self.bytes[start..]).map_err(|error| ParquetError::External(Box::new(error)))
    }

    fn varint(&mut self) -> Result<u64, ParquetError> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Ok(number);
            }
        }
        Err(damaged())
    }

    /// Signed, in zigzag.
    fn number(&mut self) -> Result<i64, ParquetError> {
        let number = self.varint()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }
}
