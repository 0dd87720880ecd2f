"""git packs made byte by byte, and a remote that sends them."""

import hashlib
import subprocess
import zlib


def pack_of(*objects: bytes, count: int | None = None) -> bytes:
    body = b"PACK" + (2).to_bytes(4, "big") + (len(objects) if count is None else count).to_bytes(4, "big")
    body += b"".join(objects)
    return body + hashlib.sha1(body).digest()


def packed(kind: int, size: int, data: bytes, base: bytes = b"") -> bytes:
    first, rest, head = size & 15, size >> 4, []
    while rest:
        head.append((kind << 4 | first) | 0x80 if not head else first | 0x80)
        first, rest = rest & 0x7F, rest >> 7
    head.append(kind << 4 | first if not head else first)
    return bytes(head) + base + zlib.compress(data)


def varint(number: int) -> bytes:
    """A size as the head of a delta has it."""
    parts = [number >> shift & 0x7F for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes(part | 0x80 for part in parts[:-1]) + bytes(parts[-1:])


class PackClient:
    """A remote that sends whatever pack it likes."""

    def __init__(self, pack: bytes, oid: str, names: list[str]) -> None:
        self.pack, self.oid, self.names = pack, oid, names

    def fetch_pack(self, path, determine_wants, graph_walker, pack_data, progress=None):
        from dulwich.client import FetchPackResult

        refs = {name.encode(): self.oid.encode() for name in [*self.names, "HEAD"]}
        determine_wants(refs)
        pack_data(self.pack)
        return FetchPackResult(refs, {b"HEAD": b"refs/heads/main"}, b"test")

    def close(self):
        pass


def whole_pack(repo, *missing: str) -> bytes:
    """A pack of all objects of ``repo`` but the ``missing`` ones."""
    every = repo.run("cat-file", "--batch-all-objects", "--batch-check=%(objectname)").split()
    wanted = "".join(f"{oid}\n" for oid in every if oid not in missing)
    return subprocess.run(
        ["git", "pack-objects", "--quiet", "--stdout"],
        cwd=repo.path,
        input=wanted.encode(),
        capture_output=True,
        check=True,
    ).stdout
