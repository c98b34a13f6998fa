"""A real object store on loopback: OpenStack Swift with its S3 interface, one replica on one directory."""

import secrets
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from lanes import free_ports, install, until

PACKAGES = ("swift", "swift-proxy", "swift-account", "swift-container", "swift-object", "memcached")
SERVERS = ("account", "container", "object", "proxy")
PROGRAMS = ("swift-ring-builder", "memcached", *(f"swift-{name}-server" for name in SERVERS))
FILTERS = ("catch_errors", "gatekeeper", "healthcheck", "listing_formats", "bulk", "copy", "slo", "dlo")

CONF = """[swift-hash]
swift_hash_path_prefix = {prefix}
swift_hash_path_suffix = {suffix}
[storage-policy:0]
name = p0
default = yes
"""
COMMON = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = {user}
swift_dir = {folder}/etc
devices = {folder}/srv
mount_check = false
workers = 0
log_address = {folder}/run/none
fallocate_reserve = 0
disable_fallocate = true
"""
KEEPER = """[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
replication_server = false
"""
PROXY = """[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache listing_formats s3api tempauth bulk copy slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
allow_account_management = true
account_autocreate = true
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = {secret} .admin
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
s3_acl = false
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{memory}
"""


@contextmanager
def swift():
    """Give the AWS_* variables of a server that is up."""
    install(PROGRAMS, PACKAGES)
    folder = Path(tempfile.mkdtemp(prefix="mfstudy-swift-"))
    ports = dict(zip((*SERVERS, "memory"), free_ports(5), strict=True))
    secret, started = secrets.token_hex(16), []
    try:
        _configure(folder, ports, secret)
        _start(folder, ports["memory"], started)
        endpoint = f"http://127.0.0.1:{ports['proxy']}"
        until(lambda: _answers(f"{endpoint}/healthcheck"), "Swift answers", 60)
        yield {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "test:tester",
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_REGION": "us-east-1",
        }
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


def _user():
    return subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()


def _configure(folder, ports, secret):
    for name in ("etc", "srv/d1", "log", "run"):
        (folder / name).mkdir(parents=True)
    (folder / "etc/swift.conf").write_text(CONF.format(prefix=secrets.token_hex(8), suffix=secrets.token_hex(8)))
    for name in SERVERS:
        text = COMMON.format(port=ports[name], user=_user(), folder=folder)
        if name == "proxy":
            text += PROXY.format(secret=secret, memory=ports["memory"])
            text += "".join(f"[filter:{one}]\nuse = egg:swift#{one}\n" for one in FILTERS)
        else:
            text += KEEPER.format(name=name)
            builder = ["swift-ring-builder", f"{name}.builder"]
            device = f"r1z1-127.0.0.1:{ports[name]}/d1"
            for words in (["create", "4", "1", "0"], ["add", device, "1"], ["rebalance"]):
                ended = subprocess.run([*builder, *words], cwd=folder / "etc", capture_output=True, text=True)
                assert ended.returncode < 2, ended.stderr  # 1 is a warning
        (folder / f"etc/{name}.conf").write_text(text)


def _start(folder, port, started):
    words = ["memcached", "-u", _user(), "-l", "127.0.0.1", "-p", str(port), "-m", "16"]
    commands = {"memcached": words}
    commands |= {name: [f"swift-{name}-server", str(folder / f"etc/{name}.conf")] for name in SERVERS}
    for name, words in commands.items():
        with (folder / f"log/{name}").open("wb") as log:
            started.append(subprocess.Popen(words, stdout=log, stderr=log))


def _answers(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False
