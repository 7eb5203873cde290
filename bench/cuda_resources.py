# SPDX-License-Identifier: Apache-2.0
"""What the CUDA kernels ask of a GPU, as the compiler says: no GPU is needed.

Compiles every csrc/*_cuda.cu for the architectures of a release and to PTX, fails where a kernel
spills registers or has a stack frame, and prints registers a thread, shared memory a block and
occupancy (the share of a processor's threads that can be at work at once) of the launches that
matter. ``--write`` puts the table into bench/README.md.
"""

import argparse
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ["-std=c++17", "-O3", "-fmad=false", "-Xptxas", "-v"]
# Of one multiprocessor: threads, blocks, bytes of shared memory for all its blocks and for one.
ARCHITECTURES = {
    "sm_80": (2048, 32, 164 << 10, 163 << 10),
    "sm_90": (2048, 32, 228 << 10, 227 << 10),
    "sm_100": (2048, 32, 228 << 10, 227 << 10),
    "sm_120": (1536, 24, 100 << 10, 99 << 10),
}
REGISTERS, RESERVED_SHARED = 1 << 16, 1 << 10
PTX = "compute_120"
BEGIN, END = "<!-- cuda resources -->", "<!-- end of cuda resources -->"
LAUNCHES = ROOT / "bench" / "cuda_launches.txt"


def find_nvcc() -> str:
    """The CUDA compiler: $CUDACXX, on PATH, or where CUDA usually lies."""
    for candidate in (os.environ.get("CUDACXX"), "nvcc", "/usr/local/cuda/bin/nvcc"):
        if candidate and (path := shutil.which(candidate)):
            return path
    sys.exit("cuda_resources: no CUDA compiler; install one, or set CUDACXX")


def compiled(nvcc: str, source: Path, architecture: str, folder: Path) -> dict[str, tuple]:
    """Registers, bytes of stack and of spills of each kernel, by its demangled name."""
    out = folder / f"{source.stem}-{architecture}.o"
    if architecture.startswith("compute"):
        command = [nvcc, *FLAGS[:3], "-ptx", f"-arch={architecture}", str(source), "-o", str(out)]
        subprocess.run(command, check=True)
        return {}
    command = [nvcc, *FLAGS, f"-arch={architecture}", "-c", str(source), "-o", str(out)]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode or "warning" in run.stderr:
        sys.exit(f"cuda_resources: {source.name} for {architecture}:\n{run.stdout}{run.stderr}")
    found = re.findall(
        r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
        r"(\d+) bytes spill loads.*?Used (\d+) registers",
        run.stderr,
        re.DOTALL,
    )
    names = subprocess.run(
        ["c++filt"], input="\n".join(f[0] for f in found), stdout=subprocess.PIPE, text=True
    ).stdout.split("\n")
    return {
        short(name): (int(registers), int(stack), int(stores) + int(loads))
        for name, (_, stack, stores, loads, registers) in zip(names, found)
    }


STEPS = {
    "1, 0, -1, 1": "Mobius",
    "1, 0, 1, 1": "Zeta",
    "1, -1, 0, 1": "SupersetMobius",
    "1, 1, 0, 1": "SupersetZeta",
    "0, 1, 1, -1": "ComplementMobius",
    "1, 1, 0, -1": "AndToOr",
    "1, 0, 1, -1": "AndToOrTransposed",
}


def short(name: str) -> str:
    """A kernel's name without namespaces, parameters and what its template says twice."""
    name = re.sub(r"jaxinter::|\(anonymous namespace\)::|^void ", "", name)
    name = re.sub(r"SignStep<([^>]*)>", lambda m: STEPS.get(m[1], m[0]), name)
    return name[: name.index(">(") + 1] if ">(" in name else name.split("(")[0]


def occupancy(architecture: str, registers: int, threads: int, shared: int) -> float:
    """Of a processor's threads; 0 where a block does not fit."""
    most_threads, most_blocks, shared_of_all, shared_of_one = ARCHITECTURES[architecture]
    of_warp = math.ceil(registers * 32 / 256) * 256
    warps = math.ceil(threads / 32)
    by_registers = REGISTERS // of_warp // warps
    by_shared = shared_of_all // (shared + RESERVED_SHARED) if shared <= shared_of_one else 0
    blocks = min(most_blocks, most_threads // (warps * 32), by_registers, by_shared)
    return blocks * warps * 32 / most_threads


def launches() -> list[tuple[str, str, int, int]]:
    """What is launched (cuda_launches.txt): label, kernel, threads and bytes of shared memory."""
    rows = []
    for line in LAUNCHES.read_text().splitlines():
        if line and not line.startswith("#"):
            label, kernel, threads, shared = (part.strip() for part in line.split("|"))
            rows.append((label, kernel, int(threads), int(shared)))
    return rows


def table(resources: dict[str, dict[str, tuple]]) -> str:
    lines = [
        "| launch | threads | shared memory | "
        + " | ".join(f"{a} registers, occupancy" for a in ARCHITECTURES)
        + " |",
        "|---|---|---|" + "---|" * len(ARCHITECTURES),
    ]
    for label, kernel, threads, shared in launches():
        cells = []
        for architecture, kernels in resources.items():
            matching = [values for name, values in kernels.items() if re.fullmatch(kernel, name)]
            if not matching:
                sys.exit(f"cuda_resources: no kernel of {architecture} is {kernel}")
            registers = max(values[0] for values in matching)
            share = occupancy(architecture, registers, threads, shared)
            cells.append(f"{registers}, {share:.0%}" if share else f"{registers}, smaller")
        size = f"{shared / 1024:.1f} KiB" if shared else "none"
        lines.append(f"| {label} | {threads} | {size} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help="put the table into bench/README.md")
    arguments = parser.parse_args()
    nvcc, sources = find_nvcc(), sorted((ROOT / "csrc").glob("*_cuda.cu"))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [(s, a) for a in (*ARCHITECTURES, PTX) for s in sources]
        found = list(pool.map(lambda job: compiled(nvcc, *job, Path(folder)), jobs))
    resources: dict[str, dict[str, tuple]] = {a: {} for a in ARCHITECTURES}
    for (_, architecture), kernels in zip(jobs, found):
        if kernels:
            resources[architecture] |= kernels
    bad = [
        f"{name} on {architecture}: {stack} bytes of stack, {spilled} bytes spilled"
        for architecture, kernels in resources.items()
        for name, (_, stack, spilled) in kernels.items()
        if stack or spilled
    ]
    version = subprocess.run([nvcc, "--version"], capture_output=True, text=True).stdout
    release = re.search(r"release (\S+),", version)
    count = len(resources["sm_90"])
    text = table(resources)
    print(f"{count} kernels, nvcc {release[1] if release else '?'}, and PTX for {PTX}\n\n{text}")
    if bad:
        sys.exit("cuda_resources: spilled registers or stack frames\n" + "\n".join(bad))
    if arguments.write:
        readme = ROOT / "bench" / "README.md"
        before, rest = readme.read_text().split(BEGIN)
        after = rest.split(END)[1]
        readme.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


if __name__ == "__main__":
    main()
