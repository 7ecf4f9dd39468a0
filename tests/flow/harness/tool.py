"""A tool of the program as a process: its lines as they come, its standard input, its end."""
import json
import signal
import subprocess
import threading

from .bridge import binary, clean_env
from .timing import scaled


class Tool:
    """`agentbridge COMMAND ...`, started. `stdin` None: what the test writes; else a descriptor or subprocess.DEVNULL."""

    def __init__(self, *words, env=None, stdin=None, stdout=None):
        self.out = []   # lines of standard output
        self.err = []   # lines of standard error
        self._changed = threading.Condition()
        self.process = subprocess.Popen([binary(), *map(str, words)], env=clean_env(env),
                                        stdin=subprocess.PIPE if stdin is None else stdin,
                                        stdout=stdout or subprocess.PIPE, stderr=subprocess.PIPE)
        pairs = [(self.process.stderr, self.err)] + ([(self.process.stdout, self.out)] if stdout is None else [])
        self._readers = [threading.Thread(target=self._read, args=pair, daemon=True) for pair in pairs]
        for reader in self._readers:
            reader.start()

    def _read(self, stream, lines):
        for raw in stream:
            with self._changed:
                lines.append(raw.decode("utf-8", "surrogateescape").rstrip("\n"))
                self._changed.notify_all()
        stream.close()
        with self._changed:
            self._changed.notify_all()

    # what a test does

    def write(self, text):
        """To its standard input."""
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def end_input(self):
        """Its standard input ends."""
        self.process.stdin.close()

    def interrupt(self):
        """As Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def kill(self):
        """SIGKILL, if it is still there."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    # what a test sees

    def _first(self, lines, word):
        return next((line for line in lines if word in line), None)

    def _wait(self, lines, word, timeout):
        with self._changed:
            self._changed.wait_for(lambda: self._first(lines, word) or not any(r.is_alive() for r in self._readers),
                                   scaled(timeout))
        line = self._first(lines, word)
        assert line is not None, f"no line with {word!r} within {scaled(timeout):g} s; {self.tail()}"
        return line

    def wait_out(self, word, timeout=10):
        """The first line of standard output with this word in it."""
        return self._wait(self.out, word, timeout)

    def wait_err(self, word, timeout=10):
        """The same for standard error."""
        return self._wait(self.err, word, timeout)

    def wait_exit(self, timeout=10):
        """Its exit code, once all that it wrote is here."""
        try:
            code = self.process.wait(scaled(timeout))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the tool did not end within {scaled(timeout):g} s; {self.tail()}") from None
        for reader in self._readers:
            reader.join(scaled(5))
        return code

    def messages(self):
        """The lines of --json."""
        return [json.loads(line) for line in self.out]

    def tail(self):
        """The last lines, for messages."""
        return "\n".join(["stdout ends with:", *self.out[-15:], "stderr ends with:", *self.err[-15:]])

    def finish(self):
        """End of a test."""
        self.kill()
        for reader in self._readers:
            reader.join(scaled(5))
        if self.process.stdin and not self.process.stdin.closed:
            try:
                self.process.stdin.close()
            except BrokenPipeError:
                pass
        assert not self._first(self.err, "Sanitizer"), self.tail()
