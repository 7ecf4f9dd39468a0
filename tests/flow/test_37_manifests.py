"""The manifests: they render, fit the schemas, fit one another and the bridge."""
import base64
import copy
import fcntl
import json
import re
import shutil

import pytest
from harness import run_program
from harness.bridge import clean_env
from harness.manifests import EXAMPLES, K8S, named, only, pod_spec, render, run, sidecar
from harness.tables import ROOT, metrics, options

CONFIGS = {"component": K8S / "component", "dev": EXAMPLES["dev"], "production": EXAMPLES["production"]}
LINK = "/run/agentbridge"
MIB = 1024 * 1024
BASE = {"ConfigMap", "Deployment", "NetworkPolicy", "Service"}
KINDS = {
    "example": BASE | {"HorizontalPodAutoscaler", "Ingress", "PodDisruptionBudget", "PodMonitor"},
    "dev": BASE | {"Namespace", "Secret"},
    "production": BASE | {"HorizontalPodAutoscaler", "Ingress", "Namespace", "PodDisruptionBudget", "PodMonitor"},
}


@pytest.fixture(name="objects", scope="module", params=sorted(EXAMPLES))
def objects_fixture(request):
    """(name, what it renders to)."""
    return request.param, render(EXAMPLES[request.param])


def settings(text):
    """{option: value} of a configuration file."""
    return dict(re.findall(r'^([a-z0-9-]+) = "([^"]*)"$', text, re.M))


def config_of(objects):
    """The options in the rendered ConfigMap."""
    return settings(only(objects, "ConfigMap")["data"]["agentbridge.cfg"])


# --- configuration -------------------------------------------------------------------------------------------------

@pytest.fixture(name="key_files")
def key_files_fixture(tmp_path):
    """Flags in place of the paths that only a Pod has."""
    (tmp_path / "current").write_text("s" * 32)
    (tmp_path / "previous").write_text("")
    return {"jwt_secret_file": tmp_path / "current", "jwt_secret_previous_file": tmp_path / "previous"}


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_configuration(name, key_files):
    """The bridge takes every line of the file, and what it says is in force."""
    file = CONFIGS[name] / "agentbridge.cfg"
    wanted = settings(file.read_text())
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    assert len(wanted) == len(lines) and set(wanted) <= {option.name for option in options()}
    checked = run_program("check-config", config=file, **key_files)
    assert (checked.returncode, checked.stderr) == (0, "")
    in_force = settings(checked.stdout)
    of_the_pod = {"jwt-secret-file", "jwt-secret-previous-file"}
    assert of_the_pod <= set(wanted)
    for option in set(wanted) - of_the_pod:
        assert in_force[option] == wanted[option], option


def test_faulty_configuration_is_seen(tmp_path, key_files):
    """What test_configuration leans on: an option that does not exist is refused."""
    file = tmp_path / "agentbridge.cfg"
    file.write_text((CONFIGS["component"] / "agentbridge.cfg").read_text() + 'max-conections = "1"\n')
    checked = run_program("check-config", config=file, **key_files)
    assert checked.returncode == 2 and "max-conections" in checked.stderr


@pytest.mark.parametrize("name, environment", [("component", "production"), ("dev", "development"),
                                               ("production", "production")])
def test_environments(name, environment, key_files):
    """Production makes no tokens and takes no bypass; development does."""
    file = CONFIGS[name] / "agentbridge.cfg"
    assert settings(file.read_text())["environment"] == environment
    expected = 2 if environment == "production" else 0
    assert run_program("token", "--user", "alice", config=file, **key_files).returncode == expected
    checked = run_program("check-config", config=file, e2e_bypass_key="k" * 16, **key_files)
    assert checked.returncode == expected and "k" * 16 not in checked.stdout + checked.stderr


