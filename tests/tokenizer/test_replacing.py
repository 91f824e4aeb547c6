"""A tokenizer's folder that is replaced: interrupted or killed at any rename, the old one or the new one is there."""

import os
import signal
import subprocess
import sys
import warnings

import pytest

from pylm import Tokenizer
from pylm.errors import PylmWarning, TokenizerError
from pylm.tokenizer import folder


@pytest.fixture(scope="module")
def both():
    text = "one two three four five six seven"
    return [Tokenizer.from_tokenizer_json(made(text, special)) for special in ("<old>", "<new>")]


def made(text, special):
    from tokenizers import Tokenizer as Theirs
    from tokenizers import models, pre_tokenizers, trainers

    theirs = Theirs(models.BPE())
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=270, special_tokens=[special], initial_alphabet=alphabet, show_progress=False
    )
    theirs.train_from_iterator([text], trainer)
    return theirs.to_str()


def interrupting(monkeypatch, calls, after):
    """Raise KeyboardInterrupt at some calls of os.rename, before the rename or after it."""
    count = 0
    rename = os.rename

    def interrupted(source, target, **named):
        nonlocal count
        count += 1
        if count in calls and not after:
            raise KeyboardInterrupt
        rename(source, target, **named)
        if count in calls:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", interrupted)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", [1, 2])
def test_ctrl_c_at_a_rename_loses_neither(both, tmp_path, monkeypatch, at, after):
    place = both[0].save(tmp_path / "tok")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupting(patch, {at}, after)
        both[1].save(place)
    expected = both[1] if (at, after) == (2, True) else both[0]
    assert [path.name for path in tmp_path.iterdir()] == ["tok"], "nothing is left beside it"
    assert Tokenizer.load(place).identity == expected.identity


def test_ctrl_c_while_it_is_put_back_loses_nothing(both, tmp_path, monkeypatch):
    place = both[0].save(tmp_path / "tok")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupting(patch, {2, 3}, False)
        both[1].save(place)
    look_and_mend(both, place)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_kill_between_the_renames_leaves_the_old_one(both, tmp_path):
    place = both[0].save(tmp_path / "tok")
    killed = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from pylm.tokenizer import folder\n"
        "rename, calls = os.rename, []\n"
        "def killed(*given):\n"
        "    if calls: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    calls.append(given); rename(*given)\n"
        "os.rename = killed\n"
        "folder.write(Path(sys.argv[1]), {'tokenizer.json': b'new'})\n"
    )
    assert subprocess.run([sys.executable, "-c", killed, place], timeout=60).returncode == -signal.SIGKILL
    assert not place.exists()
    look_and_mend(both, place)


def look_and_mend(both, place):
    """A reader finds the tokenizer that a writer had moved aside; the next writer, whom that fails, puts it back."""
    with pytest.warns(PylmWarning, match=r"tok is missing, as a process was killed .* is read from .*old-.*was"):
        assert Tokenizer.load(place).identity == both[0].identity
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("error")
        patch.setattr(folder, "flush_folder", lambda path: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.raises(TokenizerError, match="no space left"):
            both[1].save(place)
        assert Tokenizer.load(place).identity == both[0].identity
    assert Tokenizer.load(both[1].save(place)).identity == both[1].identity
    assert [path.name for path in place.parent.iterdir()] == ["tok"]


def test_a_live_writers_folder_is_left_alone(both, tmp_path):
    place = tmp_path / "tok"
    with folder.unfinished(place, folder.OLD) as old:
        both[0].save(old / folder.WAS)
        both[1].save(place)
        assert Tokenizer.load(old / folder.WAS).identity == both[0].identity
