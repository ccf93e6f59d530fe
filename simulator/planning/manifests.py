"""Manifests: a deployment for Kubernetes, from the command that starts one replica. What only the
cluster knows is marked.

Field names were read in: Kubernetes apps/v1; vllm-project/production-stack helm/values.yaml; KServe
serving.kserve.io/v1alpha2 LLMInferenceService; LeaderWorkerSet leaderworkerset.x-k8s.io/v1;
llm-d-modelservice values.yaml (2026-11).
"""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Callable
from typing import Any

from simulator import catalog
from simulator.errors import NotModelled, SimulatorError
from simulator.results.model import DeploymentResult, RunResult

FILL_IN = "FILL-IN"
_PORT = 8000
_GPUS_OF_A_NODE = 8
_STACK_FLAGS = (
    "--max-model-len",
    "--max-num-seqs",
    "--gpu-memory-utilization",
    "--tensor-parallel-size",
)
_SWITCHES = tuple(
    f"--{no}enable-{what}" for no in ("", "no-") for what in ("prefix-caching", "chunked-prefill")
)
_NO_START = ("does not fit", "max_model_len exceeds KV", "cannot run")


def manifest(run: RunResult, d: DeploymentResult, kind: str) -> str:
    """A deployment as one of MANIFESTS. Raises SimulatorError where it would not start, or where no
    checkpoint is known."""
    if d.pools:
        raise NotModelled(f"{d.name}: manifests of a prefill and a decode pool are not written")
    if kind not in MANIFESTS:
        raise SimulatorError(f"unknown manifest '{kind}'; there are {', '.join(MANIFESTS)}")
    if d.verdict in _NO_START:
        raise SimulatorError(f"{d.name} would not start, and no manifest is written: {d.reason}")
    if not run.engine.startswith("vllm-"):
        raise SimulatorError(f"manifests are written for vLLM, and {d.name} runs {run.engine}")
    if (checkpoint := run.checkpoint_of(d)).startswith("<"):
        raise SimulatorError(
            f"{d.name}: name the checkpoint to serve as the model: {checkpoint[1:-1]}"
        )
    parts = MANIFESTS[kind](run, d)
    return _header(run, d) + "---\n".join(_yaml(part) for part in parts)


def _header(run: RunResult, d: DeploymentResult) -> str:
    lines = [f"{d.name}: {d.wording}", f"simulated: {d.verdict}. {d.reason}"]
    if d.memory and d.memory.outcome == "may_not_start":
        lines.append("It may not start: the memory plan's margin is smaller than its error.")
    lines.append(f"Fill in what is marked {FILL_IN}: only your cluster knows it.")
    return "".join(f"# {line}\n" for text in lines for line in text.splitlines())


def _yaml(part: dict[str, Any]) -> str:
    from ruamel.yaml import YAML

    text = io.StringIO()
    writer = YAML()
    writer.width = 120
    writer.dump(part, text)
    return text.getvalue()


def _name(run: RunResult, d: DeploymentResult) -> str:
    """A name that Kubernetes takes: lower-case letters, digits and dashes, at most 63 of them."""
    return re.sub(r"[^a-z0-9]+", "-", f"{run.name}-{d.name}".lower()).strip("-")[:63].rstrip("-")


def _args(d: DeploymentResult) -> list[str]:
    """The words behind `vllm serve`, the checkpoint first."""
    words = shlex.split(d.serve_command, comments=True)
    return words[words.index("serve") + 1 :]


