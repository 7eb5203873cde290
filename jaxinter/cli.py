# SPDX-License-Identifier: Apache-2.0
"""The command line: `jaxinter demo`, `jaxinter info`."""

import argparse
import platform
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; the exit status."""
    parser = argparse.ArgumentParser(
        prog="jaxinter", description="Certified sparsest AND-OR interactions of neural networks."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="train a small network on real digits and explain it")
    demo.add_argument("--out", type=Path, default=Path("jaxinter_demo"), help="folder to write to")
    demo.add_argument("--images", type=_count, default=20, help="digits to explain")
    demo.add_argument(
        "--players", type=_count, default=12, help="patches that are players, 1 to 16"
    )
    demo.add_argument("--epochs", type=_count, default=6, help="training epochs")
    demo.add_argument("--seed", type=int, default=0)
    commands.add_parser("info", help="build, devices, SIMD level, CUDA")
    options = vars(parser.parse_args(arguments))
    if options.pop("command") == "info":
        print(info())
        return 0
    if options["players"] > 16:
        parser.error("argument --players: the grid has 16 patches")
    from jaxinter.demo import run

    try:
        run(options.pop("out"), **options)
    except ImportError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1; got {value}")
    return value


def info() -> str:
    """What was built and what it runs on."""
    import jax
    import numpy as np

    import jaxinter
    from jaxinter import _native

    rows = {
        "jaxinter": jaxinter.__version__,
        "Python": platform.python_version(),
        "jax": jax.__version__,
        "numpy": np.__version__,
        "devices": ", ".join(f"{d.platform}:{d.id} ({d.device_kind})" for d in jax.devices()),
        "SIMD level": _native.simd_level(),
        "threads": str(_native.thread_limit()),
        "CUDA kernels": _native.cuda.status() if _native.cuda else "not in this build",
    }
    return "\n".join(f"{name + ':':14}{text}" for name, text in rows.items())


if __name__ == "__main__":
    sys.exit(main())