def test_configuration_rolls_out(objects):
    """The ConfigMap's name tells its content, and the Pod names it: another configuration makes other Pods."""
    _, found = objects
    name = only(found, "ConfigMap")["metadata"]["name"]
    assert re.fullmatch(r"agentbridge-[a-z0-9]{10}", name)
    assert named(pod_spec(found)["volumes"], "agentbridge-config")["configMap"] == {"name": name}
    assert len({only(render(folder), "ConfigMap")["metadata"]["name"] for folder in EXAMPLES.values()}) == 3


def test_keys(objects):
    """The Secret keeps its name, so that running bridges see its change; only development brings one along."""
    name, found = objects
    spec = pod_spec(found)
    secret = {"secretName": "agentbridge-keys", "defaultMode": 0o440, "optional": True}
    assert named(spec["volumes"], "agentbridge-keys")["secret"] == secret
    mount = named(sidecar(spec)["volumeMounts"], "agentbridge-keys")
    assert mount == {"name": "agentbridge-keys", "mountPath": "/etc/agentbridge/keys", "readOnly": True}
    config = config_of(found)
    files = {config[option] for option in ("jwt-secret-file", "jwt-secret-previous-file")}
    assert files == {"/etc/agentbridge/keys/jwt-secret", "/etc/agentbridge/keys/jwt-secret-previous"}
    if name == "dev":
        secret = only(found, "Secret")
        assert secret["metadata"]["name"] == "agentbridge-keys"
        assert {f"/etc/agentbridge/keys/{key}" for key in secret["data"]} == files
        assert base64.b64decode(secret["data"]["jwt-secret-previous"]) == b""


# --- what is rendered ----------------------------------------------------------------------------------------------

def test_kinds(objects):
    """Every object that the example promises, and nothing else; what only the component needs does not show."""
    name, found = objects
    assert sorted(each["kind"] for each in found) == sorted(KINDS[name])
    namespaces = {each["metadata"].get("namespace") for each in found if each["kind"] != "Namespace"}
    assert namespaces == {{"example": None, "dev": "agents-dev", "production": "agents"}[name]}


