//! Characters mended: NFC, control characters, whitespace, mojibake.