def _env(d: DeploymentResult) -> list[dict[str, Any]]:
    words = shlex.split(d.serve_command, comments=True)
    set_ = [word.partition("=") for word in words[: words.index("vllm")]]
    token = {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": FILL_IN, "key": "token"}}}
    return [token, *({"name": name, "value": value} for name, _, value in set_)]


def _resource(d: DeploymentResult) -> str:
    """What a node offers the GPU as, by its vendor."""
    try:
        vendor = catalog.gpu(d.gpu).vendor
    except SimulatorError:
        return FILL_IN
    return {"nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu"}.get(vendor, FILL_IN)


def _per_replica(d: DeploymentResult) -> int:
    return d.gpus // d.replicas


def _resources(d: DeploymentResult, gpus: int) -> dict[str, Any]:
    amounts = {_resource(d): str(gpus)}
    return {"limits": amounts, "requests": {"cpu": FILL_IN, "memory": FILL_IN, **amounts}}


def _image(run: RunResult) -> str:
    return f"vllm/vllm-openai:v{run.engine.removeprefix('vllm-').split(' ')[0]}"


def _container(run: RunResult, d: DeploymentResult, gpus: int) -> dict[str, Any]:
    return {
        "name": "vllm",
        "image": _image(run),
        "args": _args(d),
        "env": _env(d),
        "ports": [{"containerPort": _PORT, "name": "http"}],
        "resources": _resources(d, gpus),
        "readinessProbe": _probe(every_s=5, tries=3),
        "startupProbe": _probe(every_s=10, tries=180),
        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],
    }


def _probe(every_s: int, tries: int) -> dict[str, Any]:
    asked = {"path": "/health", "port": "http"}
    return {"httpGet": asked, "periodSeconds": every_s, "failureThreshold": tries}


def _pod(run: RunResult, d: DeploymentResult, gpus: int) -> dict[str, Any]:
    return {
        "nodeSelector": {FILL_IN: f"{FILL_IN}: the label of nodes with {d.gpu}"},
        "containers": [_container(run, d, gpus)],
        "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory"}}],
    }


def _one_node(d: DeploymentResult, kind: str) -> None:
    if _per_replica(d) > _GPUS_OF_A_NODE:
        raise SimulatorError(
            f"{d.name} takes {_per_replica(d)} GPUs a replica, more than the {_GPUS_OF_A_NODE} of "
            f"a node: {kind} is of one "
            "node; write leaderworkerset"
        )


def _deployment(run: RunResult, d: DeploymentResult) -> list[dict[str, Any]]:
    _one_node(d, "a Deployment")
    name = _name(run, d)
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": _pod(run, d, _per_replica(d))}
    service = {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}
    spec = {"replicas": d.replicas, "selector": {"matchLabels": labels}, "template": template}
    return [
        _object("apps/v1", "Deployment", {"name": name, "labels": labels}, spec),
        _object("v1", "Service", {"name": name}, service),
    ]


def _object(version: str, kind: str, metadata: dict[str, Any], spec: Any) -> dict[str, Any]:
    """An object as Kubernetes takes it."""
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def _production_stack(run: RunResult, d: DeploymentResult) -> list[dict[str, Any]]:
    _one_node(d, "production-stack")
    repository, _, tag = _image(run).partition(":")
    model = {
        "name": _name(run, d),
        "repository": repository,
        "tag": tag,
        "modelURL": run.checkpoint_of(d),
        "replicaCount": d.replicas,
        "requestCPU": FILL_IN,
        "requestMemory": FILL_IN,
        "requestGPU": _per_replica(d),
        "requestGPUType": _resource(d),
        "vllmConfig": _stack_config(d),
        "hf_token": FILL_IN,
    }
    return [{"servingEngineSpec": {"modelSpec": [model]}}]


def _stack_config(d: DeploymentResult) -> dict[str, Any]:
    """The engine arguments under production-stack's names, and the flags it has no name for."""
    args = d.memory.args if d.memory else {}
    return {
        "enablePrefixCaching": bool(args.get("enable_prefix_caching")),
        "enableChunkedPrefill": bool(args.get("enable_chunked_prefill")),
        "maxModelLen": args.get("max_model_len"),
        "maxNumSeqs": args.get("max_num_seqs"),
        "gpuMemoryUtilization": args.get("gpu_memory_utilization"),
        "tensorParallelSize": args.get("tensor_parallel_size", 1),
        "extraArgs": _without(_args(d)[1:], _STACK_FLAGS),
    }


def _without(words: list[str], flags: tuple[str, ...]) -> list[str]:
    """The words without some flags and their values, and without the switches that have fields of
    their own."""
    kept, rest = [], iter(words)
    for word in rest:
        if word in flags:
            next(rest, None)
        elif word not in _SWITCHES:
            kept.append(word)
    return kept


