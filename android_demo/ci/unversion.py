"""Drops a library's symbol versions: Android's C library calls them LIBC, Linux's GLIBC_2.x.

In the ELF file's dynamic section the entries that lead to the versions are given a tag that no
loader knows.
"""

import struct

PT_DYNAMIC = 2
# DT_VERSYM, DT_VERDEF, DT_VERDEFNUM, DT_VERNEED, DT_VERNEEDNUM
VERSIONS = {0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFD, 0x6FFFFFFE, 0x6FFFFFFF}
UNKNOWN = 0x6ABCDEF0


def without_symbol_versions(elf64: bytes) -> bytes:
    data = bytearray(elf64)
    (headers,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    for at in range(headers, headers + size * count, size):
        kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", data, at)
        if kind == PT_DYNAMIC:
            for entry in range(offset, offset + length, 16):
                if struct.unpack_from("<Q", data, entry)[0] in VERSIONS:
                    struct.pack_into("<Q", data, entry, UNKNOWN)
    return bytes(data)
