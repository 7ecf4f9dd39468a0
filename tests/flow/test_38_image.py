"""The image: what is in it, and its Pod with the demo agent under a real container runtime."""
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import tempfile

import pytest
from harness import scaled, wait_until
from harness.bridge import binary
from harness.manifests import EXAMPLES, K8S, SIDECAR, named, only, pod_spec, render, run, sidecar, yaml_module
from harness.tables import ROOT

NONROOT = 65532
TOOLS = {"podman": "podman", "buildah": "buildah", "runc": "runc", "catatonit": "catatonit", "nsenter": "util-linux"}
OURS = (125, 126)  # exit codes with which podman says that it, not the program, has failed
ASK = ROOT / "bindings" / "python" / "demo_agent" / "ask.py"

pytestmark = [pytest.mark.long, pytest.mark.skipif(os.environ.get("AGENTBRIDGE_BUILD", "release") != "release",
                                                   reason="the image is made of the release build")]


def allowed(kind, wanted):
    """A limit of the containers that this machine grants."""
    hard = resource.getrlimit(kind)[1]
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


class Engine:
    """podman and buildah with a store of their own, so that nothing of the machine's is touched."""

    def __init__(self, folder):
        self.folder = folder
        self.store = ["--root", folder / "store", "--runroot", folder / "run", "--storage-driver", "vfs"]
        files, processes = allowed(resource.RLIMIT_NOFILE, 4096), allowed(resource.RLIMIT_NPROC, 4096)
        config = folder / "containers.conf"
        config.write_text('[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n[containers]\n'
                          f'default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]\n')
        self.env = {**os.environ, "CONTAINERS_CONF": str(config)}

    def podman(self, *words):
        """Run podman: returncode, stdout, stderr."""
        return run(["podman", "--runtime", "runc", *self.store, *words], env=self.env)

    def ask(self, *words):
        """What podman prints; it must succeed."""
        done = self.podman(*words)
        assert done.returncode == 0, done
        return done.stdout

    def begin(self, *words):
        """A podman that goes on beside the test."""
        command = ["podman", "--runtime", "runc", *self.store, *words]
        return subprocess.Popen([str(word) for word in command], env=self.env, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def build(self, *words):
        """k8s/build-image; the image's name."""
        built = run([K8S / "build-image", *words, "--", *self.store])
        assert built.returncode == 0, built
        return built.stdout.splitlines()[-1]

    def close(self):
        """Nothing stays."""
        self.podman("pod", "rm", "--all", "--force")
        self.podman("image", "unmount", "--all")
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(name="engine")
def engine_fixture():
    """Skips where containers cannot be run at all."""
    missing = [package for tool, package in TOOLS.items() if not shutil.which(tool) and not found_by_podman(tool)]
    if missing:
        pytest.skip(f"not installed: {' '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("not root: the engine's folders and the Pod's network want it")
    engine = Engine(new_folder())
    tried = run(["buildah", *engine.store, "from", "scratch"])
    if tried.returncode != 0:
        engine.close()
        pytest.skip(f"buildah does not work here: {tried.stderr.strip()[-200:]}")
    yield engine
    engine.close()


def new_folder():
    """In memory when there is room; in any case with a name that podman bears, which is of 50 bytes at most."""
    memory = "/dev/shm"
    roomy = os.path.isdir(memory) and shutil.disk_usage(memory).free > 2 << 30
    return pathlib.Path(tempfile.mkdtemp(prefix="image-", dir=memory if roomy else "/tmp"))


def found_by_podman(tool):
    """podman looks for its helpers beside PATH too."""
    return any(pathlib.Path(folder, tool).exists() for folder in ("/usr/libexec/podman", "/usr/lib/podman"))


# --- the image -----------------------------------------------------------------------------------------------------

def check_image(engine, image):
    """Small, of the user 65532, labelled, started without words."""
    about, = json.loads(engine.ask("image", "inspect", image))
    config = about["Config"]
    assert about["Size"] < 40_000_000
    assert config["User"] == f"{NONROOT}:{NONROOT}"
    assert config["Entrypoint"] + config["Cmd"] == ["/usr/bin/agentbridge", "serve"]
    assert set(config["ExposedPorts"]) == {"8080/tcp", "9090/tcp"}
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    version = run([binary(), "--version"]).stdout.split()[1]
    assert (labels["title"], labels["licenses"], labels["version"]) == ("agentbridge", "Apache-2.0", version)
    assert labels["description"] and len(labels["revision"]) == 40


def check_files(root):
    """The program with what nothing links to it, no shell, and papers of everything."""
    assert (root / "usr/bin").is_dir() and [file.name for file in (root / "usr/bin").iterdir()] == ["agentbridge"]
    assert list(root.glob("usr/lib/*/libwebsockets-evlib_uv.so"))
    assert (root / "etc/ssl/certs/ca-certificates.crt").read_text().count("BEGIN CERTIFICATE") > 50
    assert f"nonroot:x:{NONROOT}:{NONROOT}:" in (root / "etc/passwd").read_text()
    papers = {file.name: file.read_text() for file in (root / "var/lib/dpkg/status.d").iterdir()}
    packages = {name.removesuffix("t64") for name in papers}  # as later releases call some
    assert {"libc6", "libssl3", "ca-certificates", "libwebsockets-evlib-uv"} <= packages
    assert all(text.startswith("Package: ") and "\nVersion: " in text for text in papers.values())
    assert (root / "usr/share/doc/agentbridge/copyright").read_text() == (ROOT / "LICENSE").read_text()
    writable = [file for file in root.rglob("*") if not file.is_symlink() and file.stat().st_mode & 0o6002]
    assert writable == [root / "tmp"]


def make_images(engine):
    """{what the manifests call them: what they are here}; skips when even --version cannot be run."""
    images = {SIDECAR: engine.build("--binary", binary()), "runtime": engine.build("demo-agent")}
    tried = engine.podman("run", "--rm", "--network", "none", "--read-only", images[SIDECAR], "--version")
    if tried.returncode in OURS:
        pytest.skip(f"podman runs no containers here: {tried.stderr.strip()[-200:]}")
    assert tried.stdout == run([binary(), "--version"]).stdout, tried
    return images


# --- the Pod -------------------------------------------------------------------------------------------------------

def plain(container, image):
    """A container as podman 4 takes it: it knows no native sidecars, and no probes over HTTP without curl."""
    dropped = ("restartPolicy", "lifecycle", "ports", "startupProbe", "readinessProbe", "livenessProbe")
    return {**{name: value for name, value in container.items() if name not in dropped}, "image": image}


def pod_of(objects, images):
    """The Pod of the Deployment, and what it mounts."""
    spec = pod_spec(objects)
    containers = [plain(sidecar(spec), images[SIDECAR]), plain(named(spec["containers"], "runtime"), images["runtime"])]
    named(spec["volumes"], "agentbridge-keys")["secret"]["optional"] = False  # podman 4.3 leaves out one that is
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "agent"},
           "spec": {**spec, "containers": containers, "initContainers": [], "restartPolicy": "Never"}}
    return [only(objects, "ConfigMap"), only(objects, "Secret"), pod]


