"""The thin library that the papers share. Importing it, before torch and numpy, chooses one arithmetic.

torch, MKL, oneDNN, OpenBLAS, numpy and numba choose their kernels by the make of the processor; the last bit of a
product then differs, and training makes another model of it. With these settings every x86-64 processor that has AVX2
computes the same bits, on one thread (the same seed with one and two threads gives other weights, too). What a
machine really computes is told by :mod:`lib.workflow.arithmetic`, and stands in every result.
"""

import os
import platform
import sys
from pathlib import Path

THREADS = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
KERNELS = {
    "ATEN_CPU_CAPABILITY": "avx2",
    # AVX2 kernels of MKL differ between the makes; of its branches only this one is the same on all (its makers say so)
    "MKL_CBWR": "COMPATIBLE",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+avx2,+fma",
}
# numpy names what is left out, and complains about names that the processor does not have.
NUMPY_WITHOUT_AVX512 = {"NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR"}
NEEDED = {"avx2", "fma", "f16c", "bmi1", "bmi2", "movbe"}


def _processor() -> set[str]:
    """Instruction sets of an x86-64 processor, as Linux names them; empty where they cannot be read."""
    information = Path("/proc/cpuinfo")
    if platform.machine() not in ("x86_64", "AMD64") or not information.is_file():
        return set()
    lines = (line for line in information.read_text().splitlines() if line.startswith("flags"))
    return set(next(lines, "").partition(":")[2].split())


def arithmetic_settings() -> dict[str, str]:
    """Environment variables of the one arithmetic on this processor: threads, and kernels where it has AVX2.

    ``REPRISE_ARITHMETIC=machine`` leaves the kernels to the machine.
    """
    has = _processor()
    if not has >= NEEDED or os.environ.get("REPRISE_ARITHMETIC") == "machine":
        return dict(THREADS)
    return THREADS | KERNELS | (NUMPY_WITHOUT_AVX512 if "avx512f" in has else {})


def _choose_arithmetic() -> None:
    """Set the kernels that are not set yet: whoever sets one himself wants another arithmetic, and gets it.

    Threads and ``OPENBLAS_CORETYPE`` are set over: schedulers and machine images set them, for reasons of their own.
    """
    for name, value in arithmetic_settings().items():
        if name in THREADS or name == "OPENBLAS_CORETYPE":
            os.environ[name] = value
        os.environ.setdefault(name, value)


#: Libraries that were imported before this one, and so keep the kernels of their choice.
IMPORTED_BEFORE = tuple(name for name in ("numpy", "torch") if name in sys.modules)
_choose_arithmetic()
