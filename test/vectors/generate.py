"""Writes merkle.jsonl: proofs of RFC 6962 trees, made by its definitions and hashlib alone.

Run `python3 test/vectors/generate.py > test/vectors/merkle.jsonl`. The output is the same each time.
"""

import hashlib
import json

REFERENCE_LEAVES = [
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]
LARGER_SIZES = [9, 13, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 255, 256, 257, 511, 513, 700]


def leaf_hash(data):
    return hashlib.sha256(b"\x00" + data).digest()


def split(count):
    k = 1
    while k * 2 < count:
        k *= 2
    return k


def mth(hashes):
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = split(len(hashes))
    return hashlib.sha256(b"\x01" + mth(hashes[:k]) + mth(hashes[k:])).digest()


def path(m, hashes):
    if len(hashes) == 1:
        return []
    k = split(len(hashes))
    if m < k:
        return path(m, hashes[:k]) + [mth(hashes[k:])]
    return path(m - k, hashes[k:]) + [mth(hashes[:k])]


def subproof(m, hashes, whole):
    if m == len(hashes):
        return [] if whole else [mth(hashes)]
    k = split(len(hashes))
    if m <= k:
        return subproof(m, hashes[:k], whole) + [mth(hashes[k:])]
    return subproof(m - k, hashes[k:], False) + [mth(hashes[:k])]


def emit(**row):
    print(json.dumps(row, separators=(",", ":")))


def inclusion(index, hashes):
    emit(kind="inclusion", index=index, size=len(hashes), leaf=hashes[index].hex(),
         root=mth(hashes).hex(), proof=[h.hex() for h in path(index, hashes)])


def consistency(old, hashes):
    emit(kind="consistency", oldSize=old, size=len(hashes), oldRoot=mth(hashes[:old]).hex(),
         root=mth(hashes).hex(), proof=[h.hex() for h in subproof(old, hashes, True)])


def main():
    reference = [bytes.fromhex(text) for text in REFERENCE_LEAVES]
    for data in reference:
        emit(kind="leaf", data=data.hex(), hash=leaf_hash(data).hex())
    hashes = [leaf_hash(data) for data in reference]
    for size in range(0, 9):
        emit(kind="root", size=size, root=mth(hashes[:size]).hex())
    for size in range(1, 9):
        for index in range(size):
            inclusion(index, hashes[:size])
        for old in range(1, size + 1):
            consistency(old, hashes[:size])
    # Leaf n of the larger trees is the decimal n.
    larger = [leaf_hash(str(index).encode()) for index in range(max(LARGER_SIZES))]
    for size in LARGER_SIZES:
        for index in sorted({0, size // 3, size // 2, size - 2, size - 1}):
            inclusion(index, larger[:size])
        for old in sorted({1, size // 3, size // 2, split(size), size - 1, size}):
            consistency(old, larger[:size])


main()
