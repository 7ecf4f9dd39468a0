"""What a program file says of its own hardening: ELF, 64 bits, little-endian, read by hand."""
import collections
import pathlib
import struct

Segment = collections.namedtuple("Segment", "kind flags offset address file_size memory_size")

LOAD, DYNAMIC, INTERP, GNU_STACK, GNU_RELRO = 1, 2, 3, 0x6474e551, 0x6474e552
EXECUTE, WRITE, READ = 1, 2, 4
SHARED = 3          # e_type of a position-independent program
X86_64 = 62
_NEEDED_TAGS = {"strtab": 5, "symtab": 6, "flags": 30, "flags_1": 0x6ffffffb, "rpath": 15, "runpath": 29, "textrel": 22}
BIND_NOW, NOW_1, PIE_1 = 8, 1, 0x08000000


class Elf:
    """One program file."""

    def __init__(self, path):
        self.bytes = pathlib.Path(path).read_bytes()
        assert self.bytes[:6] == b"\x7fELF\x02\x01", "not a 64-bit little-endian ELF"
        self.type, self.machine = struct.unpack_from("<HH", self.bytes, 16)
        start, = struct.unpack_from("<Q", self.bytes, 32)
        size, count = struct.unpack_from("<HH", self.bytes, 54)
        self.segments = [self._segment(start + i * size) for i in range(count)]
        self.dynamic = self._dynamic()

    def _segment(self, at):
        kind, flags, offset, address, _, file_size, memory_size, _ = struct.unpack_from("<IIQQQQQQ", self.bytes, at)
        return Segment(kind, flags, offset, address, file_size, memory_size)

    def of_kind(self, kind):
        """The segments of one kind."""
        return [segment for segment in self.segments if segment.kind == kind]

    def _dynamic(self):
        segment, = self.of_kind(DYNAMIC)
        return dict(struct.iter_unpack("<QQ", self.bytes[segment.offset:segment.offset + segment.file_size]))

    def tag(self, name):
        """The value of a tag of the dynamic section; None when it has none."""
        return self.dynamic.get(_NEEDED_TAGS[name])

    def _offset(self, address):
        for segment in self.of_kind(LOAD):
            if segment.address <= address < segment.address + segment.file_size:
                return address - segment.address + segment.offset
        raise AssertionError(f"{address:#x} is in no segment")

    def imports(self):
        """Names of the symbols that other libraries have to bring."""
        names, at = self._offset(self.tag("strtab")), self._offset(self.tag("symtab"))
        found = set()
        while at < names:  # the table of strings follows that of the symbols
            name, _, _, section = struct.unpack_from("<IBBH", self.bytes, at)
            if name and section == 0:
                found.add(self.bytes[names + name:self.bytes.index(b"\0", names + name)].decode())
            at += 24
        return found
