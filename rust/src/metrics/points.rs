//! Points of two columns, a word of 64 lines at a time: what a million of them are drawn or summed by is never copied
//! whole, for the pages of a copy cost several times its arithmetic.

use super::column::{ones, Column};

/// Gives the x and y of the lines that have both, that `chosen` has a bit of, and whose x is finite.
pub(super) fn each_word(x: &Column, y: &Column, chosen: impl Fn(usize) -> u64, mut take: impl FnMut(&[f64], &[f64])) {
    let (mut x_from, mut y_from) = (0, 0);
    let (mut xs, mut ys) = ([0.0; 64], [0.0; 64]);
    for (word, (&with_x, &with_y)) in x.present().iter().zip(y.present()).enumerate() {
        let (x_count, y_count) = (with_x.count_ones() as usize, with_y.count_ones() as usize);
        let both = with_x & with_y & chosen(word);
        if both != 0 {
            x.read(x_from, &mut xs[..x_count]);
            y.read(y_from, &mut ys[..y_count]);
            let mut count = x_count;
            if both != with_x || both != with_y || !xs[..x_count].iter().all(|x| x.is_finite()) {
                count = 0;
                for bit in ones(both) {
                    let before = (1 << bit) - 1;
                    let from = (with_x & before).count_ones() as usize;
                    if xs[from].is_finite() {
                        (xs[count], ys[count]) = (xs[from], ys[(with_y & before).count_ones() as usize]);
                        count += 1;
                    }
                }
            }
            take(&xs[..count], &ys[..count]);
        }
        x_from += x_count;
        y_from += y_count;
    }
}
