"""Stores in a directory and in a bucket: the same code, the same bytes, one line where a place refuses."""

import http.server
import json
import os
import sys
import threading

import pytest

import mfstudy
from conftest import TINY, contents, disk_of, held
from mfstudy.components import InputError
from mfstudy.store import DamagedError, Store, compact
from mfstudy.store._places import address_of
from mfstudy.study import Point, parse
from mfstudy.sweep import deepen, finish


@pytest.fixture
def undisturbed(tiny, tmp_path):
    return contents(mfstudy.run(tiny, tmp_path / "undisturbed", part=(1, 1)).store.path)


def test_a_run_has_the_same_bytes_everywhere(tiny, place, undisturbed):
    path, seen = place("store"), []
    results = mfstudy.run(tiny, path, part=(1, 2), progress=seen.append)
    assert not results.complete
    results = mfstudy.run(tiny, path, part=(2, 2), progress=seen.append)
    assert results.complete
    assert seen[-1].computed == 4
    assert held(path) == undisturbed
    again = mfstudy.open(path)
    assert again.fit("empirical").text == results.fit("empirical").text
    assert {row.size: row.done for row in again.counts} == {10: 32, 30: 32, 100: 32, 300: 32}
    assert {"seconds", "host", "cpu"} <= set(again.store.notes(Point(30))[1])


def test_deepening_and_resuming(tiny, place):
    path, seen = place("store"), []
    store = mfstudy.run(tiny, path, part=(1, 1)).store
    deepen(store, replicates=48, sizes=(20,))
    disk_of(path).at.set_aside("record/size-30/c.1.0.0", "record/size-30/c.99.0.0.partial")
    assert Store(path).done(Point(30)) == {0}
    finish(Store(path), part=(1, 1), progress=seen.append)
    assert seen[-1].computed == 1 + 4 + 3
    deep = TINY.replace("[10, 30", "[10, 20, 30").replace("= 32", "= 48")
    fresh = place("fresh")
    mfstudy.run(parse(deep), fresh, part=(1, 1))
    assert held(path) == held(fresh)


def test_damage_is_found(tiny, place):
    path = place("store")
    mfstudy.run(tiny, path, part=(1, 1))
    disk, key = disk_of(path), "record/size-30/c.1.0.0"
    for data in (b"", disk.get(key)[:-9], disk.get(key)[:-5] + b"\1" + disk.get(key)[-4:]):
        disk.put(key, data)
        with pytest.raises(DamagedError, match=r"record/size-30/c\.1\.0\.0: .*mfstudy verify"):
            mfstudy.open(path).to_xarray()


def test_refusals(tiny, place):
    path = place("store")
    with pytest.raises(InputError, match="no such store"):
        mfstudy.open(path)
    disk_of(path).put("thing", b"")
    with pytest.raises(InputError, match="other contents"):
        Store.create(path, tiny)
    with pytest.raises(InputError, match="not an mfstudy store"):
        mfstudy.open(path)
    assert [key for key, _ in disk_of(path).files()] == ["thing"]
    other = place("other")
    Store.create(other, parse(TINY.replace("seed = 7", "seed = 8")))
    with pytest.raises(InputError, match="holds another problem"):
        Store.create(other, tiny)


def test_a_store_whose_root_is_gone_is_made_again(tiny, place, undisturbed):
    path = place("store")
    mfstudy.run(tiny, path, part=(1, 1))
    disk = disk_of(path)
    disk.at.set_aside("zarr.json", "quarantine/zarr.json")
    with pytest.raises(InputError, match="not an mfstudy store"):
        Store(path)
    with pytest.raises(InputError, match="holds another problem"):
        Store.create(path, parse(TINY.replace("seed = 7", "seed = 8")))
    assert not disk.has("zarr.json")
    seen = []
    assert mfstudy.run(tiny, path, part=(1, 1), progress=seen.append).complete
    assert seen[-1].computed == 0
    assert held(path) == undisturbed


