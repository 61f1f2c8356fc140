"""Files in a folder or at s3://, by one set of functions. The only module that imports boto3.

The endpoint, keys and region come from the AWS_* variables that boto3 and the lake both read.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any
from urllib.parse import urlsplit

from pipelines.contracts import ConnectionBroken, DataFault

_ARRIVING = ".arriving-"
_READERS = 16


def is_s3(uri: str) -> bool:
    return uri.startswith("s3://")


def exists(uri: str) -> bool:
    """Whether the object or file is there. An unreachable bucket raises ConnectionBroken; it is never "absent"."""
    if not is_s3(uri):
        return Path(uri).is_file()
    with _answers(uri) as (client, bucket, key):
        from botocore.exceptions import ClientError

        try:
            client.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return False
            raise
    return True


def fetch(uri: str, target: Path) -> Path:
    """Copy the object to a local file. Raises DataFault when it is not there."""
    if not is_s3(uri):
        if not Path(uri).is_file():
            raise DataFault(f"no file at {uri}.")
        shutil.copyfile(uri, target)
        return target
    if not exists(uri):
        raise DataFault(f"no object at {uri}.")
    with _answers(uri) as (client, bucket, key):
        client.download_file(bucket, key, str(target))
    return target


def put_new(uri: str, body: bytes) -> bool:
    """Create the object only if nothing is there yet; False when something is. Atomic on S3 (If-None-Match) and on disk."""
    if not is_s3(uri):
        return _put_new_file(Path(uri), body)
    with _answers(uri) as (client, bucket, key):
        from botocore.exceptions import ClientError

        try:
            client.put_object(Bucket=bucket, Key=key, Body=body, IfNoneMatch="*")
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 412:
                return False
            raise
    return True


def read_under(prefix: str) -> dict[str, bytes]:
    """The content of all objects or files below a prefix or folder, by full URI. For many small ones."""
    found = list_under(prefix)
    if not is_s3(prefix):
        return {uri: Path(uri).read_bytes() for uri in found}
    with _answers(prefix) as (client, bucket, _), ThreadPoolExecutor(_READERS) as readers:

        def read(uri: str) -> bytes:
            content: bytes = client.get_object(Bucket=bucket, Key=urlsplit(uri).path.lstrip("/"))["Body"].read()
            return content

        return dict(zip(found, readers.map(read, found), strict=True))


def list_under(prefix: str) -> list[str]:
    """All objects or files below a prefix or folder, sorted, as full URIs."""
    if not is_s3(prefix):
        return sorted(str(p) for p in Path(prefix).rglob("*") if p.is_file() and not p.name.startswith(_ARRIVING))
    with _answers(prefix) as (client, bucket, key):
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key)
        return sorted(f"s3://{bucket}/{item['Key']}" for page in pages for item in page.get("Contents", []))


def read_json(uri: str, scratch: Path) -> Any:
    """A small JSON object. Raises DataFault when it is absent or not JSON."""
    try:
        return json.loads(fetch(uri, scratch).read_text(encoding="utf-8"))
    except ValueError:
        raise DataFault(f"{uri} is not JSON.") from None


def ensure_bucket(uri: str) -> bool:
    """Create the bucket of an s3:// URI unless it is there; True when it was created."""
    with _answers(uri) as (client, bucket, _):
        from botocore.exceptions import ClientError

        try:
            client.head_bucket(Bucket=bucket)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise
            client.create_bucket(Bucket=bucket)
            return True
    return False


def _put_new_file(target: Path, body: bytes) -> bool:
    """The file appears whole or not at all: a killed writer leaves no empty one behind under its name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=target.parent, prefix=_ARRIVING) as arriving:
        arriving.write(body)
        arriving.flush()
        os.fsync(arriving.fileno())
        try:
            os.link(arriving.name, target)
        except FileExistsError:
            return False
    return True


@contextmanager
def _answers(uri: str) -> Iterator[tuple[Any, str, str]]:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    parts = urlsplit(uri)
    client = boto3.client("s3", config=Config(connect_timeout=10, read_timeout=60, retries={"max_attempts": 3}))
    try:
        yield client, parts.netloc, parts.path.lstrip("/")
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in ("NoSuchBucket", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403"):
            raise DataFault(
                f"bucket {parts.netloc!r} refused: {code}. Check the bucket's name and the AWS_* keys."
            ) from error
        raise ConnectionBroken(f"bucket {parts.netloc!r} answered {code}. Nothing was written.") from error
    except BotoCoreError as error:
        raise ConnectionBroken(
            f"bucket {parts.netloc!r} did not answer ({type(error).__name__}). Nothing was written."
        ) from error
