"""A package from outside, read into memory by the bytes that really come out, and nothing of it put on the disk.

A .zip file is read by its directory, which must be the plain kind: no comment, nothing before or behind it, no ZIP64, no
encryption. Names are few and plain. Everything is counted while it comes out, so that a header may say what it likes.
"""

from __future__ import annotations

import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path, PurePosixPath

from pipelines.registry.foreign.refusal import PackageRefused
from pipelines.spec import PackageLimits

_END = b"PK\x05\x06"
_END_BYTES = 22
_LONGEST_ENTRY = 46 + 2 * 300  # of the directory: its fixed part, a name and extra fields
_PART = re.compile(r"[A-Za-z0-9]([A-Za-z0-9 _.-]{0,98}[A-Za-z0-9_-])?")
_CHUNK = 1 << 16
_PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_RATIO_FREE = 1 << 16  # a file this small is no bomb, however well it packs


def read(path: Path, limits: PackageLimits) -> dict[str, bytes]:
    """The files of a package by name, from a .zip file or a folder.

    Raises PackageRefused when it is larger than the limits, has names or kinds of files that are no plain ones, or cannot be
    read to its end.
    """
    if path.is_symlink():
        raise PackageRefused(f"{path.name} is a symbolic link")
    if path.is_dir():
        return _read_folder(path, limits)
    return read_zip(_read_plain_file(path, limits.max_mb << 20, path.name), limits)


def read_zip(packed: bytes, limits: PackageLimits) -> dict[str, bytes]:
    """The files of a .zip file. Raises PackageRefused as `read`."""
    _require_plain_directory(packed, limits)
    try:
        with zipfile.ZipFile(BytesIO(packed)) as archive:
            entries = archive.infolist()
            _require_few(len(entries), limits)
            for entry in entries:
                _require_plain_entry(entry, len(packed))
            files = [entry for entry in entries if not entry.is_dir()]
            require_plain_names([entry.orig_filename for entry in files], limits)
            return _unpacked(archive, files, limits)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError):
        raise PackageRefused("the archive is damaged or cut off: it cannot be read to its end") from None


def require_plain_names(names: list[str], limits: PackageLimits) -> None:
    """Raises PackageRefused for a name that is not relative and plain, or that another system could take for a second one."""
    for name in names:
        parts = PurePosixPath(name).parts
        if "\\" in name or name.startswith("/") or ".." in name.split("/") or re.match(r"[A-Za-z]:", name):
            raise PackageRefused(f"the name {_shown(name)} leads out of the package")
        if "/".join(parts) != name or not all(_PART.fullmatch(part) for part in parts):
            raise PackageRefused(f"the name {_shown(name)} is not plain (letters, digits, space, `.`, `_` and `-`)")
        if len(parts) > limits.max_depth:
            raise PackageRefused(f"{_shown(name)} lies deeper than {limits.max_depth} folders")
    folded = [name.casefold() for name in names]
    twice = sorted({name for name, low in zip(names, folded, strict=True) if folded.count(low) > 1})
    if twice:
        raise PackageRefused(f"two files have one name, or differ in capitals only: {', '.join(map(_shown, twice))}")


def _require_plain_directory(packed: bytes, limits: PackageLimits) -> None:
    """The directory ends the file and is no longer than so many entries need, so that it may be read into memory."""
    end = packed[-_END_BYTES:]
    if not packed.startswith(b"PK\x03\x04") or not end.startswith(_END) or end[-2:] != b"\0\0":
        raise PackageRefused("it is no plain .zip file: cut off, with something before or behind it, or with a comment")
    size, start = int.from_bytes(end[12:16], "little"), int.from_bytes(end[16:20], "little")
    if size > limits.max_files * _LONGEST_ENTRY:
        raise PackageRefused(f"its directory lists more than {limits.max_files} files")
    if start + size != len(packed) - _END_BYTES:
        raise PackageRefused("it is no plain .zip file: its directory is not where it should be")


def _require_plain_entry(entry: zipfile.ZipInfo, packed: int) -> None:
    mode = entry.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        kind = "a symbolic link" if stat.S_ISLNK(mode) else "no plain file"
        raise PackageRefused(f"{_shown(entry.orig_filename)} is {kind}")
    if entry.flag_bits & 0x1 or entry.compress_type not in _PLAIN:
        raise PackageRefused(f"{_shown(entry.orig_filename)} is encrypted or packed in an unusual way")
    if entry.is_dir() and entry.file_size:
        raise PackageRefused(f"{_shown(entry.orig_filename)} is a folder with content")


def _unpacked(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], limits: PackageLimits) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    left = limits.max_mb << 20
    for entry in entries:
        with archive.open(entry) as stream:
            most = max(_RATIO_FREE, entry.compress_size * limits.max_ratio)
            content = bytearray()
            for chunk in iter(lambda stream=stream: stream.read(_CHUNK), b""):  # type: ignore[misc]
                content += chunk
                if len(content) > most:
                    raise PackageRefused(
                        f"{_shown(entry.orig_filename)} unpacks to more than {limits.max_ratio} times its size: a zip bomb"
                    )
                if len(content) > left:
                    raise PackageRefused(f"it unpacks to more than {limits.max_mb} MB")
        left -= len(content)
        found[entry.orig_filename] = bytes(content)
    return found


def _read_folder(root: Path, limits: PackageLimits) -> dict[str, bytes]:
    names: list[str] = []
    for entry in _walk(root, root, limits.max_depth):
        names.append(entry)
        _require_few(len(names), limits)
    require_plain_names(names, limits)
    found: dict[str, bytes] = {}
    left = limits.max_mb << 20
    for name in names:
        found[name] = _read_plain_file(root / name, left, f"it, at {name},", limits.max_mb)
        left -= len(found[name])
    return found


def _walk(root: Path, folder: Path, depth: int) -> Iterator[str]:
    """Names of all plain files below; whatever else is there is refused."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda found: found.name):
            name = Path(entry.path).relative_to(root).as_posix()
            if entry.is_symlink():
                raise PackageRefused(f"{_shown(name)} is a symbolic link")
            if entry.is_dir(follow_symlinks=False):
                if depth <= 1:
                    raise PackageRefused(f"{_shown(name)} lies deeper than allowed")
                yield from _walk(root, Path(entry.path), depth - 1)
            elif entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_nlink == 1:
                yield name
            else:
                raise PackageRefused(f"{_shown(name)} is no plain file (a device, a pipe or a hard link)")


def _read_plain_file(path: Path, most: int, what: str, told_mb: int | None = None) -> bytes:
    """The file's bytes; it is looked at after it was opened, so that it cannot be changed for another in between."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        raise PackageRefused(f"{path.name} cannot be opened as a plain file") from None
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise PackageRefused(f"{path.name} is no plain file")
        content = file.read(most + 1)
    if len(content) > most:
        raise PackageRefused(f"{what} is larger than {told_mb or most >> 20} MB")
    return content


def _require_few(count: int, limits: PackageLimits) -> None:
    if count > limits.max_files:
        raise PackageRefused(f"it holds more than {limits.max_files} files")


def _shown(name: str) -> str:
    return ascii(name[:80])


def names_and_digests(files: Mapping[str, bytes]) -> list[tuple[str, str]]:
    """Each file's name with the SHA-256 of its bytes, in the order of the names."""
    from hashlib import sha256

    return [(name, sha256(files[name]).hexdigest()) for name in sorted(files)]
