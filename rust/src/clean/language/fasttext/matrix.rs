//! Rows of numbers: as they are, or each cut into pieces of which a table holds 256.

use std::ops::Range;

use super::fields::Fields;
use super::Fault;

pub(super) struct Matrix {
    pub rows: usize,
    pub columns: usize,
    values: Values,
}

enum Values {
    /// Where in the file the rows lie.
    Dense(Range<usize>),
    Quantised(Quantised),
}

struct Quantised {
    /// Where in the file the codes lie, a byte for each piece of each row.
    codes: Range<usize>,
    pieces: Pieces,
    /// Where the codes of the rows' lengths lie, and the 256 lengths.
    lengths: Option<(Range<usize>, Vec<f32>)>,
}

/// A product quantiser: 256 centroids for each piece of a row.
struct Pieces {
    count: usize,
    width: usize,
    last: usize,
    centroids: Vec<f32>,
}

impl Pieces {
    fn read(fields: &mut Fields) -> Result<(Self, usize), Fault> {
        let [dim, count, width, last] = [fields.i32()?, fields.i32()?, fields.i32()?, fields.i32()?];
        let whole = i64::from(count) - 1;
        if count < 1
            || width < 1
            || last < 1
            || last > width
            || whole * i64::from(width) + i64::from(last) != dim as i64
        {
            return Err(Fault::Damaged("the pieces of a row do not add up to it"));
        }
        let centroids = fields.floats(i64::from(dim) * 256)?;
        Ok((Self { count: count as usize, width: width as usize, last: last as usize, centroids }, dim as usize))
    }

    /// What `code` stands for as the piece `number` of a row.
    #[inline]
    fn centroid(&self, number: usize, code: u8) -> &[f32] {
        let block = number * 256 * self.width;
        let width = if number + 1 == self.count { self.last } else { self.width };
        &self.centroids[block + usize::from(code) * width..][..width]
    }
}

impl Matrix {
    pub fn read(fields: &mut Fields, quantised: bool) -> Result<Self, Fault> {
        if quantised {
            return Self::read_quantised(fields);
        }
        let (rows, columns) = shape(fields)?;
        let values = Values::Dense(fields.run(rows as i64, columns * 4)?);
        Ok(Self { rows, columns, values })
    }

    fn read_quantised(fields: &mut Fields) -> Result<Self, Fault> {
        let with_lengths = fields.bool()?;
        let (rows, columns) = shape(fields)?;
        let size = i64::from(fields.i32()?);
        let codes = fields.run(size, 1)?;
        let (pieces, dim) = Pieces::read(fields)?;
        if dim != columns || rows.checked_mul(pieces.count) != Some(codes.len()) {
            return Err(Fault::Damaged("a matrix has not as many codes as rows need"));
        }
        let lengths = with_lengths.then(|| Self::read_lengths(fields, rows)).transpose()?;
        Ok(Self { rows, columns, values: Values::Quantised(Quantised { codes, pieces, lengths }) })
    }

    fn read_lengths(fields: &mut Fields, rows: usize) -> Result<(Range<usize>, Vec<f32>), Fault> {
        let codes = fields.run(rows as i64, 1)?;
        let (pieces, dim) = Pieces::read(fields)?;
        if dim != 1 {
            return Err(Fault::Damaged("a row has more than one length"));
        }
        Ok((codes, pieces.centroids))
    }

    /// Adds a row to `sum`.
    #[inline]
    pub fn add_row(&self, file: &[u8], row: usize, sum: &mut [f32]) {
        match &self.values {
            Values::Dense(range) => {
                let bytes = &file[range.start + row * self.columns * 4..][..self.columns * 4];
                for (sum, value) in sum.iter_mut().zip(bytes.as_chunks().0) {
                    *sum += f32::from_le_bytes(*value);
                }
            }
            Values::Quantised(quantised) => quantised.add_row(file, row, sum),
        }
    }

    /// The product of a row and `vector`.
    #[inline]
    pub fn dot_row(&self, file: &[u8], row: usize, vector: &[f32]) -> f32 {
        match &self.values {
            Values::Dense(range) => dot(&file[range.start + row * self.columns * 4..][..self.columns * 4], vector),
            Values::Quantised(quantised) => quantised.dot_row(file, row, vector),
        }
    }
}

impl Quantised {
    fn row<'a>(&'a self, file: &'a [u8], row: usize) -> (&'a [u8], f32) {
        let codes = &file[self.codes.start + row * self.pieces.count..][..self.pieces.count];
        let length =
            self.lengths.as_ref().map_or(1.0, |(codes, lengths)| lengths[usize::from(file[codes.start + row])]);
        (codes, length)
    }

    #[inline]
    fn add_row(&self, file: &[u8], row: usize, sum: &mut [f32]) {
        let (codes, length) = self.row(file, row);
        if self.pieces.width == 2 && self.pieces.last == 2 {
            // what `fasttext quantize` makes unless it is told otherwise
            for ((sum, code), table) in
                sum.as_chunks_mut::<2>().0.iter_mut().zip(codes).zip(self.pieces.centroids.as_chunks::<512>().0)
            {
                let at = usize::from(*code) * 2;
                sum[0] += length * table[at];
                sum[1] += length * table[at + 1];
            }
            return;
        }
        for (number, (sum, code)) in sum.chunks_mut(self.pieces.width).zip(codes).enumerate() {
            for (sum, value) in sum.iter_mut().zip(self.pieces.centroid(number, *code)) {
                *sum += length * value;
            }
        }
    }

    fn dot_row(&self, file: &[u8], row: usize, vector: &[f32]) -> f32 {
        let (codes, length) = self.row(file, row);
        let mut product = 0.0;
        for (number, (part, code)) in vector.chunks(self.pieces.width).zip(codes).enumerate() {
            for (left, right) in part.iter().zip(self.pieces.centroid(number, *code)) {
                product += left * right;
            }
        }
        product * length
    }
}

/// Eight sums side by side, so that the machine's wide registers are used.
#[inline]
fn dot(row: &[u8], vector: &[f32]) -> f32 {
    let mut sums = [0f32; 8];
    let (wide, rest) = row.as_chunks::<32>();
    let (vectors, vector_rest) = vector.as_chunks::<8>();
    for (bytes, vector) in wide.iter().zip(vectors) {
        for (sum, (value, factor)) in sums.iter_mut().zip(bytes.as_chunks().0.iter().zip(vector)) {
            *sum += f32::from_le_bytes(*value) * factor;
        }
    }
    let tail: f32 =
        rest.as_chunks().0.iter().zip(vector_rest).map(|(value, factor)| f32::from_le_bytes(*value) * factor).sum();
    sums.iter().sum::<f32>() + tail
}

/// Rows and columns; neither is so many that their product could not be a file's.
fn shape(fields: &mut Fields) -> Result<(usize, usize), Fault> {
    let (rows, columns) = (fields.i64()?, fields.i64()?);
    match (usize::try_from(rows), usize::try_from(columns)) {
        (Ok(rows), Ok(columns)) if columns > 0 && i32::try_from(columns).is_ok() && rows <= 1 << 40 => {
            Ok((rows, columns))
        }
        _ => Err(Fault::Damaged("a matrix has no such shape")),
    }
}