class Pod:
    """The example's Pod, of the overlay for development, played without a network."""

    def __init__(self, engine, images):
        self.engine, self.objects = engine, render(EXAMPLES["dev"])
        file = engine.folder / "pod.yaml"
        file.write_text(yaml_module().safe_dump_all(pod_of(self.objects, images)))
        engine.ask("kube", "play", "--network", "none", file)
        names = [SIDECAR, "runtime"]
        pids = engine.ask("inspect", "--format", "{{.State.Pid}}", *(f"agent-{name}" for name in names))
        self.pids = dict(zip(names, map(int, pids.split())))

    def inside(self, *words):
        """A command of this machine in the Pod's network."""
        return ["nsenter", f"--net=/proc/{self.pids[SIDECAR]}/ns/net", *words]

    def get(self, path):
        """(status, body) of the admin port."""
        done = run(self.inside("/usr/bin/curl", "--silent", "--max-time", "10", "--write-out", "\n%{http_code}",
                               f"http://127.0.0.1:9090{path}"))
        body, _, status = done.stdout.rpartition("\n")
        return int(status or 0), body

    def wait_for(self, path):
        """Until it answers 200; what the containers say otherwise."""
        try:
            wait_until(lambda: self.get(path)[0] == 200, 30, f"{path} good")
        except AssertionError as late:
            raise AssertionError(self.engine.podman("pod", "logs", "agent")) from late

    def log(self):
        """The bridge's log lines."""
        return [json.loads(line) for line in self.engine.podman("logs", f"agent-{SIDECAR}").stderr.splitlines()]

    def hooks(self):
        """[(container, command)] of preStop."""
        spec = pod_spec(self.objects)
        both = [("runtime", named(spec["containers"], "runtime")), (SIDECAR, sidecar(spec))]
        return [(name, container["lifecycle"]["preStop"]["exec"]["command"]) for name, container in both]

    def exit_code(self, name):
        """SIGTERM, as the kubelet does; how it ended."""
        self.engine.ask("stop", "--time", "20", f"agent-{name}")
        return int(self.engine.ask("inspect", "--format", "{{.State.ExitCode}}", f"agent-{name}"))


