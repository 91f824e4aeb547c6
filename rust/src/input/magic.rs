//! What a file is by its first bytes, so that what is no text is named before anything is made of it.

use std::path::Path;

use super::{Compression, Format};
use crate::error::{quoted, shown, Error, Result};

/// How much of a file is looked at.
pub(super) const HEAD: usize = 4096;
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What text begins with once a mark that says nothing is gone; `position` is where `text` lies in its file.
pub(super) fn after_mark(text: &[u8], position: u64) -> &[u8] {
    match text.strip_prefix(BYTE_ORDER_MARK) {
        Some(rest) if position == 0 => rest,
        _ => text,
    }
}

/// Refuses a file that is not what it is about to be read as. `head` is its beginning.
pub(super) fn check(path: &Path, format: Format, compression: Compression, head: &[u8]) -> Result<()> {
    let name = shown(path);
    if head.is_empty() {
        return Ok(());
    }
    let lower = name.to_ascii_lowercase();
    let packs = [b"\x1f\x8b".as_slice(), b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ\0"];
    let is_tar = suffix(path) == "tgz" || lower.contains(".tar.");
    if format != Format::Tar && is_tar && packs.iter().any(|magic| head.starts_with(magic)) {
        let (word, folder) = (quoted(&name), quoted(stem(&name).trim_end_matches(".tar")));
        return Err(Error::data(format!("{name} is a tar archive, not text")).hint(unpack(&word, &folder)));
    }
    let packed = match compression {
        Compression::Gzip => Some(("gzip", is_gzip(head))),
        Compression::Zstd => Some(("zstd", is_zstd(head))),
        Compression::None => None,
    };
    match packed {
        Some((_, true)) => return Ok(()),
        Some((kind, false)) => {
            let found = kind_of(path, head).map_or_else(
                || if looks_like_text(head) { "text that is not packed".to_string() } else { "something else".into() },
                |(what, _)| what.to_string(),
            );
            let hint = if looks_like_text(head) {
                format!("give it its right name: mv {} {}", quoted(&name), quoted(&stem(&name)))
            } else {
                "fetch the file again, or leave it out".into()
            };
            return Err(Error::data(format!("{name} has the name of a {kind} file, and is {found}")).hint(hint));
        }
        None if format == Format::Parquet => return Ok(()),
        // what is packed and has not the name of it
        None if format == Format::Tar && !is_gzip(head) && !is_zstd(head) => return Ok(()),
        None => {}
    }
    match kind_of(path, head) {
        Some((what, hint)) => Err(Error::data(format!("{name} is {what}, not text")).hint(hint)),
        None => Ok(()),
    }
}

/// What may surprise of a file that is text: said once, before it is read.
pub(super) fn remark(path: &Path, head: &[u8]) -> Option<String> {
    let name = shown(path);
    head.starts_with(BYTE_ORDER_MARK).then(|| format!("{name} begins with a byte order mark, which is left out"))
}

fn is_gzip(head: &[u8]) -> bool {
    head.starts_with(b"\x1f\x8b")
}

fn is_zstd(head: &[u8]) -> bool {
    head.starts_with(b"\x28\xb5\x2f\xfd")
        || (head.len() >= 4 && head[0] & 0xf0 == 0x50 && head[1..4] == *b"\x2a\x4d\x18")
}

fn suffix(path: &Path) -> String {
    path.extension().map(|suffix| suffix.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}

fn stem(name: &str) -> String {
    let folder = name.rfind('/').map_or(0, |slash| slash + 1);
    name[folder..].rfind('.').filter(|&dot| dot > 0).map_or(name, |dot| &name[..folder + dot]).to_string()
}

/// Whether all of it is text but for a character that the end of `head` may have cut.
fn looks_like_text(head: &[u8]) -> bool {
    let valid = std::str::from_utf8(head).map_or_else(|error| error.valid_up_to(), str::len);
    head.len() - valid < 4 && !head.contains(&0)
}

/// Every second byte is nothing: text of Latin letters in two bytes each, without a mark that says so.
fn two_bytes_a_letter(head: &[u8]) -> Option<&'static str> {
    let zeros = |first: usize| head.iter().skip(first).step_by(2).filter(|&&byte| byte == 0).count() * 2;
    let (even, odd, all) = (zeros(0), zeros(1), head.len());
    if all < 32 {
        None
    } else if odd * 10 > all * 9 && even * 10 < all {
        Some("utf-16le")
    } else if even * 10 > all * 9 && odd * 10 < all {
        Some("utf-16be")
    } else {
        None
    }
}

/// What it is and what to do with it; None where it may be text.
fn kind_of(path: &Path, head: &[u8]) -> Option<(&'static str, String)> {
    let name = shown(path);
    let (word, bare) = (quoted(&name), stem(&name));
    let (plain, folder) = (quoted(&format!("{bare}.txt")), quoted(&bare));
    let starts = |magic: &[u8]| head.starts_with(magic);
    let text = looks_like_text(head);
    // small ids in two bytes each look like letters in two bytes each
    let numbers = !text && matches!(suffix(path).as_str(), "bin" | "idx" | "npy");
    let binary = |magic: &[u8]| starts(magic) && !text;
    let convert = |encoding: &str| {
        let to = quoted(&format!("{bare}-utf8.txt"));
        format!("iconv -f {encoding} -t utf-8 {word} > {to}, then name that file")
    };
    let nothing = || "leave it out; pylm reads txt, json, jsonl, csv, parquet, WET and tar of them".to_string();
    Some(if starts(b"%PDF-") {
        ("a PDF", format!("pdftotext {word} {plain} writes its text; then name that file"))
    } else if starts(b"\xff\xfe\0\0") || starts(b"\0\0\xfe\xff") {
        ("text in UTF-32", convert("utf-32"))
    } else if starts(b"\xff\xfe") || starts(b"\xfe\xff") {
        ("text in UTF-16", convert("utf-16"))
    } else if let Some(encoding) = two_bytes_a_letter(head).filter(|_| !numbers) {
        ("text in UTF-16", convert(encoding))
    } else if starts(b"PK\x03\x04") {
        match suffix(path).as_str() {
            "docx" | "odt" | "epub" => (
                "a document of a word processor or a book",
                format!("pandoc {word} -t plain -o {plain}, then name that file"),
            ),
            "npz" => (
                "an archive of numpy arrays",
                "write one array of token ids as .npy, then pylm train --data FILE".into(),
            ),
            "xlsx" | "ods" | "pptx" | "odp" => {
                ("a file of an office program", "save it as text there, then name that file".into())
            }
            _ => ("a zip archive", format!("unzip {word} -d {folder}, then name that folder")),
        }
    } else if starts(b"\xd0\xcf\x11\xe0") {
        ("a file of an office program", format!("libreoffice --headless --convert-to txt {word}, or save it as text"))
    } else if starts(b"{\\rtf") {
        ("a document of a word processor", format!("pandoc {word} -t plain -o {plain}, then name that file"))
    } else if binary(b"BZh") {
        ("packed with bzip2", format!("bunzip2 -k {word}, then name {folder}"))
    } else if starts(b"\xfd7zXZ\0") {
        ("packed with xz", format!("xz -dk {word}, then name {folder}"))
    } else if starts(b"7z\xbc\xaf\x27\x1c") {
        ("a 7z archive", format!("7z x {word} -o{folder}, then name that folder"))
    } else if binary(b"Rar!") {
        ("a rar archive", format!("unrar x {word}, then name what was in it"))
    } else if head.get(257..262) == Some(b"ustar") {
        ("a tar archive", unpack(&word, &folder))
    } else if is_gzip(head) {
        ("packed with gzip", format!("mv {word} {}, then name that file", quoted(&format!("{name}.gz"))))
    } else if is_zstd(head) && !text {
        ("packed with zstd", format!("mv {word} {}, then name that file", quoted(&format!("{name}.zst"))))
    } else if binary(b"PAR1") {
        ("a parquet file", format!("mv {word} {}, then name that file", quoted(&format!("{bare}.parquet"))))
    } else if binary(b"ARROW1") {
        ("an Arrow file", "write it as parquet, then name that file with --column".into())
    } else if starts(b"\x93NUMPY") {
        ("an array of numpy", format!("if it holds token ids: pylm train --data {word}"))
    } else if starts(b"SQLite format 3\0") {
        ("an SQLite database", "write its texts as jsonl, one object a line, then name that file".into())
    } else if starts(b"\x89PNG") || starts(b"\xff\xd8\xff") || binary(b"GIF8") {
        ("an image", nothing())
    } else if binary(b"RIFF") || binary(b"ID3") || binary(b"OggS") || binary(b"fLaC") || head.get(4..8) == Some(b"ftyp")
    {
        ("a recording", nothing())
    } else if starts(b"\x7fELF") {
        ("a program", nothing())
    } else if binary(b"GGUF") || (starts(b"\x80") && head.get(2) == Some(&b'}')) {
        ("weights of a model", nothing())
    } else if numbers {
        let of_folder = suffix(path) == "idx" || is_one_of_a_split(path);
        let data = if of_folder { folder_of(&name) } else { name.clone() };
        ("numbers", format!("if these are token ids: pylm train --data {}", quoted(&data)))
    } else if !text && matches!(suffix(path).as_str(), "pt" | "pth" | "ckpt" | "safetensors" | "pkl") {
        ("weights of a model", nothing())
    } else {
        return None;
    })
}

fn unpack(archive: &str, folder: &str) -> String {
    format!("mkdir -p {folder} && tar -xf {archive} -C {folder}, then name that folder")
}

/// Whether its name says which split it is, and it lies beside others: the folder then stands for all of them.
fn is_one_of_a_split(path: &Path) -> bool {
    let says = |path: &Path, words: &[&str]| {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        words.iter().any(|word| stem.contains(word))
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let beside: Vec<_> = entries.filter(|path| matches!(suffix(path).as_str(), "bin" | "npy")).collect();
    let train = |path: &Path| says(path, &["train"]) && !says(path, &["val"]);
    says(path, &["train", "val"]) && beside.len() > 1 && beside.iter().any(|path| train(path))
}

fn folder_of(name: &str) -> String {
    match name.rfind('/') {
        Some(0) => "/".into(),
        Some(slash) => name[..slash].into(),
        None => ".".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str, head: &[u8]) -> Option<String> {
        let (format, compression) =
            super::super::expand::classify(Path::new(name)).unwrap_or((Format::Text, Compression::None));
        check(Path::new(name), format, compression, head)
            .err()
            .map(|error| format!("{} | {}", error.message, error.hint.unwrap_or_default()))
    }

    #[test]
    fn what_is_no_text_is_named_with_the_command_that_helps() {
        let wide: Vec<u8> =
            "Hello, this is text in two bytes a letter.".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let marked = [b"\xff\xfe".as_slice(), &wide].concat();
        let small: Vec<u8> = (0..64u16).flat_map(|id| (20 + id).to_le_bytes()).collect();
        let cases: [(&str, &[u8], &str); 18] = [
            ("x.tar", b"\x1f\x8b\x08", "x.tar is packed with gzip, not text | mv x.tar x.tar.gz, then name that file"),
            ("a b.pdf", b"%PDF-1.7\n", "a b.pdf is a PDF, not text | pdftotext 'a b.pdf' 'a b.txt'"),
            ("x.docx", b"PK\x03\x04rest", "pandoc x.docx -t plain -o x.txt"),
            ("x.tar.bz2", b"BZh91", "x.tar.bz2 is a tar archive, not text | mkdir -p x && tar -xf x.tar.bz2 -C x,"),
            ("x.zip", b"PK\x03\x04rest", "a zip archive, not text | unzip x.zip -d x"),
            ("x.txt", &marked, "UTF-16, not text | iconv -f utf-16 -t utf-8 x.txt > x-utf8.txt"),
            ("x.txt", &wide, "iconv -f utf-16le"),
            (
                "d/x.npy",
                b"\x93NUMPY\x01",
                "array of numpy, not text | if it holds token ids: pylm train --data d/x.npy",
            ),
            (
                "d/train.bin",
                b"\xff\x00\x80\xfe\xff\x00\x11\x90",
                "numbers, not text | if these are token ids: pylm train --data d/train.bin",
            ),
            ("real.bin", &small, "real.bin is numbers, not text | if these are token ids: pylm train --data real.bin"),
            ("x.npy", &small, "x.npy is numbers, not text | if these are token ids: pylm train --data x.npy"),
            ("d/x.idx", &small, "d/x.idx is numbers, not text | if these are token ids: pylm train --data d"),
            ("x.txt", &small, "UTF-16, not text | iconv -f utf-16le"),
            (
                "x.txt.bz2",
                b"BZh91AY&SY\xff\xfe\x00\x80\x81",
                "packed with bzip2, not text | bunzip2 -k x.txt.bz2, then name x.txt",
            ),
            ("x.txt.xz", b"\xfd7zXZ\0\0", "xz -dk x.txt.xz, then name x.txt"),
            (
                "x.txt.gz",
                b"just words",
                "the name of a gzip file, and is text that is not packed | give it its right name: mv x.txt.gz x.txt",
            ),
            ("x.txt.zst", b"\x1f\x8b\x08", "the name of a zstd file, and is packed with gzip"),
            ("x", b"\x1f\x8b\x08", "packed with gzip, not text | mv x x.gz"),
        ];
        for (name, head, wanted) in cases {
            let said = said(name, head).unwrap_or_default();
            assert!(said.contains(wanted), "{name}: {said}");
        }
    }

    #[test]
    fn a_file_of_token_ids_beside_others_of_a_split_stands_for_its_folder() {
        let folder = crate::input::tests::Folder::new("token-ids");
        let ids = b"\xff\x00\x80\xfe\xff\x00\x11\x90";
        let named = |name: &str| said(&folder.0.join(name).display().to_string(), ids).unwrap_or_default();
        let ends = |name: &str, wanted: std::path::PathBuf| {
            let said = named(name);
            assert!(said.ends_with(&format!("pylm train --data {}", quoted(&shown(&wanted)))), "{said}");
        };
        folder.write("train.bin", ids);
        ends("train.bin", folder.0.join("train.bin"));
        folder.write("real.bin", ids);
        folder.write("val.bin", ids);
        ends("train.bin", folder.0.clone());
        ends("val.bin", folder.0.clone());
        ends("real.bin", folder.0.join("real.bin"));
    }

    #[test]
    fn text_is_not_taken_for_anything_else() {
        let cases: [(&str, &[u8]); 9] = [
            ("a.txt", b"RIFF-raff went home, ID3 tags, GIF89 and BZh stay text"),
            ("a.txt", "Größe 漢".as_bytes()),
            ("a.txt", b"caf\xe9 au lait"),
            ("a.txt", b"\0\0\0 NUL is a character"),
            ("a.bin", b"words in a file of an odd name"),
            ("a.txt", b"PAR1 was a word"),
            ("a.txt", b""),
            ("a.gz", b""),
            ("a.txt", &[0xe6, 0xbc]),
        ];
        for (name, head) in cases {
            assert_eq!(said(name, head), None, "{name} {head:?}");
        }
    }
}
