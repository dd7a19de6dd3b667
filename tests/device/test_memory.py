"""Memory that is freed stays with the process that asked for it."""

import subprocess
import sys

import pytest

FRAMES = """
import ctypes, resource, sys, threading
from keras_bisenet.runtime.memory import keep_freed_memory

if not hasattr(ctypes.CDLL(None), "mallopt"):
    sys.exit("another C library")
if "keep" in sys.argv:
    keep_freed_memory()
malloc, free, fill = ctypes.CDLL(None).malloc, ctypes.CDLL(None).free, ctypes.CDLL(None).memset
malloc.restype, malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
free.argtypes, fill.argtypes = [ctypes.c_void_p], [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]

def frame():
    held = [malloc(4 << 20) for _ in range(3)]  # a picture of 1280x720 in Pillow takes so much
    for place in held:
        fill(place, 1, 4 << 20)
    for place in held:
        free(place)

def work():
    for _ in range(5):
        frame()
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    for _ in range(20):
        frame()
    print(resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before)

thread = threading.Thread(target=work, daemon=True)
thread.start()
thread.join()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_freed_frames_are_not_fetched_from_the_system_again():
    def pages(*asked) -> int:
        done = subprocess.run(
            [sys.executable, "-c", FRAMES, *asked], capture_output=True, text=True, timeout=60
        )
        if "another C library" in done.stderr:
            pytest.skip("no glibc here")
        return int(done.stdout)

    # 12 MB are 3072 pages.
    assert pages() > 20 * 500 and pages("keep") < 500
