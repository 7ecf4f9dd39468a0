"""What the figures were measured on."""
import os
import pathlib
import platform
import re
import subprocess


def cpu_model():
    """As the kernel names it."""
    found = re.search(r"^model name\s*:\s*(.+)$", pathlib.Path("/proc/cpuinfo").read_text("utf-8"), re.M)
    return found[1] if found else platform.machine()


def first_line(*argv, cwd=None):
    """What a program says; empty when it cannot be run."""
    try:
        out = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=10, check=False).stdout
    except OSError:
        return ""
    return out.splitlines()[0] if out else ""


def facts(top, entries, cpus):
    """{name: text} for the head line and --json."""
    versions = {entry.name: entry.version() for entry in entries}
    return {"cpu": cpu_model(), "cores": cpus.n, "kernel": platform.release(),
            "commit": first_line("git", "describe", "--always", "--dirty", cwd=top),
            "versions": {name: version for name, version in versions.items() if version},
            "load average": " ".join(f"{one:.2f}" for one in os.getloadavg()), "pinning": str(cpus)}


def head_line(known):
    """The same as one line."""
    versions = ", ".join(f"{name} {version}" for name, version in known["versions"].items())
    return (f"{known['cpu']}, {known['cores']} cores, Linux {known['kernel']}; {versions or 'no versions'}, "
            f"commit {known['commit'] or 'unknown'}; load average {known['load average']}; {known['pinning']}")