def test_the_command_line_in_a_bucket(bucket, command, ends, tiny_file, tmp_path):
    store, copy = (f"{bucket}/{tmp_path.name}/{name}" for name in ("store", "copy"))
    ended = command("run", tiny_file, "--store", store, "--workers", "1")
    assert ended.returncode == 0, ended.stderr
    assert f"page: {store}/report/index.html" in ended.stdout
    assert b"<html" in disk_of(store).get("report/index.html")
    assert json.loads(ends("plan", tiny_file, "--store", store, "--json").stdout)["core_seconds"] == 0
    assert json.loads(ends("status", store, "--json").stdout)["complete"]
    assert ends("report", store, "-o", tmp_path / "page").returncode == 0
    assert (tmp_path / "page/index.html").read_bytes() == disk_of(store).get("report/index.html")
    assert ends("compact", store, copy).returncode == 0
    assert ends("fit", copy, "--json").stdout == ends("fit", store, "--json").stdout
    assert ends("verify", store, "--sample", "1").stdout.splitlines()[-1] == "sound"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page", "tiny.toml"]


BAD = {
    "no such bucket": ("s3://nobody/here", "no such bucket"),
    "unreachable": ("s3://studies/here", "does not answer"),
    "in clear": ("s3://studies/here", "not encrypted; allowed: https"),
    "no permission": ("s3://studies/here", "no permission (AccessDenied)"),
    "no prefix": ("s3://studies", "not an address; allowed: s3://BUCKET/PREFIX"),
    "leaves its prefix": ("s3://studies/../up", "not an address"),
    "no obstore": ("s3://studies/here", "pip install 'mfstudy[s3]'"),
}

#: How a place comes to refuse: the endpoint's address.
ENDPOINTS = {"unreachable": "http://127.0.0.1:9", "in clear": "http://192.0.2.1:9"}


@pytest.mark.parametrize("case", BAD)
def test_places_that_refuse(bucket, denied, ends, tiny_file, tmp_path, monkeypatch, case):
    store, expected = BAD[case]
    endpoint = denied if case == "no permission" else ENDPOINTS.get(case, os.environ["AWS_ENDPOINT_URL"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    if case == "no obstore":
        monkeypatch.setitem(sys.modules, "obstore", None)
        monkeypatch.delitem(sys.modules, "mfstudy.store._bucket", raising=False)
    words = [("run", "tiny.toml", "--part", "1/1", "--store", store), ("fit", store)]
    for verb in words[: 1 if case == "unreachable" else 2]:  # one wait for a server that is not there is enough
        ended = ends(*verb)
        assert ended.returncode == 2, ended.stderr
        assert expected in ended.stderr
        assert ended.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]


class Denied(http.server.BaseHTTPRequestHandler):
    """Refuses every request, in the words of S3."""

    def answer(self):
        body = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.command != "HEAD" else b"")

    do_GET = do_PUT = do_HEAD = do_POST = answer  # noqa: N815

    def log_message(self, *words):
        pass


@pytest.fixture
def denied():
    """The endpoint of a server that refuses every request."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Denied) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_compacted_copy_appears_in_a_bucket_over_what_a_killed_one_left(tiny, bucket, tmp_path):
    store, out = mfstudy.run(tiny, tmp_path / "store", part=(1, 1)).store, f"{bucket}/{tmp_path.name}/copy"
    compact(store.path, out)
    disk = disk_of(out)
    disk.at.set_aside("zarr.json", "quarantine/zarr.json")
    with pytest.raises(InputError, match="not an mfstudy store"):
        mfstudy.open(out)
    with pytest.raises(InputError, match="exists"):  # not known to be a copy: it may be a store whose root is gone
        compact(store.path, out)
    disk.at.beside()
    compact(store.path, out)
    assert not disk.at.abandoned
    assert mfstudy.open(out).fit("empirical").text == mfstudy.open(store).fit("empirical").text


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("s3://bucket/a/b", ("bucket", "a/b")),
        ("s3:/bucket/a/", ("bucket", "a")),
        ("./s3:/bucket/a", None),
        ("store", None),
    ],
)
def test_addresses(path, address):
    assert address_of(path) == address
