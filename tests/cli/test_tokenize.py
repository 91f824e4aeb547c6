"""`pylm tokenize` and `pylm data`: bytes, interruptions, bad input."""

import contextlib
import gzip
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from pylm._rust import Bpe
from pylm.cli import run

END = "<|endoftext|>"
WORDS = ["the", " cat", " sat", " on", " a", " mat", ".", "\n", " Größe", " 漢字", " 🙂", " don't", " 123", "  ", "x"]


def words(chance, length):
    return "".join(chance.choice(WORDS) for _ in range(length))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("PYLM_", "SLURM_")):
            monkeypatch.delenv(name)


@pytest.fixture
def tok(tmp_path):
    """A tokenizer of bytes and a few merges, among them one that no piece of text may be cut within."""
    merges = [(ord(a) - 33, ord(b) - 33) for a, b in ("th", "at", "on")] + [(256, ord("e") - 33), (ord("c") - 33, 257)]
    bpe = Bpe.from_merges(merges, "gpt2", [END])
    folder = tmp_path / "tok"
    folder.mkdir()
    (folder / "tokenizer.json").write_text(bpe.to_tokenizer_json())
    return bpe


@pytest.fixture
def corpus(tmp_path):
    chance = random.Random(5)
    documents = [f"{number} {words(chance, chance.choice([3, 200, 2000]))}" for number in range(2500)]
    (tmp_path / "text.txt").write_text(END.join(documents), encoding="utf-8", newline="")
    return documents


def tokenize(capsys, *args, code=0):
    got = run(["tokenize", *map(str, args)])
    out, err = capsys.readouterr()
    assert got == code, err
    return out, err


def refused(capsys, *args, code):
    out, err = tokenize(capsys, *args, code=code)
    assert out == "" and "Traceback" not in err
    return err


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def read_split(folder, split, dtype="<u2"):
    ids, starts, base = [], [], 0
    for path in sorted(folder.glob(f"{split}_*.bin")):
        shard = np.fromfile(path, dtype)
        index = np.fromfile(path.with_suffix(".idx"), "<u8")
        assert index[-1] == len(shard)
        starts += [base + start for start in index[:-1]]
        base += len(shard)
        ids.append(shard)
    return np.concatenate(ids), [*starts, base]


def test_shards_hold_the_ids_of_every_document(capsys, tmp_path, corpus, tok):
    out, err = tokenize(capsys, "text.txt", "--tokenizer", "tok", "--out", "x", "--shard-tokens", "1M", "--val", "0.1")
    assert "2,500 documents" in out and "→ x" in out
    found = set()
    eot = dict(tok.specials)[END]
    for split in ("train", "val"):
        ids, starts = read_split(tmp_path / "x", split)
        for start, end in zip(starts, starts[1:], strict=False):
            document = ids[start:end]
            assert document[-1] == eot
            text = tok.decode_bytes(document[:-1].astype(np.uint32)).decode()
            assert document[:-1].tolist() == tok.encode(text).tolist()
            found.add(text)
    assert found == set(corpus)
    assert len(list((tmp_path / "x").glob("train_*.bin"))) > 1
    assert (tmp_path / "x" / "tokenizer.json").exists()
    assert not (tmp_path / "x" / ".parts").exists()
    # nanoGPT's way of opening it
    assert np.memmap(tmp_path / "x" / "train_00000.bin", dtype=np.uint16, mode="r").size > 100_000


def test_bytes_do_not_depend_on_threads_ranks_or_the_run(capsys, tmp_path, corpus, tok):
    common = ("text.txt", "--tokenizer", "tok", "--shard-tokens", "1M")
    tokenize(capsys, *common, "--out", "one", "--threads", 1)
    expected = contents(tmp_path / "one")
    for threads in (2, 7):
        tokenize(capsys, *common, "--out", f"t{threads}", "--threads", threads)
        assert contents(tmp_path / f"t{threads}") == expected
    for rank in (1, 0):
        out, _ = tokenize(capsys, *common, "--out", "ranks", "--rank", rank, "--world", 2)
        assert ("to come from other ranks" in out) == (rank == 1)
    assert contents(tmp_path / "ranks") == expected
    out, _ = tokenize(capsys, *common, "--out", "one")
    assert "is done already" in out and contents(tmp_path / "one") == expected


