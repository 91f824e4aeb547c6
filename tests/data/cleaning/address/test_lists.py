"""Lists of pages that are left out: how they are written, and what is said of one that cannot be read."""

from pathlib import Path

import pytest

from pylm import _rust
from pylm.errors import DataError


def test_one_file_holds_all_kinds(tmp_path: Path) -> None:
    path = tmp_path / "mine.list"
    path.write_text("# mine\nBad.com\n\nhttp://a.org/page\nword: Casino\nsoft:hot\nsoft:win\nsubword:evil\n")
    looks = _rust.AddressFilter([path])
    reasons = {
        "http://www.BAD.com/": "domain",
        "http://a.org/page": "url",
        "http://a.org/casino": "hard_blacklisted",
        "http://a.org/hot-win": "soft_blacklisted",
        "http://a.org/hot-hot": None,
        "http://a.org/devils": "blacklisted_subword",
        "http://a.org/": None,
    }
    assert {url: looks.refuses(url) for url in reasons} == reasons
    assert _rust.AddressFilter([path], soft_words=1).refuses("http://a.org/hot-hot") == "soft_blacklisted"


def test_a_folder_holds_a_file_of_each_kind(tmp_path: Path) -> None:
    (tmp_path / "domains").write_text("bad.com\n")
    (tmp_path / "banned_words.txt").write_text("casino\n")
    looks = _rust.AddressFilter([tmp_path])
    assert (looks.refuses("http://x.bad.com"), looks.refuses("http://a/casino")) == ("domain", "hard_blacklisted")


def test_lists_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "folder").mkdir()
    for name, sentence in [("none", "cannot read"), ("picture", "is no text"), ("folder", "no list in")]:
        with pytest.raises(DataError, match=sentence):
            _rust.AddressFilter([tmp_path / name])
