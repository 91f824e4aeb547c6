//! Lines → columns. A line mostly has the keys of the one before, in the same order: each is guessed and compared.

use std::collections::HashMap;

use serde_json::{Map, Value as Json};

use super::column::Column;
use super::line::{Cursor, Unusual, Value};

/// So many keys no file of metrics has.
const MOST_KEYS: usize = 4096;
const STEP: &str = "step";
const NOTHING: usize = usize::MAX;

/// The columns of the lines that were read.
#[derive(Default)]
pub(super) struct Table {
    pub columns: Vec<Column>,
    pub lines: u32,
    keys: Vec<Key>,
    numbers: HashMap<(usize, Vec<u8>), usize>,
    first: usize,
}

/// A key that was met, with its quotes; in an object, the number of that object's key.
struct Key {
    quoted: Vec<u8>,
    within: usize,
    column: usize,
    /// The key that came after this one the last time.
    next: usize,
}

/// Why a line is no record.
pub(super) struct NoRecord;

impl Table {
    pub fn with_columns(columns: Vec<Column>, lines: u32) -> Self {
        Self { columns, lines, ..Self::default() }
    }

    pub fn column(&self, key: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.key == key)
    }

    /// Takes a line, without its end.
    pub fn read(&mut self, line: &[u8]) -> Result<(), NoRecord> {
        if self.read_usual(line).is_err() {
            let Ok(Json::Object(record)) = serde_json::from_slice(line) else { return Err(NoRecord) };
            self.read_parsed(&record, NOTHING)?;
        }
        self.lines += 1;
        Ok(())
    }

    fn read_usual(&mut self, line: &[u8]) -> Result<(), Unusual> {
        let mut cursor = Cursor { line, at: 0 };
        cursor.take(b'{')?;
        self.object(&mut cursor, NOTHING, NOTHING)?;
        if cursor.peek() == 0 && cursor.at == line.len() {
            Ok(())
        } else {
            Err(Unusual)
        }
    }

    /// Reads an object after its brace; returns the last key of it.
    fn object(&mut self, cursor: &mut Cursor<'_>, within: usize, before: usize) -> Result<usize, Unusual> {
        let (mut before, mut first) = (before, true);
        while cursor.another(first)? {
            first = false;
            let key = self.key(cursor, within, before)?;
            cursor.take(b':')?;
            match cursor.value()? {
                Value::Number(value) => self.number(key, value).map_err(|_| Unusual)?,
                Value::Object if within == NOTHING => {
                    before = self.object(cursor, key, key)?;
                    continue;
                }
                Value::Object => {
                    cursor.at -= 1;
                    cursor.skip()?;
                }
                Value::Other if self.keys[key].quoted == b"\"step\"" && within == NOTHING => return Err(Unusual),
                Value::Other => {}
            }
            before = key;
        }
        Ok(before)
    }

    /// The number of the key that stands next.
    fn key(&mut self, cursor: &mut Cursor<'_>, within: usize, before: usize) -> Result<usize, Unusual> {
        let guess = if before == NOTHING { self.first } else { self.keys[before].next };
        if let Some(key) = self.keys.get(guess) {
            if key.within == within && cursor.line[cursor.at..].starts_with(&key.quoted) {
                cursor.at += key.quoted.len();
                return Ok(guess);
            }
        }
        let found = cursor.key()?.to_vec();
        let number = self.number_of(within, found).map_err(|_| Unusual)?;
        if before == NOTHING {
            self.first = number;
        } else {
            self.keys[before].next = number;
        }
        Ok(number)
    }

    fn number_of(&mut self, within: usize, quoted: Vec<u8>) -> Result<usize, NoRecord> {
        if let Some(&number) = self.numbers.get(&(within, quoted.clone())) {
            return Ok(number);
        }
        if self.keys.len() == MOST_KEYS {
            return Err(NoRecord);
        }
        self.numbers.insert((within, quoted.clone()), self.keys.len());
        self.keys.push(Key { quoted, within, column: NOTHING, next: NOTHING });
        Ok(self.keys.len() - 1)
    }

    fn number(&mut self, key: usize, value: f64) -> Result<(), NoRecord> {
        if self.keys[key].column == NOTHING {
            self.keys[key].column = self.column_of(key);
        }
        let column = &mut self.columns[self.keys[key].column];
        if column.key == STEP && value.fract() != 0.0 {
            return Err(NoRecord); // NaN and infinities are no steps either
        }
        column.put(self.lines, value);
        Ok(())
    }

    fn column_of(&mut self, key: usize) -> usize {
        let bare = |key: &Key| String::from_utf8_lossy(&key.quoted[1..key.quoted.len() - 1]).into_owned();
        let own = bare(&self.keys[key]);
        let name = self.keys.get(self.keys[key].within).map_or(own.clone(), |outer| format!("{}.{own}", bare(outer)));
        self.columns.iter().position(|column| column.key == name).unwrap_or_else(|| {
            self.columns.push(Column::new(name));
            self.columns.len() - 1
        })
    }

    /// The same of a line that all of JSON was needed for.
    fn read_parsed(&mut self, record: &Map<String, Json>, within: usize) -> Result<(), NoRecord> {
        for (name, value) in record {
            let key = self.number_of(within, format!("\"{name}\"").into_bytes())?;
            match value {
                Json::Number(number) => self.number(key, number.as_f64().unwrap_or(f64::NAN))?,
                Json::Null => self.number(key, f64::NAN)?,
                Json::Object(inner) if within == NOTHING => self.read_parsed(inner, key)?,
                _ if name == STEP && within == NOTHING => return Err(NoRecord),
                _ => {}
            }
        }
        Ok(())
    }
}
