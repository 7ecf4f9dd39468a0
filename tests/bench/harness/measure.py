"""One run: a fresh server, the load, what goes on meanwhile, one line of JSON; everything ended by pid."""
import contextlib
import dataclasses
import json
import pathlib
import subprocess
import tempfile

from . import disturb, processes
from .processes import Failed

BENCH = pathlib.Path(__file__).resolve().parents[1]
FAULTS = ("malformed", "foreign", "repeated", "lost", "refused")
START_S = 20
LOAD_S = 300   # the longest that a load may take
COMPANY = 0.1  # of the server's CPU; with more for others the figures say little
UNABLE = 3     # bench_load's exit code for what a server cannot do at all


class Unable(Exception):
    """The server has nothing that the row could measure."""


@dataclasses.dataclass
class Result:
    """What a run says: figures, or the fault, or that it cannot be; and why to doubt the figures."""
    figures: dict = dataclasses.field(default_factory=dict)
    unable: bool = False
    fault: str = ""
    doubt: str = ""


def flags(load):
    """{"per_user": 3, "spin": True} as --per-user 3 --spin."""
    words = []
    for name, value in load.items():
        words += ["--" + name.replace("_", "-")] + ([] if value is True else [str(value)])
    return words


class Run:
    """One case, once. Entered it has a server that accepts connections."""

    def __init__(self, place, row, case, load):
        self.row, self.case, self.load = row, case, load
        self.entry = place.servers[case.server]
        self.cpus, self.bench_load = place.cpus, place.bench_load
        self.ports = processes.free_ports()
        self.stack = contextlib.ExitStack()
        self.tmp = self.server = None

    def log(self, name):
        """Where a process' stderr goes."""
        return self.tmp / (name + ".log")

    def start(self, name, argv, cpu, nice=0, stdout=subprocess.DEVNULL):
        """A process whose stderr goes to a log."""
        with self.log(name).open("wb") as log:
            return processes.Process(argv, cpu if self.cpus.pinned else None, nice, stdout, log)

    def __enter__(self):
        self.tmp = pathlib.Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        options = [option.format(**vars(self.ports)) for option in self.case.options]
        self.server = self.start("server", self.entry.start(self.ports, self.tmp) + options, self.cpus.server)
        self.stack.callback(self.server.stop)
        try:
            processes.wait_until(lambda: processes.accepts(getattr(self.ports, self.entry.listens)), self.server, START_S,
                                 f"{self.entry.name} accepts connections")
        except BaseException as error:
            message = processes.last_line(self.log("server"))
            self.stack.close()
            raise Failed(f"{error}: {message}") if isinstance(error, Failed) else error
        return self

    def __exit__(self, *_):
        self.stack.close()

    def measure(self):
        """The load's figures."""
        program = [str(BENCH / self.row.load_program)] if self.row.load_program else [self.bench_load, self.row.scenario]
        argv = [*program, *self.entry.load_arguments(self.ports), *flags(self.load), "--pid", str(self.server.pid)]
        # Beside another load on the same CPU it must measure the server, not the scheduler.
        nice = -15 if self.row.group == "fairness" else 0
        load = self.start("load", argv, self.cpus.load, nice, subprocess.PIPE)
        try:
            out, _ = load.process.communicate(timeout=LOAD_S)
        except subprocess.TimeoutExpired:
            raise Failed(f"the load was not done within {LOAD_S} s") from None
        finally:
            load.stop()
            load.process.stdout.close()
        return self.judge(load.wait(0), out.decode())

    def judge(self, code, out):
        """Figures from the load's line; Failed when it says that something was wrong."""
        if code == UNABLE:
            raise Unable
        if not out.strip():
            raise Failed(f"{processes.last_line(self.log('load'))} (exit code {code})")
        figures = json.loads(out)
        if code != 0:
            raise Failed(", ".join(f"{figures[name]:,} {name}" for name in FAULTS if figures[name]) or f"exit code {code}")
        missing = [figure.key for figure in self.row.figures if figure.key not in figures]
        if missing:
            raise Failed("the load did not tell " + ", ".join(missing))
        return figures

    def finish(self):
        """The server must have lived until now, and leave as it should."""
        alive, code, expected = self.server.is_alive(), self.server.stop(), self.entry.exit_codes
        # /drain leaves the bridge running.
        if not alive or (expected is not None and code not in expected):
            raise Failed(f"{self.entry.name} ended {'with' if alive else 'early with'} exit code {code}: "
                         f"{processes.last_line(self.log('server'))}")


def doubts_of(share, company):
    """Why the figures are not to be believed. share: of the disturbance's rate; company: on the server's CPU."""
    doubts = []
    if share is not None and share < disturb.ENOUGH:
        doubts.append(f"the disturbance reached only {share:.0%} of its rate")
    if company > COMPANY:
        doubts.append(f"others had {company:.0%} of the server's CPU")
    return "; ".join(doubts)


def run_once(place, row, case, load):
    """Start, measure, stop. What goes wrong is the result's fault."""
    if not place.servers[case.server].is_installed():
        return Result(unable=True)
    try:
        with Run(place, row, case, load) as run:
            with disturb.KINDS[case.disturbance](run) as disturbance:
                company = processes.Company(run.server.pid, place.cpus.server)
                figures = run.measure()
                share = disturbance.share(figures)
                company = company.share() if place.cpus.pinned else 0
            run.finish()
            figures |= {"disturbance_share": share, "company_share": company}
            return Result(figures, doubt=doubts_of(share, company))
    except Unable:
        return Result(unable=True)
    except Failed as error:
        return Result(fault=str(error))
    except OSError as error:
        return Result(fault=f"{type(error).__name__}: {error}")
