#!/usr/bin/env python3
"""Opens weight files of Tenon with Hugging Face's safetensors library, and writes files for Tenon to open.

usage: safetensors_hf.py check FILE     every tensor has the bytes that the header promises, and the checksums hold
       safetensors_hf.py write FILE     a file of that library with known values
       safetensors_hf.py read FILE      the known values, as rewritten by Tenon
Exit status 77 (skipped) where the package is not installed; 1 with TENON_REQUIRE_PYTHON=1.
"""
import hashlib
import json
import struct
import sys

from needs import give_up

try:
    import numpy as np
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file
except ImportError as reason:
    give_up(reason)


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def check(path: str) -> None:
    with open(path, "rb") as file:
        raw = file.read()
    (length,) = struct.unpack("<Q", raw[:8])
    header, payload = json.loads(raw[8 : 8 + length]), raw[8 + length :]
    tensors = load_file(path)
    with safe_open(path, "np") as opened:
        metadata = opened.metadata()
    assert (8 + length) % 64 == 0, length
    assert metadata["format"] == "tenon", metadata
    assert metadata["sha256"] == hashlib.sha256(payload).hexdigest()
    assert set(tensors) == set(header) - {"__metadata__"}
    for name, array in tensors.items():
        begin, end = header[name]["data_offsets"]
        assert list(array.shape) == header[name]["shape"], name
        assert array.tobytes() == payload[begin:end], name
        if end - begin <= 1 << 16:  # the checksum in plain Python takes its time
            assert metadata[f"crc32c:{name}"] == f"{crc32c(payload[begin:end]):08x}", name
    zeroed = raw[: 8 + length].replace(metadata["header_crc"].encode(), b"0" * 8, 1)
    assert metadata["header_crc"] == f"{crc32c(zeroed):08x}"
    print(f"{path}: {len(tensors)} tensors, {len(payload)} bytes")


def known() -> dict:
    random = np.random.default_rng(1)
    return {
        "wide": random.standard_normal((3, 5)),
        "empty": np.zeros((0, 7), np.float32),
        "scalar": np.array(2.5, np.float32),
        "layer/0.kernel": random.standard_normal((2, 3, 4)).astype(np.float32),
        "bytes": random.integers(0, 256, 11).astype(np.uint8),
        "ids": random.integers(-9, 9, (4,)).astype(np.int32),
    }


def read(path: str) -> None:
    found, expected = load_file(path), known()
    assert set(found) == set(expected), set(found) ^ set(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape, name
        assert found[name].tobytes() == array.tobytes(), name
    check(path)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("check", "write", "read"):
        sys.exit(__doc__)
    action, file_name = sys.argv[1:]
    if action == "write":
        save_file(known(), file_name, metadata={"made_by": "another library"})
    else:
        {"check": check, "read": read}[action](file_name)
