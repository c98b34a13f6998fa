"""Stores in a bucket of a real object store, beside the mock of `test_places`: Swift has no conditional writes."""

import time

import boto3
import pytest

import mfstudy
from conftest import disk_of, held
from lanes import driver
from lanes.swift import swift
from mfstudy.store import compact
from mfstudy.verify import verify

pytestmark = pytest.mark.waits


@pytest.fixture(scope="module")
def bucket():
    with swift() as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="studies")
        yield "s3://studies"


def chunks(store):
    return [key for key, _ in disk_of(store).files("record") if "/c." in key]


def test_a_killed_run_is_finished_with_the_bytes_of_a_directory(bucket, long_file, long_bytes, tmp_path):
    store = f"{bucket}/sweeps/killed"
    with driver(long_file, store, "--workers", "2", cwd=tmp_path) as process:
        while len(chunks(store)) < 3:
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        process.kill()
        process.wait()
    seen = []
    assert mfstudy.run(long_file, store, workers=2, progress=seen.append).complete
    assert seen[-1].present >= 3
    assert held(store) == long_bytes


def test_damage_and_a_copy(bucket, tiny, tmp_path):
    store, copy = f"{bucket}/sweeps/tiny", f"{bucket}/copies/tiny"
    results = mfstudy.run(tiny, store, part=(1, 1))
    whole, disk = held(store), disk_of(store)
    key = chunks(store)[0]
    disk.put(key, whole[key][:-1] + bytes([whole[key][-1] ^ 1]))
    assert not verify(store, 0).sound
    assert key not in chunks(store)
    assert mfstudy.run(tiny, store, part=(1, 1)).complete
    assert held(store) == whole
    assert verify(store, 2).sound
    compact(store, copy)
    assert mfstudy.open(copy).fit("empirical").text == results.fit("empirical").text
