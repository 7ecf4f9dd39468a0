"""The manifests of k8s/ as Kustomize renders them."""
import copy
import functools
import shutil
import subprocess

import pytest

from .tables import ROOT
from .timing import scaled

K8S = ROOT / "k8s"
OVERLAYS = K8S / "example" / "overlays"
EXAMPLES = {"example": K8S / "example", "dev": OVERLAYS / "dev", "production": OVERLAYS / "production"}
SIDECAR = "agentbridge"


def yaml_module():
    """PyYAML; skips without it."""
    return pytest.importorskip("yaml", reason="PyYAML is not installed (python3-yaml)")


def run(command, **more):
    """Run to its end: returncode, stdout, stderr."""
    return subprocess.run([str(word) for word in command], text=True, capture_output=True, check=False,
                          timeout=scaled(120), **more)


@functools.cache
def kustomize():
    """The command that renders a folder; skips when there is none that knows components."""
    if shutil.which("kustomize"):
        return ["kustomize", "build"]
    if not shutil.which("kubectl"):
        pytest.skip("neither kubectl nor kustomize is installed")
    version = run(["kubectl", "version", "--client"]).stdout
    if "Kustomize Version: v5" not in version:
        pytest.skip("this kubectl has no Kustomize 5: it knows no components with replacements")
    return ["kubectl", "kustomize"]


@functools.cache
def _rendered(folder):
    rendered = run([*kustomize(), folder])
    assert rendered.returncode == 0, rendered.stderr
    return [each for each in yaml_module().safe_load_all(rendered.stdout) if each]


def render(folder):
    """The objects that a folder makes."""
    return copy.deepcopy(_rendered(folder))


def only(objects, kind):
    """The one object of this kind."""
    found = [each for each in objects if each["kind"] == kind]
    assert len(found) == 1, f"{len(found)} objects of the kind {kind}"
    return found[0]


def pod_spec(objects):
    """What the Deployment makes."""
    return only(objects, "Deployment")["spec"]["template"]["spec"]


def named(entries, name):
    """The entry of a list that has this name."""
    return next(entry for entry in entries if entry["name"] == name)


def sidecar(spec):
    """The bridge's container."""
    return named(spec["initContainers"], SIDECAR)
