"""A bridge whose Nth allocation fails (preload/no_memory.c)."""
import itertools
import mmap
import pathlib
import shutil
import struct
import subprocess
import tempfile

SOURCE = pathlib.Path(__file__).resolve().parents[1] / "preload" / "no_memory.c"
_LEFT, _MADE, _FAILED = 0, 8, 16


class NoMemory:
    """The library, built anew, and the numbers that it shares with one bridge. `with` arms it."""

    def __init__(self):
        self._directory = pathlib.Path(tempfile.mkdtemp(prefix="flow-no-memory-"))
        library = self._directory / "no_memory.so"
        subprocess.run(["cc", "-std=c17", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", "-shared", "-fPIC",
                        "-o", library, SOURCE, "-ldl"], check=True)
        control = self._directory / "control"
        control.write_bytes(bytes(24))
        with control.open("r+b") as file:
            self._numbers = mmap.mmap(file.fileno(), 24)
        self.env = {"LD_PRELOAD": str(library), "NO_MEMORY_CONTROL": str(control),
                    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=1:verify_asan_link_order=0"}
        self.number = 0
        self.hit = False  # did the last armed failure come?

    def _get(self, at):
        return struct.unpack_from("=Q", self._numbers, at)[0]

    def _arm(self, number):
        struct.pack_into("=Q", self._numbers, _LEFT, number)

    @property
    def made(self):
        """Allocations so far."""
        return self._get(_MADE)

    @property
    def failed(self):
        """Those of them that failed."""
        return self._get(_FAILED)

    def walk(self, step=1):
        """Again and again, so that in the `with` of the first turn the first allocation fails, in that of the next turn
        the second, and so on until one ends before the failure is reached."""
        for self.number in itertools.count(1, step):
            assert self.number < 10000, "the walk has no end"
            self.hit = None
            yield self.number
            assert self.hit is not None, "a turn without its `with`"
            if not self.hit:
                return

    def __enter__(self):
        self._arm(self.number)
        return self

    def __exit__(self, *_):
        self.hit = self._get(_LEFT) == 0
        self._arm(0)

    def close(self):
        """Remove what was built."""
        self._numbers.close()
        shutil.rmtree(self._directory, ignore_errors=True)