def status_of(pid):
    """{field: value} of /proc/PID/status."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def check_confined(pid):
    """No root, no capability, no new privileges, system calls filtered, root file system read-only."""
    status = status_of(pid)
    assert set(status["Uid"].split()) == set(status["Gid"].split()) == {str(NONROOT)}
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert status["NoNewPrivs"] == "1"
    if "libseccomp" in run(["runc", "--version"]).stdout:
        assert status["Seccomp"] == "2"
    mounts = [line.split() for line in pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
    assert ["ro" in mount[5].split(",") for mount in mounts if mount[4] == "/"] == [True]


def token_of(pod, user):
    """A token by the program in the image, under the mounted configuration."""
    config = sidecar(pod_spec(pod.objects))["args"][2]
    return pod.engine.ask("exec", f"agent-{SIDECAR}", "/usr/bin/agentbridge", "token", "--config", config, "--user",
                          user).strip()


def begin_asking(pod, token):
    """The demo agent's client; it ends with 0 when the five events of a run came in order."""
    return subprocess.Popen(pod.inside("/usr/bin/python3", "-B", str(ASK), "--timeout-s", str(scaled(60))),
                            env={**os.environ, "ASK_TOKEN": token}, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT)


def check_answered(asking, printed=""):
    """To its end."""
    printed += asking.communicate(timeout=scaled(60))[0]
    assert asking.returncode == 0 and "(17 + 4) * 2 = 42" in printed and "all five events arrived" in printed, printed


def check_drained_with_a_run(pod, token):
    """Both hooks at once, as the kubelet begins them, in the middle of a run: it ends, then they do."""
    asking, printed = begin_asking(pod, token), ""
    while "agent_started" not in printed:
        line = asking.stdout.readline()
        assert line, printed
        printed += line
    os.kill(pod.pids["runtime"], signal.SIGSTOP)  # the run is in progress until the drain has begun
    hooks = [pod.engine.begin("exec", f"agent-{name}", *command) for name, command in pod.hooks()]
    try:
        wait_until(lambda: pod.get("/readyz")[0] == 503, 30, "the drain")
        assert pod.get("/livez")[0] == 200 and all(hook.poll() is None for hook in hooks)
    finally:
        os.kill(pod.pids["runtime"], signal.SIGCONT)
    check_answered(asking, printed)
    for hook in hooks:
        said = hook.communicate(timeout=scaled(60))[0]
        assert hook.returncode == 0, said


def check_log(log):
    """One drain, which began with one connection and one run and cut nobody."""
    told = [(line["id"], line.get("connections"), line.get("runs")) for line in log if line["id"].startswith("DRAIN_")]
    assert told == [("DRAIN_STARTED", 1, 1), ("DRAIN_DONE", None, None)]
    assert [line["connections_left"] for line in log if line["id"] == "STOPPED"] == [0]


def test_image_and_pod(engine):
    """From the packages of this machine to an image, to a Pod that answers, drains and leaves with 0."""
    images = make_images(engine)
    check_image(engine, images[SIDECAR])
    check_files(pathlib.Path(engine.ask("image", "mount", images[SIDECAR]).strip()))
    pod = Pod(engine, images)
    pod.wait_for("/startupz")
    pod.wait_for("/readyz")
    for pid in pod.pids.values():
        check_confined(pid)
    token = token_of(pod, "alice")
    check_answered(begin_asking(pod, token))
    check_drained_with_a_run(pod, token)
    assert (pod.exit_code("runtime"), pod.exit_code(SIDECAR)) == (0, 0)
    check_log(pod.log())
