//! How far a word is from another.

/// How many letters are to be put in, taken out or changed to make one word of the other; case is no change.
pub fn changes(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (number, letter) in one.to_lowercase().chars().enumerate() {
        let mut corner = row[0];
        row[0] = number + 1;
        for column in 0..other.len() {
            let changed = corner + usize::from(letter != other[column]);
            corner = row[column + 1];
            row[column + 1] = changed.min(row[column] + 1).min(corner + 1);
        }
    }
    row[other.len()]
}
