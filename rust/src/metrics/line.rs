//! One line of JSON as its keys and numbers, by hand: what is unusual is left to a parser of all of JSON.

/// A line that is not one flat object, or holds something this does not read.
pub(super) struct Unusual;

/// Where a line is read.
pub(super) struct Cursor<'a> {
    pub line: &'a [u8],
    pub at: usize,
}

/// What stands after a key.
pub(super) enum Value {
    Number(f64),
    /// An object, of which the brace is read.
    Object,
    /// A text, a list or a truth: nothing to draw.
    Other,
}

impl Cursor<'_> {
    /// The next byte that is no space.
    pub fn peek(&mut self) -> u8 {
        while let Some(&byte) = self.line.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\r') {
                return byte;
            }
            self.at += 1;
        }
        0
    }

    pub fn take(&mut self, expected: u8) -> Result<(), Unusual> {
        if self.peek() == expected {
            self.at += 1;
            return Ok(());
        }
        Err(Unusual)
    }

    /// Whether another key follows, after the one that was read or, `first`, after the brace.
    pub fn another(&mut self, first: bool) -> Result<bool, Unusual> {
        match self.peek() {
            b'}' => self.at += 1,
            b'"' if first => return Ok(true),
            b',' if !first => {
                self.at += 1;
                return if self.peek() == b'"' { Ok(true) } else { Err(Unusual) };
            }
            _ => return Err(Unusual),
        }
        Ok(false)
    }

    /// A key with its quotes; one with an escape is unusual.
    pub fn key(&mut self) -> Result<&[u8], Unusual> {
        let start = self.at;
        self.at = start + self.text()?;
        let key = &self.line[start..self.at];
        if key.contains(&b'\\') {
            return Err(Unusual);
        }
        Ok(key)
    }

    /// How long the text is that begins here, with its quotes.
    fn text(&self) -> Result<usize, Unusual> {
        let rest = &self.line[self.at..];
        let mut at = 1;
        while let Some(found) = memchr::memchr2(b'"', b'\\', rest.get(at..).unwrap_or_default()) {
            at += found;
            if rest[at] == b'"' {
                return Ok(at + 1);
            }
            at += 2;
        }
        Err(Unusual)
    }

    pub fn value(&mut self) -> Result<Value, Unusual> {
        let rest = |at: usize| self.line.get(at..).unwrap_or_default();
        let first = self.peek();
        let word = match first {
            b'{' => {
                self.at += 1;
                return Ok(Value::Object);
            }
            b'[' => return self.skip().map(|()| Value::Other),
            b'"' => {
                self.at += self.text()?;
                return Ok(Value::Other);
            }
            b'n' => ("null", Value::Number(f64::NAN)),
            b'N' => ("NaN", Value::Number(f64::NAN)),
            b'I' => ("Infinity", Value::Number(f64::INFINITY)),
            b'-' if rest(self.at).starts_with(b"-I") => ("-Infinity", Value::Number(f64::NEG_INFINITY)),
            b't' => ("true", Value::Other),
            b'f' => ("false", Value::Other),
            _ => return self.number().map(Value::Number),
        };
        if !rest(self.at).starts_with(word.0.as_bytes()) {
            return Err(Unusual);
        }
        self.at += word.0.len();
        Ok(word.1)
    }

    fn number(&mut self) -> Result<f64, Unusual> {
        let start = self.at;
        let rest = &self.line[start..];
        let length =
            rest.iter().take_while(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')).count();
        self.at += length;
        let digits = &rest[..length];
        if length > 0 && length < 16 && digits.iter().all(u8::is_ascii_digit) {
            return Ok(digits.iter().fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0')) as f64);
        }
        std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).ok_or(Unusual)
    }

    /// Passes a list or an object whose opening is next, whatever is in it.
    pub fn skip(&mut self) -> Result<(), Unusual> {
        let mut depth = 0usize;
        while let Some(&byte) = self.line.get(self.at) {
            match byte {
                b'"' => {
                    self.at += self.text()?;
                    continue;
                }
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Ok(());
            }
        }
        Err(Unusual)
    }
}