def test_killed_at_any_moment_it_goes_on_where_it_was(capsys, tmp_path, tok):
    chance = random.Random(7)
    text = END.join(words(chance, 3000) for _ in range(100)) + END
    (tmp_path / "big.txt").write_text(text * 40, encoding="utf-8", newline="")
    common = ["big.txt", "--tokenizer", "tok", "--shard-tokens", "3M", "--val", "0.1"]
    tokenize(capsys, *common, "--out", "whole")
    expected = contents(tmp_path / "whole")
    seed = int(os.environ.get("PYLM_TEST_SEED", "11"))
    chance = random.Random(seed)
    begun = [sys.executable, "-m", "pylm", "tokenize", *common, "--out", "killed", "--threads", "2"]
    started = time.monotonic()
    subprocess.run([*begun[:-3], "timed", "--threads", "2"], check=True, capture_output=True)
    span = time.monotonic() - started
    kills = 0
    for _ in range(12):
        process = subprocess.Popen(begun, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(0.2, 1.0) * span)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        _, err = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), err
        manifest = tmp_path / "killed" / "manifest.json"
        if manifest.exists():
            # whatever is said to be finished is
            assert run(["data", "verify", "killed"]) == 0
    capsys.readouterr()
    tokenize(capsys, *common, "--out", "killed")
    assert contents(tmp_path / "killed") == expected, f"seed {seed}, {kills} kills"
    assert kills > 0


def test_without_a_tokenizer_one_is_trained_on_the_text(capsys, tmp_path, corpus):
    out, err = tokenize(capsys, "text.txt")
    assert "building a vocabulary of" in err and "data/text" in out
    size = json.loads((tmp_path / "data/text/manifest.json").read_text())["vocab_size"]
    assert f"{size:,}" in err
    before = contents(tmp_path / "data/text")
    out, err = tokenize(capsys, "text.txt")
    assert "is done already" in out and "vocabulary" not in err
    assert contents(tmp_path / "data/text") == before
    err = refused(capsys, "text.txt", "--vocab-size", 400, code=1)
    assert "another tokenizer" in err and "--force" in err
    tokenize(capsys, "text.txt", "--vocab-size", 400, "--force")
    assert json.loads((tmp_path / "data/text/manifest.json").read_text())["vocab_size"] == 400


@pytest.mark.parametrize("name", ["t.jsonl", "t.jsonl.gz", "t.txt.gz", "t.txt.zst", "t.jsonl.zst", "t.parquet", "-"])
def test_every_source_gives_the_same_shards(capsys, tmp_path, corpus, tok, name, monkeypatch):
    lines = "".join(json.dumps({"n": 1, "body": text}) + "\n" for text in corpus).encode()
    whole = END.join(corpus).encode()
    options = ["--field", "body"] if "jsonl" in name else []
    if name == "t.parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        import pyarrow

        parquet.write_table(pyarrow.table({"body": corpus}), name, row_group_size=300, compression="zstd")
        options = ["--column", "body"]
    elif name == "-":
        monkeypatch.chdir(tmp_path)
        args = [sys.executable, "-m", "pylm", "tokenize", "-", "--tokenizer", "tok", "--out", "x", "--val", "0.1"]
        subprocess.run(args, input=whole, check=True, capture_output=True)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["text.txt", "tok", "x"]
    elif name.endswith(".zst"):
        pyarrow = pytest.importorskip("pyarrow")
        packed = pyarrow.compress(lines if "jsonl" in name else whole, codec="zstd", asbytes=True)
        (tmp_path / name).write_bytes(packed)
    elif name.endswith(".gz"):
        (tmp_path / name).write_bytes(gzip.compress(lines if "jsonl" in name else whole, 1))
    else:
        (tmp_path / name).write_bytes(lines)
    tokenize(capsys, "text.txt", "--tokenizer", "tok", "--out", "plain", "--val", "0.1")
    if name != "-":
        tokenize(capsys, name, "--tokenizer", "tok", "--out", "x", "--val", "0.1", *options)
    for split in ("train", "val"):
        ids, starts = read_split(tmp_path / "x", split)
        expected, wanted = read_split(tmp_path / "plain", split)
        assert np.array_equal(ids, expected) and starts == wanted