@pytest.fixture(name="judge", scope="module")
def judge_fixture():
    """Faults that k8s/schemas/check.js finds in objects; its packages are fetched once for all processes."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node and npm are not installed")
    source, folder = K8S / "schemas", ROOT / "build" / "schemas"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        install(source, folder)

    def judge(found):
        judged = run(["node", source / "check.js"], input=json.dumps(found), cwd=folder)
        assert judged.stderr == "" and judged.returncode == bool(judged.stdout), judged
        return judged.stdout.splitlines()
    return judge


def install(source, folder):
    """The packages of the lock file, unless they are there."""
    done, wanted = folder / ".installed", (source / "package-lock.json").read_text()
    if done.exists() and done.read_text() == wanted:
        return
    for name in ("package.json", "package-lock.json"):
        shutil.copy(source / name, folder)
    fetched = run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=folder)
    if fetched.returncode != 0:
        pytest.skip(f"the npm packages of k8s/schemas cannot be had: {fetched.stderr[-200:]}")
    done.write_text(wanted)


def test_schemas(judge):
    """All of them fit; unknown fields, missing ones and wrong types would be seen."""
    found = [each for folder in EXAMPLES.values() for each in render(folder)]
    faulty = copy.deepcopy(render(EXAMPLES["production"]))
    bridge = sidecar(pod_spec(faulty))
    bridge["startupProbe"]["periodSecond"] = 1
    bridge["ports"][0]["containerPort"] = "8080"
    del only(faulty, "HorizontalPodAutoscaler")["spec"]["maxReplicas"]
    only(faulty, "PodMonitor")["spec"]["podMetricsEndpoints"][0]["intervall"] = "1s"
    for each in faulty:
        each["metadata"]["name"] = "faulty"
    faults = judge(found + faulty)
    assert {fault.split(":")[0] for fault in faults} == {"Deployment faulty", "HorizontalPodAutoscaler faulty",
                                                         "PodMonitor faulty"}
    for text in ("'\"periodSecond\"' does not exist", "containerPort must be integer",
                 "/spec must have required property maxReplicas", "'\"intervall\"' does not exist"):
        assert text in "\n".join(faults), faults


# --- the sidecar ---------------------------------------------------------------------------------------------------

def test_native_sidecar(objects):
    """An init container that stays, with three probes by HTTP on the admin port; startup needs no runtime."""
    _, found = objects
    bridge = sidecar(pod_spec(found))
    assert bridge["restartPolicy"] == "Always" and bridge["args"][:2] == ["serve", "--config"]
    assert {port["name"]: port["containerPort"] for port in bridge["ports"]} == {"ws": 8080, "admin": 9090}
    probes = {kind: bridge[kind]["httpGet"] for kind in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert probes == {"startupProbe": {"path": "/startupz", "port": "admin"},
                      "readinessProbe": {"path": "/readyz", "port": "admin"},
                      "livenessProbe": {"path": "/livez", "port": "admin"}}
    assert "image" in bridge and not bridge["image"].endswith(":latest") and ":" in bridge["image"]


def test_link(objects):
    """Both sides have the folder of the sockets, in memory, and call them by the same names."""
    _, found = objects
    spec, config = pod_spec(found), config_of(found)
    assert named(spec["volumes"], "agentbridge-link")["emptyDir"] == {"medium": "Memory", "sizeLimit": "1Mi"}
    for container in spec["containers"] + spec["initContainers"]:
        assert named(container["volumeMounts"], "agentbridge-link")["mountPath"] == LINK
    assert config["runtime-commands"] == f">ipc://{LINK}/commands"
    assert config["runtime-events"] == f">ipc://{LINK}/events"
    assert named(spec["containers"], "runtime")["args"] == [f"--commands=ipc://{LINK}/commands",
                                                           f"--events=ipc://{LINK}/events"]


def hook(container):
    """The command of preStop."""
    return container["lifecycle"]["preStop"]["exec"]["command"]


def test_budget_of_a_drain(objects):
    """drain-timeout-s < what the hooks wait < grace, which leaves the runtime its ten seconds; no shell is needed."""
    _, found = objects
    spec = pod_spec(found)
    command = hook(sidecar(spec))
    assert command[:-1] == ["/usr/bin/agentbridge", "drain", "--admin", "127.0.0.1:9090", "--timeout-s"]
    waits = int(command[-1])
    of_the_runtime = hook(named(spec["containers"], "runtime"))
    assert of_the_runtime[:2] == ["/usr/bin/python3", "-c"]
    assert int(re.search(r"timeout=(\d+)\)$", of_the_runtime[2]).group(1)) == waits
    assert int(config_of(found)["drain-timeout-s"]) + 2 <= waits
    assert waits + 10 + 2 <= spec["terminationGracePeriodSeconds"]


def test_memory(objects):
    """By k8s/README.md: the request holds process, connections and history, the limit 256 full queues too."""
    _, found = objects
    config, resources = config_of(found), sidecar(pod_spec(found))["resources"]
    process, connection, history = 16 * MIB, 2.42 * 1024, 1.11
    held = process + int(config["max-connections"]) * connection + int(config["history-total-bytes"]) * history
    request, limit = (int(resources[kind]["memory"].removesuffix("Mi")) * MIB for kind in ("requests", "limits"))
    queue = int(next(option.default for option in options() if option.name == "queue-bytes"))
    assert held <= request and held + 256 * queue <= limit
    assert "cpu" not in resources["limits"]


VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def restricted_faults(spec):
    """What Kubernetes' Pod Security Standard `restricted` would refuse."""
    pod = spec["securityContext"]
    if spec.get("hostNetwork") or spec.get("hostPID") or spec.get("hostIPC"):
        yield "host namespaces"
    if not pod.get("runAsNonRoot") or pod.get("runAsUser") == 0:
        yield "root"
    if pod.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "seccomp"
    for volume in spec["volumes"]:
        if not set(volume) - {"name"} <= VOLUMES:
            yield f"volume {volume['name']}"
    for container in spec["containers"] + spec["initContainers"]:
        own = container.get("securityContext", {})
        if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
            yield f"{container['name']}: privileges"
        if own.get("capabilities") != {"drop": ["ALL"]}:
            yield f"{container['name']}: capabilities"
        if own.get("readOnlyRootFilesystem") is not True:
            yield f"{container['name']}: writable root"


