"""What an entry of servers.py offers."""
import shutil


class Server:
    """An entry. `wire` is bench_load's --wire. `ports` has one free port by each of the names in processes.PORTS."""
    name = wire = ""
    program = ""      # what must be in PATH
    exit_codes = None  # with which it may leave after SIGTERM; None: any
    without = ()      # names of rows that it has no part in
    listens = "public"  # the port that takes connections once it is up

    def is_installed(self):
        """Can it be started here?"""
        return shutil.which(self.program) is not None

    def version(self):
        """For the head line; None: nothing to say."""
        return None

    def start(self, ports, tmp):
        """The command line (list) that runs it in the foreground; what files it needs are written into `tmp` (Path)."""
        raise NotImplementedError

    def load_arguments(self, ports):
        """What bench_load must be told of it, beside its process."""
        return ["--wire", self.wire, "--server", f"127.0.0.1:{ports.public}"]
