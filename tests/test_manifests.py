"""What deploys workers: manifests held against the schemas of Kubernetes and of Dask's operator, examples loaded."""

import copy
import re
import shlex
import subprocess
from importlib import resources
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml
from distributed import Security
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from mfstudy import cluster, components
from mfstudy.cluster._tls import private

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
VERSION = kubernetes_validate.latest_version()

DOCUMENTS = [
    (path.name, document)
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]


@pytest.mark.parametrize(("name", "document"), DOCUMENTS, ids=lambda value: value if isinstance(value, str) else "")
def test_manifests_are_valid(name, document):
    kubernetes_validate.validate(document, VERSION, strict=True)


def test_a_wrong_manifest_is_found():
    (cron,) = [document for name, document in DOCUMENTS if name == "nightly.yaml"]
    assert cron["spec"]["concurrencyPolicy"] == "Forbid"
    for key, value in (("concurrencyPolicy", 3), ("concurencyPolicy", "Forbid")):
        wrong = copy.deepcopy(cron)
        wrong["spec"][key] = value
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(wrong, VERSION, strict=True)


def test_drivers_run_commands_that_exist(command):
    drivers = [document for name, document in DOCUMENTS if name in ("driver.yaml", "nightly.yaml")]
    for document in drivers:
        template = document["spec"].get("jobTemplate", document)["spec"]["template"]["spec"]
        program, verb, *words = template["containers"][0]["command"]
        assert program == "mfstudy"
        shown = command(verb, "--help")
        assert shown.returncode == 0
        for option in (word for word in words if word.startswith("--")):
            assert option in shown.stdout


def _engines(tmp_path, monkeypatch, text):
    (tmp_path / "engines.toml").write_text(text)
    monkeypatch.setenv("MFSTUDY_ENGINES", str(tmp_path / "engines.toml"))


@pytest.fixture
def pem(tmp_path):
    made = Security.temporary()
    for name, text in (("ca", made.tls_ca_file), ("cert", made.tls_client_cert), ("key", made.tls_client_key)):
        (tmp_path / f"{name}.pem").write_text(text)
    return tmp_path


def test_the_example_has_every_engine(pem, monkeypatch):
    text = (DEPLOY / "engines.toml").read_text()
    names = re.findall(r"^\[engine\.(\w+)\]", text, re.MULTILINE)
    _engines(pem, monkeypatch, text.replace("/etc/mfstudy", str(pem)))
    # Slurm's commands are looked for, too; here it is the table that is read.
    monkeypatch.setattr("shutil.which", lambda program: f"/usr/bin/{program}")
    found = {name: cluster.find(name) for name in names}
    assert {type(engine).__name__.lower() for engine in found.values()} == set(components.kinds("cluster"))
    assert found["site"].tls.security.require_encryption


def test_the_ssh_example_loads(tmp_path, monkeypatch):
    _engines(tmp_path, monkeypatch, (DEPLOY / "ssh/engines.toml").read_text())
    assert cluster.find("lab").capacity(1e9) == 16


@pytest.fixture
def kubernetes(tmp_path, monkeypatch):
    """The engine of the manifests' own file."""
    (settings,) = [document["data"] for _, document in DOCUMENTS if document["kind"] == "ConfigMap"]
    _engines(tmp_path, monkeypatch, settings["engines.toml"])
    return cluster.find("kubernetes")


def _retrieved(uri):
    """Return what the operator's schemas refer to; pods and services, held against newer ones below, as anything."""
    package, _, path = uri.removeprefix("python://").partition("/")
    if package == "k8s_crd_resolver":
        anything = {"io.k8s.api.core.v1.PodSpec": {}, "io.k8s.api.core.v1.ServiceSpec": {}}
        return DRAFT202012.create_resource({"definitions": anything})
    return DRAFT202012.create_resource(yaml.safe_load((resources.files(package) / path).read_text()))