def test_restricted(objects):
    """The Pod is one that a namespace with `restricted` takes, and such are the namespaces of the overlays."""
    name, found = objects
    assert not list(restricted_faults(pod_spec(found)))
    if name != "example":
        labels = only(found, "Namespace")["metadata"]["labels"]
        assert labels == {"pod-security.kubernetes.io/enforce": "restricted"}


# --- the objects around it -----------------------------------------------------------------------------------------

def test_selectors(objects):
    """Whatever chooses Pods chooses the example's, and no others of the namespace."""
    _, found = objects
    labels = only(found, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert labels == {"app.kubernetes.io/name": "agent"}
    assert only(found, "Service")["spec"]["selector"] == labels
    assert only(found, "NetworkPolicy")["spec"]["podSelector"] == {"matchLabels": labels}
    for each in found:
        if each["kind"] in ("Deployment", "PodDisruptionBudget", "PodMonitor"):
            assert each["spec"]["selector"] == {"matchLabels": labels}, each["kind"]


def test_network_policy(objects):
    """The public port is open; the admin port for monitoring alone."""
    _, found = objects
    spec = only(found, "NetworkPolicy")["spec"]
    monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    assert spec["policyTypes"] == ["Ingress"]
    assert spec["ingress"] == [{"ports": [{"port": 8080, "protocol": "TCP"}]},
                               {"from": [monitoring], "ports": [{"port": 9090, "protocol": "TCP"}]}]


def test_ports(objects):
    """Service to sidecar, Ingress to Service, monitoring to the admin port."""
    name, found = objects
    bridge = sidecar(pod_spec(found))
    port, = only(found, "Service")["spec"]["ports"]
    assert port["targetPort"] == named(bridge["ports"], "ws")["containerPort"]
    if name == "dev":
        return
    endpoint, = only(found, "PodMonitor")["spec"]["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == (named(bridge["ports"], "admin")["name"], "/metrics")
    ingress = only(found, "Ingress")
    path, = ingress["spec"]["rules"][0]["http"]["paths"]
    service = {"name": only(found, "Service")["metadata"]["name"], "port": {"name": port["name"]}}
    assert path["backend"]["service"] == service


def test_ingress_outlives_silence(objects, key_files):
    """A proxy that cuts silent connections must bear the time between two pings and the wait for the pong."""
    name, found = objects
    if name == "dev":
        assert not [each for each in found if each["kind"] == "Ingress"]
        return
    checked = run_program("check-config", config=CONFIGS["production"] / "agentbridge.cfg", **key_files)
    in_force = settings(checked.stdout)
    longest = int(in_force["ping-interval-s"]) + int(in_force["pong-timeout-s"])
    ingress = only(found, "Ingress")
    for kind in ("read", "send"):
        assert int(ingress["metadata"]["annotations"][f"nginx.ingress.kubernetes.io/proxy-{kind}-timeout"]) > longest
    paths = [path["path"] for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]]
    assert set(paths) <= set(in_force["ws-paths"].split(","))


def test_autoscaler(objects):
    """It scales the Deployment, which names no number itself, by a metric that exists, long before a bridge is full."""
    name, found = objects
    deployment = only(found, "Deployment")
    if name == "dev":
        assert deployment["spec"]["replicas"] == 1
        return
    spec = only(found, "HorizontalPodAutoscaler")["spec"]
    assert "replicas" not in deployment["spec"]
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment["metadata"]["name"]}
    assert spec["scaleTargetRef"] == target
    pods = spec["metrics"][0]["pods"]
    assert pods["metric"]["name"].removeprefix("agentbridge_") in {metric.name for metric in metrics()}
    assert int(pods["target"]["averageValue"]) * 2 <= int(config_of(found)["max-connections"])
    assert spec["minReplicas"] > only(found, "PodDisruptionBudget")["spec"]["maxUnavailable"]


