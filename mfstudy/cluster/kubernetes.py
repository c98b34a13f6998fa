"""Pods of a Kubernetes cluster that runs Dask's operator. The driver is a pod, too: see deploy/kubernetes."""

from __future__ import annotations

import base64
import math
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from distributed import Client

from mfstudy.cluster import _workers
from mfstudy.cluster._tls import Tls, private
from mfstudy.cluster._workers import EngineError, Workers

#: Where pods find the keys of a run.
KEYS = "/keys"
#: Seconds that a scheduler's pod may take, its image included.
START = 300
#: Seconds without work after which the operator deletes what a killed driver has left.
IDLE = 900
API = "kubernetes.dask.org/v1"
#: What the scheduler serves without TLS: its health, and what the operator asks in order to scale; no code, no pages.
_ROUTES = (
    "DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES",
    "['distributed.http.scheduler.api', 'distributed.http.health']",
)


@dataclass(frozen=True)
class Kubernetes:
    """A scheduler and one pod a worker, with TLS by keys made for the run; lost pods are replaced.

    Parameters
    ----------
    image : str
        Container with this version of mfstudy, the same as the driver's.
    claim : str
        The persistent volume claim with the stores, which all pods mount.
    mount : str
        Where they mount it; the driver's pod likewise.
    namespace : str
    minimum, maximum : int
        Workers: as few and as many as the work asks for.
    cpu, memory : str
        Of a pod.
    tls : table, optional
        ca, cert and key in place of the keys made for the run.
    """

    part: ClassVar[tuple[int, int] | None] = None
    image: str
    claim: str
    mount: str = "/studies"
    namespace: str = "default"
    minimum: int = field(default=1, metadata={"minimum": 0})
    maximum: int = field(default=16, metadata={"minimum": 1, "maximum": 1024})
    cpu: str = "1"
    memory: str = "2Gi"
    tls: Tls | None = field(default=None, metadata={"table": Tls})

    def __post_init__(self) -> None:
        """Refuse bounds in the wrong order."""
        if self.minimum > self.maximum:
            raise ValueError(f"minimum: {self.minimum} is not allowed; allowed: at most maximum = {self.maximum}")

    def check(self, insecure: bool) -> None:
        """Refuse to go on without dask-kubernetes."""
        _workers.need("dask_kubernetes", "kubernetes")

    def capacity(self, memory: float) -> int:
        """Return `maximum`."""
        del memory
        return self.maximum

    @contextmanager
    def workers(self, count: int) -> Iterator[Workers]:
        """Have the operator start a scheduler and workers, connect; delete them on leaving."""
        name = f"mfstudy-{uuid.uuid4().hex[:8]}"
        with private(self.tls) as (_, tls), ExitStack() as created:
            self._create(name, tls, count, created)
            client = self._connected(name, tls, created)
            _workers.wait(client, lambda: None, math.inf)
            yield Workers(client, _workers.Answering(client), count)

    def address(self, name: str) -> str:
        """Return where a cluster's scheduler listens, inside Kubernetes."""
        return f"tls://{name}-scheduler.{self.namespace}.svc:8786"

    def _create(self, name: str, tls: Tls, count: int, created: ExitStack) -> None:
        import kr8s
        from kr8s.objects import object_from_spec

        try:
            api = kr8s.api(namespace=self.namespace)
            api.timeout = _workers.ANSWER
            owner: dict[str, Any] | None = None
            for table in self.objects(name, tls, count):
                if owner is not None:  # goes with the cluster, also where a killed driver cannot delete it
                    table["metadata"]["ownerReferences"] = [owner]
                made = object_from_spec(table, api=api, allow_unknown_type=True)
                made.create()
                if owner is None:
                    created.callback(_delete, made)
                    owner = {"apiVersion": API, "kind": "DaskCluster", "name": name, "uid": made.metadata["uid"]}
        except Exception as error:  # of the library, of httpx below it, of the user's own configuration
            raise EngineError(f"kubernetes: {_workers.reason(error)}") from error

    def _connected(self, name: str, tls: Tls, created: ExitStack) -> Client:
        """Try until the scheduler's pod is up."""
        deadline = time.monotonic() + START
        while True:
            try:
                return created.enter_context(_workers.existing(self.address(name), tls.security))
            except EngineError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(2)

    def objects(self, name: str, tls: Tls, count: int) -> list[dict[str, Any]]:
        """Return what is created, first what owns the rest: cluster, keys, autoscaler."""
        texts = {f"{key}.pem": Path(tls.path(key)).read_bytes() for key in ("ca", "cert", "key")}
        bounds = {"cluster": name, "minimum": min(self.minimum, count), "maximum": count}
        tables: list[dict[str, Any]] = [
            self._cluster(name, min(self.minimum, count)),
            {"apiVersion": "v1", "kind": "Secret", "type": "Opaque"},
            {"apiVersion": API, "kind": "DaskAutoscaler", "spec": bounds},
        ]
        tables[1]["data"] = {key: base64.b64encode(text).decode() for key, text in texts.items()}
        return [{**table, "metadata": {"name": name, "namespace": self.namespace}} for table in tables]

    def _cluster(self, name: str, count: int) -> dict[str, Any]:
        from dask_kubernetes.operator import make_cluster_spec

        files = {"ca-file": f"{KEYS}/ca.pem", "cert": f"{KEYS}/cert.pem", "key": f"{KEYS}/key.pem"}
        words = _workers.worker_words("python", self.address(name), "/tmp", files)
        resources = {kind: {"cpu": self.cpu, "memory": self.memory} for kind in ("requests", "limits")}
        table: dict[str, Any] = make_cluster_spec(
            name,
            image=self.image,
            n_workers=count,
            resources=resources,
            env=_workers.ONE_THREAD,
            idle_timeout=IDLE,
        )
        pods = {role: table["spec"][role]["spec"] for role in ("scheduler", "worker")}
        options = [word for key, path in files.items() for word in (f"--tls-{key}", path)]
        scheduler = ["python", "-m", "distributed.cli.dask_scheduler", "--protocol", "tls", "--port", "8786", *options]
        pods["scheduler"]["containers"][0]["args"] = [*scheduler, "--no-dashboard"]
        pods["scheduler"]["containers"][0]["env"] = [{"name": _ROUTES[0], "value": _ROUTES[1]}]
        pods["worker"]["containers"][0]["args"] = [*words, "--name", "$(DASK_WORKER_NAME)"]
        del pods["worker"]["containers"][0]["ports"]  # a worker's pages stay in its pod
        for pod in pods.values():
            self._mounted(pod, name)
        return table

    def _mounted(self, pod: dict[str, Any], keys: str) -> None:
        """Give a pod the stores and the keys, and no more rights than it needs."""
        pod["volumes"] = [
            {"name": "studies", "persistentVolumeClaim": {"claimName": self.claim}},
            {"name": "keys", "secret": {"secretName": keys, "defaultMode": 0o440}},
        ]
        pod["securityContext"] = {"runAsNonRoot": True, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000}
        pod["automountServiceAccountToken"] = False
        (container,) = pod["containers"]
        container["volumeMounts"] = [
            {"name": "studies", "mountPath": self.mount},
            {"name": "keys", "mountPath": KEYS, "readOnly": True},
        ]
        container["securityContext"] = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def _delete(made: Any) -> None:
    with suppress(Exception):  # the operator deletes what is idle
        made.delete()
