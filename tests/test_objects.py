"""Objects: the same functions on a folder and on an S3 server over HTTP."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import objects
from pipelines.contracts import ConnectionBroken, DataFault


@pytest.fixture(params=["folder", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "store")
    request.getfixturevalue("s3_server")
    return "s3://vigil/store"


def test_an_object_is_created_once_and_never_overwritten(root: str, tmp_path: Path) -> None:
    uri = f"{root}/a/pointer.json"
    assert not objects.exists(uri)

    assert objects.put_new(uri, b'{"first": 1}')
    assert not objects.put_new(uri, b'{"second": 2}')

    assert objects.exists(uri)
    assert objects.read_json(uri, tmp_path / "scratch") == {"first": 1}
    assert objects.fetch(uri, tmp_path / "copy").read_bytes() == b'{"first": 1}'


def test_everything_below_a_prefix_is_listed_in_order(root: str) -> None:
    for name in ("b/2.csv", "b/1.csv", "c/3.csv"):
        objects.put_new(f"{root}/{name}", b"x")

    assert objects.list_under(f"{root}/b") == [f"{root}/b/1.csv", f"{root}/b/2.csv"]
    assert objects.list_under(f"{root}/none") == []


def test_an_absent_object_is_a_data_fault_that_names_it(root: str, tmp_path: Path) -> None:
    with pytest.raises(DataFault, match=r"none\.csv"):
        objects.fetch(f"{root}/none.csv", tmp_path / "copy")


def test_what_is_not_json_says_so(root: str, tmp_path: Path) -> None:
    objects.put_new(f"{root}/x.json", b"{")
    with pytest.raises(DataFault, match="is not JSON"):
        objects.read_json(f"{root}/x.json", tmp_path / "scratch")


def test_a_missing_bucket_is_a_data_fault(s3_server: str) -> None:
    with pytest.raises(DataFault, match="nowhere"):
        objects.list_under("s3://nowhere/x")


def test_a_bucket_that_does_not_answer_is_broken_and_not_absent(
    s3_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(ConnectionBroken, match="did not answer"):
        objects.exists("s3://vigil/x")


def test_the_content_of_many_is_read_at_once(root: str) -> None:
    for number in range(20):
        objects.put_new(f"{root}/many/{number:02}.json", str(number).encode())
    objects.put_new(f"{root}/other/1.json", b"x")

    found = objects.read_under(f"{root}/many/")

    assert [content.decode() for content in found.values()] == [str(number) for number in range(20)]
    assert list(found) == [f"{root}/many/{number:02}.json" for number in range(20)]
    assert objects.read_under(f"{root}/none/") == {}


def test_a_file_whose_writer_dies_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: object) -> None:
        assert objects.list_under(str(tmp_path)) == []
        raise KeyboardInterrupt

    monkeypatch.setattr("os.link", dies)
    with pytest.raises(KeyboardInterrupt):
        objects.put_new(str(tmp_path / "1.json"), b"whole")
    assert objects.list_under(str(tmp_path)) == []