def _operators(kind):
    """Return a validator of an object of the operator."""
    path = resources.files("dask_kubernetes") / f"operator/customresources/{kind.lower()}.yaml"
    (version,) = yaml.safe_load(path.read_text())["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    return jsonschema.Draft202012Validator(schema, registry=Registry(retrieve=_retrieved))


def test_what_the_kubernetes_engine_creates_is_valid(kubernetes):
    with private(None) as (_, tls):
        owner, secret, scaler = kubernetes.objects("mfstudy-0", tls, 8)
    kubernetes_validate.validate(secret, VERSION, strict=True)
    for table in (owner, scaler):
        _operators(table["kind"]).validate(table)
    for role in ("scheduler", "worker"):
        spec = owner["spec"][role]["spec"]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": role}, "spec": spec}
        kubernetes_validate.validate(pod, VERSION, strict=True)
        words = spec["containers"][0]["args"]
        assert words[:2] == ["python", "-m"]
        assert "--tls-key" in words
    assert "tls://mfstudy-0-scheduler.mfstudy.svc:8786" in owner["spec"]["worker"]["spec"]["containers"][0]["args"]
    ones = {entry["name"]: entry["value"] for entry in owner["spec"]["worker"]["spec"]["containers"][0]["env"]}
    assert ones["NUMBA_NUM_THREADS"] == "1"
    assert scaler["spec"] == {"cluster": "mfstudy-0", "minimum": 1, "maximum": 8}
    wrong = copy.deepcopy(owner)
    wrong["spec"]["worker"]["replicas"] = "two"
    for table in (wrong, {**scaler, "spec": {"cluster": "mfstudy-0"}}):
        with pytest.raises(jsonschema.ValidationError):
            _operators(table["kind"]).validate(table)


def test_drivers_may_do_what_the_engine_does(kubernetes):
    """Every kind that the engine creates is granted to its account."""
    (role,) = [document for _, document in DOCUMENTS if document["kind"] == "Role"]
    granted = {(group, kind) for rule in role["rules"] for group in rule["apiGroups"] for kind in rule["resources"]}
    with private(None) as (_, tls):
        for table in kubernetes.objects("mfstudy-0", tls, 8):
            group = table["apiVersion"].rpartition("/")[0]
            assert (group, f"{table['kind'].lower()}s") in granted


def test_a_kubernetes_that_does_not_answer_is_one_line(kubernetes, tmp_path, tiny_file, monkeypatch, command):
    (tmp_path / "kubeconfig").write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "none", "cluster": {"server": "https://127.0.0.1:9"}}],
                "users": [{"name": "none", "user": {"token": "none"}}],
                "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
                "current-context": "none",
            }
        )
    )
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    ended = command("run", tiny_file, "--store", tmp_path / "store", "--on", "kubernetes")
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert "kubernetes: " in ended.stderr


@pytest.mark.parametrize("path", sorted((DEPLOY / "slurm").glob("*.sbatch")), ids=lambda path: path.name)
def test_batch_scripts_are_shell(path):
    assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0


def test_the_container_file(command, tmp_path):
    """No engine builds it here: its instructions, what it copies, and the command that it runs once installed."""
    text = re.sub(r"\\\n", " ", (DEPLOY / "container/Containerfile").read_text())
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert {name for name, _ in lines} <= {"FROM", "COPY", "RUN", "ENV", "USER", "WORKDIR", "CMD"}
    assert lines[0][0] == "FROM"
    for source in (s for name, rest in lines if name == "COPY" for s in shlex.split(rest)[:-1]):
        assert (ROOT / source).exists()
    (user,) = [rest for name, rest in lines if name == "USER"]
    assert user.split(":")[0] != "0"
    runs = [shlex.split(rest) for name, rest in lines if name == "RUN"]
    assert [words[0] for words in runs] == ["pip", "mfstudy"]
    assert command(*runs[1][1:]).returncode == 0