def test_a_tokenizer_of_pythons_runs_in_the_same_pipeline(capsys, tmp_path, corpus):
    pytest.importorskip("tokenizers")
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.train_from_iterator(corpus[:200], trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[UNK]", END]))
    (tmp_path / "foreign").mkdir()
    made.save("foreign/tokenizer.json")
    tokenize(capsys, "text.txt", "--tokenizer", "foreign", "--out", "x", "--val", 0)
    ids, starts = read_split(tmp_path / "x", "train")
    assert len(starts) == len(corpus) + 1
    for number in (0, 17, 2499):
        expected = made.encode(corpus[number], add_special_tokens=False).ids
        assert ids[starts[number] : starts[number + 1]].tolist() == [*expected, made.token_to_id(END)]


def test_limits_validation_and_previews(capsys, tmp_path, corpus, tok):
    common = ("text.txt", "--tokenizer", "tok")
    out, _ = tokenize(capsys, *common, "--out", "dry", "--dry-run")
    assert "uint16" in out and "units" in out and not (tmp_path / "dry").exists()
    plan = json.loads(tokenize(capsys, *common, "--dry-run", "--json")[0])["plan"]
    assert plan["bytes"] == (tmp_path / "text.txt").stat().st_size
    tokenize(capsys, *common, "--out", "few", "--limit", "150docs", "--val", 0)
    ids, starts = read_split(tmp_path / "few", "train")
    assert len(starts) == 151
    assert plan["tokens"] == pytest.approx(
        json.loads(tokenize(capsys, *common, "--out", "all", "--val", 0, "--json")[0])["splits"]["train"]["tokens"],
        rel=0.2,
    )
    (tmp_path / "one.txt").write_text(words(random.Random(1), 200_000), encoding="utf-8")
    out, err = tokenize(capsys, "one.txt", "--tokenizer", "tok", "--out", "one", "--val", 0.1)
    assert "blocks of the text" in err
    splits = json.loads((tmp_path / "one/manifest.json").read_text())["splits"]
    assert splits["val"]["text_bytes"] / splits["train"]["text_bytes"] == pytest.approx(1 / 9, rel=0.1)
    header = np.fromfile(_llmc(capsys, tmp_path), "<i4", 3)
    assert header[:2].tolist() == [20240520, 1]


def _llmc(capsys, tmp_path):
    tokenize(capsys, "text.txt", "--tokenizer", "tok", "--out", "llmc", "--format", "llmc")
    return tmp_path / "llmc" / "train_00000.bin"


def test_a_vocabulary_past_sixteen_bits_is_written_as_uint32_and_said(capsys, tmp_path, corpus):
    pytest.importorskip("tokenizers")
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocab = {f"w{number}": number for number in range(70_000)} | {"[UNK]": 70_000, "cat": 70_001}
    made = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    (tmp_path / "wide").mkdir()
    made.save("wide/tokenizer.json")
    _, err = tokenize(capsys, "text.txt", "--tokenizer", "wide", "--out", "x", "--limit", "50docs")
    assert "uint32" in err
    ids, _ = read_split(tmp_path / "x", "train", "<u4")
    assert ids.max() == 70_001


BAD = [
    (["none.txt"], 1, "No such file"),
    (["*.csv"], 1, "no file matches"),
    (["hollow"], 1, "holds no txt"),
    (["cut.txt.gz"], 1, "cut off"),
    (["bad.jsonl"], 1, "bad.jsonl: line 2, byte 28"),
    (["bad.jsonl", "--field", "body"], 1, 'line 1, byte 13: the line has no "body"'),
    (["latin.txt"], 1, "byte 4 is not UTF-8 (0xe9)"),
    (["fake.parquet"], 1, "no sound parquet file"),
    (["empty.txt"], 1, "hold no text"),
    (["text.txt", "--limit", "3apples"], 2, "3apples"),
    (["text.txt", "--val", "2"], 2, "--val: 2 is no share"),
    (["text.txt", "--val", "nan"], 2, "--val: nan is no share"),
    (["text.txt", "--split", ""], 2, "--split"),
    (["text.txt", "--shard-tokens", "0"], 2, "shard"),
    (["text.txt", "--rank", "1"], 2, "--rank and --world"),
    (["text.txt", "--rank", "4", "--world", "4"], 2, "no rank 4"),
    (["text.txt", "--allow-special", "<|no|>"], 2, "no special token"),
    (["text.txt", "--vocab-size", "500"], 2, "--tokenizer names one"),
]


@pytest.mark.parametrize(("args", "code", "said"), BAD)
def test_bad_input_gets_one_sentence_and_leaves_nothing_half_written(capsys, tmp_path, tok, args, code, said):
    (tmp_path / "text.txt").write_text("some text")
    (tmp_path / "hollow").mkdir()
    (tmp_path / "cut.txt.gz").write_bytes(gzip.compress(words(random.Random(2), 9000).encode())[:-2000])
    (tmp_path / "bad.jsonl").write_text('{"text": "ok"}\n{"text": "bad}\n')
    (tmp_path / "latin.txt").write_bytes("caf\u00e9".encode("latin-1").replace(b"caf", b"cafe"[:3] + b" "))
    (tmp_path / "fake.parquet").write_bytes(b"PAR1 and nothing else")
    (tmp_path / "empty.txt").write_text("")
    err = refused(capsys, *args, "--tokenizer", "tok", "--out", "x", code=code)
    assert said in err
    assert not (tmp_path / "x" / "manifest.json").exists() and not list((tmp_path / "x").glob("*.bin"))


def test_bad_lines_are_left_out_counted_and_listed(capsys, tmp_path, tok):
    lines = [json.dumps({"text": f"good {number}"}) for number in range(50)]
    lines[7], lines[30] = '{"text": "bad', '{"body": "other"}'
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    out, err = tokenize(capsys, "t.jsonl", "--tokenizer", "tok", "--out", "x", "--skip-bad")
    assert "48 documents" in out and "2 broken lines" in err and "t.jsonl: line 8" in err and "line 31" in err
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 au lait")
    out, err = tokenize(capsys, "latin.txt", "--tokenizer", "tok", "--out", "y", "--invalid", "replace", "--val", 0)
    assert "1 bytes that were no UTF-8" in err
    ids, _ = read_split(tmp_path / "y", "train")
    assert tok.decode_bytes(ids[:-1].astype(np.uint32)).decode() == "caf\ufffd au lait"


def test_a_folder_of_another_run_is_refused(capsys, tmp_path, corpus, tok):
    common = ("text.txt", "--tokenizer", "tok", "--out", "x")
    tokenize(capsys, *common)
    before = contents(tmp_path / "x")
    err = refused(capsys, *common, "--val", "0.5", code=1)
    assert "validation 0.01 instead of 0.5" in err and "--force" in err
    (tmp_path / "text.txt").write_text("changed")
    assert "made from an older text.txt" in refused(capsys, *common, code=1)
    assert contents(tmp_path / "x") == before
    _, err = tokenize(capsys, *common, "--force")
    assert "replaced 5 shard files of an earlier run" in err


def test_a_second_writer_is_refused_while_the_first_lives(tmp_path, tok, capsys):
    (tmp_path / "text.txt").write_text(words(random.Random(3), 2000))
    os.mkfifo(tmp_path / "slow")
    code = (
        "import sys, time, fcntl, os; os.makedirs('x/.parts'); f = open('x/.parts/rank_0.lock', 'w');"
        "fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        err = refused(capsys, "text.txt", "--tokenizer", "tok", "--out", "x", code=1)
        assert "another process is writing rank 0" in err
    finally:
        holder.kill()
        holder.communicate()
    tokenize(capsys, "text.txt", "--tokenizer", "tok", "--out", "x")


def test_a_full_disk_keeps_what_is_complete_and_a_rerun_goes_on(capsys, tmp_path, tok):
    chance = random.Random(9)
    text = END.join(words(chance, 3000) for _ in range(100)) + END
    (tmp_path / "big.txt").write_text(text * 12, encoding="utf-8", newline="")
    common = ["big.txt", "--tokenizer", "tok", "--shard-tokens", "2M"]
    tokenize(capsys, *common, "--out", "whole")
    # a file may not grow past this: the same error path as a full disk, for anybody who is not root as well
    limit = 3_000_000
    code = "import resource, sys; from pylm.cli import run; sys.exit(run(sys.argv[1:]))"
    full = subprocess.run(
        [sys.executable, "-c", code, "tokenize", *common, "--out", "x"],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY)),
    )
    assert full.returncode == 1, full.stderr
    assert "cannot write" in full.stderr and "run the same command again" in full.stderr
    assert not (tmp_path / "x" / "manifest.json").exists()
    tokenize(capsys, *common, "--out", "x")
    assert contents(tmp_path / "x") == contents(tmp_path / "whole")