# --- the component -------------------------------------------------------------------------------------------------

FOREIGN = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: one}
spec:
  selector: {matchLabels: {app: one}}
  template:
    metadata: {labels: {app: one}}
    spec:
      initContainers: [{name: migrate, image: "migrate:1"}]
      containers:
        - {name: web, image: "web:1"}
        - {name: log, image: "log:1", volumeMounts: [{name: spool, mountPath: /spool}]}
      volumes: [{name: spool, emptyDir: {}}]
---
{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "two"}, "spec": {"selector": {"matchLabels": {"app":
 "two"}}, "template": {"metadata": {"labels": {"app": "two"}}, "spec": {"containers": [{"name": "any", "image": "two:1"}]}}}}
"""


def test_component_fits_any_deployment(tmp_path):
    """Several Deployments, as YAML or JSON, containers of any name, with and without mounts: nothing is lost."""
    folder = tmp_path / "app"
    shutil.copytree(K8S / "component", tmp_path / "component")
    folder.mkdir()
    (folder / "deployments.yaml").write_text(FOREIGN)
    (folder / "kustomization.yaml").write_text("resources: [deployments.yaml]\ncomponents: [../component]\n")
    found = render(folder)
    assert sorted(each["kind"] for each in found) == ["ConfigMap", "Deployment", "Deployment"]
    one, two = (each["spec"]["template"]["spec"] for each in found if each["kind"] == "Deployment")
    assert [each["name"] for each in one["initContainers"]] == ["agentbridge", "migrate"]
    assert [each["name"] for each in two["initContainers"]] == ["agentbridge"]
    link, spool = {"name": "agentbridge-link", "mountPath": LINK}, {"name": "spool", "mountPath": "/spool"}
    assert [each["volumeMounts"] for each in one["containers"]] == [[link], [spool, link]]
    assert [each["volumeMounts"] for each in two["containers"]] == [[link]]
    volumes = {"agentbridge-link", "agentbridge-config", "agentbridge-keys"}
    assert {each["name"] for each in one["volumes"]} == volumes | {"spool"}
    assert {each["name"] for each in two["volumes"]} == volumes
    assert sidecar(one) == sidecar(two)


# --- programs and documents ----------------------------------------------------------------------------------------

def test_containerfile_installs_what_a_build_wants(tmp_path):
    """The packages that the Containerfile takes from .ci/packages: the purpose `build`, of alternatives the older name."""
    command = re.search(r"\$\((sed -n .*)\) \\", (K8S / "Containerfile").read_text()).group(1)
    packages = tmp_path / "packages"
    packages.write_text("# text\nbuild cmake gcc\ntest no\nbuild new-dev|old-dev\n")
    listed = run(["sh", "-c", command.replace("/tmp/packages", str(packages))], env=clean_env())
    assert listed.stdout.split() == ["cmake", "gcc", "old-dev"]
    assert "COPY .ci/packages /tmp/packages" in (K8S / "Containerfile").read_text()


def test_versions_agree():
    """Images, manifests and Containerfiles name the version of this checkout."""
    version = re.search(r"project \(agentbridge VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text()).group(1)
    for folder in EXAMPLES.values():
        spec = pod_spec(render(folder))
        for container in spec["containers"] + spec["initContainers"]:
            assert container["image"].endswith(":" + version)
    for file in ("Containerfile", "demo-agent/Containerfile"):
        assert f"ARG VERSION={version}\n" in (K8S / file).read_text()
