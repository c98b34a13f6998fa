"""Stores in a directory and in a bucket: the same code, the same bytes, one line where a place refuses."""

import json
import os
import subprocess
import sys

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


def test_the_command_line_in_a_bucket(bucket, command, tiny_file, tmp_path):
    store = f"{bucket}/{tmp_path.name}/store"
    ended = command("run", tiny_file, "--store", store, "--workers", "1")
    assert ended.returncode == 0, ended.stderr
    assert f"page: {store}/report/index.html" in ended.stdout
    assert b"<html" in disk_of(store).get("report/index.html")
    assert json.loads(command("plan", tiny_file, "--store", store, "--json").stdout)["core_seconds"] == 0
    assert json.loads(command("status", store, "--json").stdout)["complete"]
    assert command("report", store, "-o", tmp_path / "page").returncode == 0
    assert (tmp_path / "page/index.html").read_bytes() == disk_of(store).get("report/index.html")
    copy = f"{bucket}/{tmp_path.name}/copy"
    assert command("compact", store, copy).returncode == 0
    assert command("fit", copy, "--json").stdout == command("fit", store, "--json").stdout
    verified = command("verify", store, "--sample", "1")
    assert verified.returncode == 0, verified.stdout
    assert verified.stdout.splitlines()[-1] == "sound"
    assert not [path for path in tmp_path.iterdir() if path.name not in ("page", "tiny.toml")]


BAD = {
    "no such bucket": ({}, "s3://nobody/here", "no such bucket"),
    "unreachable": ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "s3://studies/here", "does not answer"),
    "in clear": ({"AWS_ENDPOINT_URL": "http://192.0.2.1:9"}, "s3://studies/here", "not encrypted; allowed: https"),
    "no prefix": ({}, "s3://studies", "not an address; allowed: s3://BUCKET/PREFIX"),
    "leaves its prefix": ({}, "s3://studies/../up", "not an address"),
    "no obstore": ({"PYTHONPATH": "{without}"}, "s3://studies/here", "pip install 'mfstudy[s3]'"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("verb", [("run", "tiny.toml", "--part", "1/1", "--store"), ("fit",)], ids=["run", "fit"])
def test_places_that_refuse(bucket, command, tiny_file, tmp_path, case, verb):
    variables, store, expected = BAD[case]
    if case == "unreachable" and verb[0] == "fit":
        pytest.skip("one wait for a server that is not there is enough")
    (tmp_path / "without/obstore").mkdir(parents=True)
    (tmp_path / "without/obstore/__init__.py").write_text("raise ImportError('not installed')")
    paths = {"without": os.pathsep.join([str(tmp_path / "without"), *filter(None, [os.environ.get("PYTHONPATH")])])}
    environment = {name: value.format(**paths) for name, value in variables.items()}
    ended = command(*verb, store, env={**os.environ, **environment})
    assert ended.returncode == 2, ended.stderr
    assert expected in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.toml", "without"]


def test_no_permission_is_one_line(bucket, tmp_path):
    """A server that refuses every request; what it says is what S3 says."""
    code = """
import http.server, threading, os, sys
class Denied(http.server.BaseHTTPRequestHandler):
    def answer(self):
        body = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
        self.send_response(403); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body if self.command != "HEAD" else b"")
    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = answer
    def log_message(self, *words): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Denied)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{server.server_port}"
from mfstudy.cli import main
main()
"""
    (tmp_path / "tiny.toml").write_text(TINY)
    for words in (["run", "tiny.toml", "--part", "1/1", "--store", "s3://studies/here"], ["fit", "s3://studies/here"]):
        ended = subprocess.run([sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True)
        assert ended.returncode == 2, ended.stderr
        assert "no permission (AccessDenied)" in ended.stderr
        assert ended.stderr.count("\n") == 1


def test_a_compacted_copy_appears_in_a_bucket_over_what_a_killed_one_left(tiny, bucket, tmp_path):
    store, out = mfstudy.run(tiny, tmp_path / "store", part=(1, 1)).store, f"{bucket}/{tmp_path.name}/copy"
    compact(store.path, out)
    disk = disk_of(out)
    disk.at.set_aside("zarr.json", "quarantine/zarr.json")
    with pytest.raises(InputError):
        mfstudy.open(out)
    compact(store.path, out)
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