def test_ctrl_c_stops_it_and_keeps_the_work(tmp_path, tok):
    chance = random.Random(4)
    text = END.join(words(chance, 3000) for _ in range(100)) + END
    (tmp_path / "big.txt").write_text(text * 150, encoding="utf-8", newline="")
    args = [sys.executable, "-m", "pylm", "tokenize", "big.txt", "--tokenizer", "tok", "--out", "x", "--threads", "1"]
    process = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "x" / "job.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    if process.returncode != 0:  # it may have been done by then
        assert process.returncode == 130 and "Traceback" not in err, err


def test_shards_are_shown_counted_and_checked(capsys, tmp_path, corpus, tok):
    tokenize(capsys, "text.txt", "--tokenizer", "tok", "--out", "x", "--val", 0)
    assert run(["data", "stats", "x", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["splits"]["train"]
    ids, starts = read_split(tmp_path / "x", "train")
    lengths = sorted(end - start for start, end in zip(starts, starts[1:], strict=False))
    assert found["documents"] == 2500 and found["tokens"] == len(ids)
    assert (found["lengths"]["shortest"], found["lengths"]["longest"]) == (lengths[0], lengths[-1])
    assert found["used"] == len(set(ids.tolist()))
    token, count = max(((int(token), int((ids == token).sum())) for token in set(ids.tolist())), key=lambda x: x[1])
    assert found["commonest"][0]["id"] == token and found["commonest"][0]["share"] == pytest.approx(count / len(ids))
    assert run(["data", "stats", "x"]) == 0
    capsys.readouterr()
    assert run(["data", "show", "x", "--document", "17", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert corpus[17].startswith(shown["text"].removesuffix(END))
    assert [token["id"] for token in shown["shown"]] == ids[starts[17] :][: len(shown["shown"])].tolist()
    assert run(["data", "show", "x", "--document", "2500"]) == 2
    assert "0 to 2499" in capsys.readouterr().err
    assert run(["data", "verify", "x"]) == 0
    capsys.readouterr()
    path = tmp_path / "x" / "train_00000.bin"
    damaged = bytearray(path.read_bytes())
    damaged[1001] = 0xFF
    path.write_bytes(damaged)
    assert run(["data", "verify", "x"]) == 3
    err = capsys.readouterr().err
    assert "train_00000.bin, byte 1,000" in err and "outside the vocabulary" in err and "--force" in err
    assert run(["data", "verify", "nowhere"]) == 1
    assert run(["data", "stats", "tok"]) == 1
    assert "holds no token shards" in capsys.readouterr().err


def test_slurm_says_which_share(capsys, tmp_path, corpus, tok, monkeypatch):
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_NTASKS", "2")
    tokenize(capsys, "text.txt", "--tokenizer", "tok", "--out", "batch")
    assert (tmp_path / "batch" / "manifest.json").exists(), "a batch script is one process"
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("SLURM_PROCID", rank)
        _, err = tokenize(capsys, "text.txt", "--tokenizer", "tok", "--out", "x", "--shard-tokens", "1M")
        assert f"rank {rank} of 2, by Slurm" in err
    assert (tmp_path / "x" / "manifest.json").exists()


def test_somebodys_tokenizer_is_not_replaced_unasked(capsys, tok, corpus, tmp_path):
    # a tokenizer of another vocabulary, in a folder that holds no run
    other = Bpe.from_merges([(ord("t") - 33, ord("o") - 33)], "gpt2", [END])
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "tokenizer.json").write_text(other.to_tokenizer_json())
    before = contents(folder)
    err = refused(capsys, "text.txt", "--tokenizer", "tok", "--out", folder, code=2)
    assert "another tokenizer.json" in err and "--force" in err
    assert contents(folder) == before
    tokenize(capsys, "text.txt", "--tokenizer", "tok", "--out", folder, "--force")
    assert Bpe.from_tokenizer_json((folder / "tokenizer.json").read_bytes()).identity == tok.identity


def test_shards_may_lie_beside_their_own_tokenizer(capsys, tok, corpus):
    tokenize(capsys, "text.txt", "--tokenizer", "tok", "--out", "tok")