def _kserve(run: RunResult, d: DeploymentResult) -> list[dict[str, Any]]:
    _one_node(d, "this LLMInferenceService")
    gpus = _per_replica(d)
    container = {**_container(run, d, gpus), "name": "main", "args": _args(d)[1:]}
    spec = {
        "model": {"uri": f"hf://{run.checkpoint_of(d)}", "name": run.checkpoint_of(d)},
        "replicas": d.replicas,
        "parallelism": _parallelism(d),
        "router": {"route": {}, "gateway": {}, "scheduler": {}},
        "template": {**_pod(run, d, gpus), "containers": [container]},
    }
    spec = {key: value for key, value in spec.items() if value != {}}
    metadata = {"name": _name(run, d)}
    return [_object("serving.kserve.io/v1alpha2", "LLMInferenceService", metadata, spec)]


def _parallelism(d: DeploymentResult) -> dict[str, int]:
    """How many GPUs each kind of parallelism spreads a model over, where that is more than one."""
    args = d.memory.args if d.memory else {}
    kinds = ("tensor", "pipeline", "data")
    sizes = {kind: int(args.get(f"{kind}_parallel_size") or 1) for kind in kinds}
    return {kind: size for kind, size in sizes.items() if size > 1}


def _leader_worker_set(run: RunResult, d: DeploymentResult) -> list[dict[str, Any]]:
    nodes, gpus = _nodes_of(d)
    leader, worker = _pod(run, d, gpus), _pod(run, d, gpus)
    if nodes > 1:
        _join_nodes(leader["containers"][0], worker["containers"][0], nodes)
    templates = {"leaderTemplate": {"spec": leader}, "workerTemplate": {"spec": worker}}
    spec = {"replicas": d.replicas, "leaderWorkerTemplate": {"size": nodes, **templates}}
    metadata = {"name": _name(run, d)}
    return [_object("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", metadata, spec)]


def _nodes_of(d: DeploymentResult) -> tuple[int, int]:
    """The nodes of a replica, and the GPUs of each. Raises SimulatorError where they are uneven."""
    total = _per_replica(d)
    nodes = -(-total // _GPUS_OF_A_NODE)
    if total % nodes:
        uneven = f"{total} GPUs a replica do not go evenly onto nodes of {_GPUS_OF_A_NODE}"
        raise SimulatorError(f"{d.name}: {uneven}")
    return nodes, total // nodes


def _join_nodes(leader: dict[str, Any], worker: dict[str, Any], nodes: int) -> None:
    """Tell the containers of several nodes of each other; only the leader is asked for anything."""
    address = ["--master-addr", "$(LWS_LEADER_ADDRESS)"]
    for container, rank in ((leader, "0"), (worker, "$(LWS_WORKER_INDEX)")):
        container["args"] += ["--nnodes", str(nodes), "--node-rank", rank, *address]
    worker["args"].append("--headless")
    for probe in ("readinessProbe", "startupProbe", "ports"):
        del worker[probe]


def _llm_d(run: RunResult, d: DeploymentResult) -> list[dict[str, Any]]:
    _one_node(d, "this modelservice")
    checkpoint = run.checkpoint_of(d)
    decode = {
        "create": True,
        "replicas": d.replicas,
        "parallelism": {"tensor": 1, "data": 1, **_tensor_and_data(d)},
        "containers": [_llm_d_container(run, d)],
    }
    model = {"name": checkpoint, "uri": f"hf://{checkpoint}", "size": FILL_IN}
    return [{"modelArtifacts": model, "decode": decode, "prefill": {"create": False}}]


def _tensor_and_data(d: DeploymentResult) -> dict[str, int]:
    return {kind: size for kind, size in _parallelism(d).items() if kind in ("tensor", "data")}


def _llm_d_container(run: RunResult, d: DeploymentResult) -> dict[str, Any]:
    return {
        "name": "vllm",
        "image": _image(run),
        "modelCommand": "vllmServe",
        "args": _args(d)[1:],
        "resources": _resources(d, _per_replica(d)),
        "mountModelVolume": True,
    }


MANIFESTS: dict[str, Callable[[RunResult, DeploymentResult], list[dict[str, Any]]]] = {
    "kubernetes": _deployment,
    "production-stack": _production_stack,
    "kserve": _kserve,
    "leaderworkerset": _leader_worker_set,
    "llm-d-modelservice": _llm_d,
}
