"""Prometheus text (0.0.4) as a dictionary."""
import re

PREFIX = "agentbridge_"
_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def parse(text):
    """{(name, frozenset of (label, value)): value}; a line that is no sample or comment is an error."""
    samples = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        match = _SAMPLE.match(line)
        assert match, f"not a sample: {line!r}"
        key = (match[1], frozenset(_LABEL.findall(match[2] or "")))
        assert key not in samples, f"sample stands there twice: {line!r}"
        samples[key] = float(match[3])
    return samples


def families(text):
    """{name: type} of the `# TYPE` lines."""
    return dict(line.split()[2:4] for line in text.splitlines() if line.startswith("# TYPE "))


def value(samples, name, **labels):
    """One sample, the name without prefix; 0 for a label that has not been seen yet, KeyError for an unknown name."""
    full = name if name.startswith("process_") else PREFIX + name
    key = (full, frozenset(labels.items()))
    if key not in samples and not any(other == full for other, _ in samples):
        raise KeyError(full)
    return samples.get(key, 0.0)


def total(samples, name):
    """The sum of all samples of one name."""
    return sum(number for (other, _), number in samples.items() if other == PREFIX + name)
