"""Our safetensors files against the safetensors package, both ways, and against whoever damages them."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from pylm.checkpoint import Tensor, read_tensors, write_tensors
from pylm.errors import CheckpointError

RNG = np.random.default_rng(11)


def some_tensors() -> dict[str, np.ndarray]:
    return {
        "tokens.weight": RNG.standard_normal((37, 16)).astype(np.float32),
        "blocks.0.bias": RNG.standard_normal(5).astype(np.float16),
        "step": np.array(RNG.integers(0, 1 << 60), dtype=np.int64),
        "empty": np.zeros((0, 4), dtype=np.uint8),
        "mask ✓": RNG.integers(0, 2, (3, 3)).astype(bool),
    }


CODES = {"float32": "F32", "float16": "F16", "int64": "I64", "uint8": "U8", "bool": "BOOL"}


def ours(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: Tensor.of(CODES[str(a.dtype)], a.shape, a.tobytes()) for name, a in arrays.items()}


def test_the_safetensors_package_reads_what_we_write(tmp_path: Path) -> None:
    arrays = some_tensors()
    write_tensors(tmp_path / "x.safetensors", ours(arrays), {"format": "pt"})
    read = safetensors.numpy.load_file(tmp_path / "x.safetensors")
    assert set(read) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array, strict=True)


def test_we_read_what_the_safetensors_package_writes(tmp_path: Path) -> None:
    arrays = some_tensors()
    safetensors.numpy.save_file(arrays, tmp_path / "x.safetensors")
    read = read_tensors(tmp_path / "x.safetensors")
    assert set(read) == set(arrays)
    for name, array in arrays.items():
        assert read[name].shape == array.shape
        assert bytes(read[name].data) == array.tobytes()


def test_bfloat16_keeps_its_bits(tmp_path: Path) -> None:
    bits = RNG.integers(0, 1 << 16, 96, dtype=np.uint16)
    write_tensors(tmp_path / "x.safetensors", {"w": Tensor.of("BF16", (8, 12), bits)})
    tensor = read_tensors(tmp_path / "x.safetensors")["w"]
    assert (tensor.dtype, tensor.shape) == ("BF16", (8, 12))
    np.testing.assert_array_equal(np.frombuffer(tensor.data, np.uint16), bits)


def test_a_buffer_that_does_not_fit_its_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="12 bytes are no F32 tensor of shape \\[2, 2\\]"):
        Tensor.of("F32", (2, 2), bytes(12))


def damaged(header: object, data: bytes = b"") -> bytes:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(encoded).to_bytes(8, "little") + encoded + data


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "0 bytes are no safetensors file"),
        (b"\xff" * 40, "its header claims"),
        (damaged(b"{"), "does not parse"),
        (damaged([1]), "does not parse"),
        (damaged(b"[" * 100_000), "does not parse"),
        (damaged({"w": {"dtype": "F32"}}), "does not parse"),
        (damaged({"w": {"dtype": "X9", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)), "unknown type X9"),
        (damaged({"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, bytes(4)), "no counts"),
        (damaged({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, bytes(4)), "4 bytes for F32"),
        (damaged({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, bytes(4)), "claims bytes 0 to 8"),
        (damaged({"w": {"dtype": "U8", "shape": [2], "data_offsets": [2, 4]}}, bytes(4)), "where 0 is next"),
        (damaged({"w": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}}, bytes(4)), "2 bytes follow"),
    ],
)
def test_a_hostile_file_is_one_sentence(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=complaint) as caught:
        read_tensors(path)
    assert str(path) in caught.value.message


def test_a_header_of_more_than_100_MB_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:
        file.write((100_000_001).to_bytes(8, "little"))
        file.truncate(200_000_000)  # nobody writes what stands between
    monkeypatch.setattr(json, "loads", None)
    sentence = "its header claims 100,000,001 bytes of the file's 200,000,000, and 100,000,000 are the most"
    with pytest.raises(CheckpointError, match=sentence):
        read_tensors(path)


def test_millions_of_tensors_are_refused_before_they_are_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.safetensors"
    entry = b'"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    path.write_bytes(damaged(b"{" + b",".join(entry % number for number in range(200_001)) + b"}"))
    monkeypatch.setattr(json, "loads", None)
    with pytest.raises(CheckpointError, match="its header claims 200,001 tensors, and 200,000 are the most"):
        read_tensors(path)


def test_damaged_headers_never_escape_as_anything_else(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_tensors(path, ours(some_tensors()))
    sound = path.read_bytes()
    header = int.from_bytes(sound[:8], "little") + 8
    rng = random.Random(5)
    for _ in range(400):
        broken = bytearray(sound[: rng.choice([len(sound), rng.randrange(len(sound))])])
        for _ in range(rng.randint(1, 3)):
            if broken:
                broken[rng.randrange(min(header, len(broken)))] = rng.randrange(256)
        path.write_bytes(broken)
        try:
            read_tensors(path)
        except CheckpointError:
            pass
