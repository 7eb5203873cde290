#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Everything that only a GPU can tell, in one command: builds the package, runs the tests with a
# missing device as an error, the kernels under compute-sanitizer, and the benchmark with its
# targets. A failing step does not stop the later ones, a failing build does. What it prints goes to
# gpu_check.log as well.
#
#   bench/gpu_check.sh [--rehearse] [DIRECTORY]        (DIRECTORY: for the log, ./gpu_check.DATE)
#
# --rehearse: without a GPU, what goes without one: the build, the tests collected and skipped, the
# kernels' test compiled and linked, the benchmark on the CPU backend.
#
# From the environment:
#   PYTHON                 makes the virtual environment .venv-gpu; python3
#   JAXINTER_GPU_JAX       the extra of jax to install: cuda12 or cuda13; else as the driver says
#   JAXINTER_GPU_TORCH=1   installs torch too, and a torch without CUDA is an error
#   JAXINTER_GPU_PYTHON    an interpreter that has jax with CUDA, pytest, hypothesis and matplotlib:
#                          .venv-gpu then has the package alone, over this one's packages; nothing
#                          else is installed, and the interpreter's own packages stay as they are
#   JAXINTER_GPU_STEPS     which steps, of "machine build first tests sanitizer bench"; all
set -uo pipefail

rehearse="" given=""
for argument in "$@"; do
  case $argument in
    --rehearse) rehearse=1 ;;
    -*) sed -n '3,/^set /s/^# \{0,1\}//p' "$0"; exit 2 ;;
    *) given=$argument ;;
  esac
done
out=${given:-gpu_check.$(date +%Y-%m-%d.%H%M%S)}
mkdir -p "$out" && out=$(cd "$out" && pwd) && cd "$(dirname "$0")/.." || exit 2

venv=$PWD/.venv-gpu
python=$venv/bin/python
build=$PWD/build/gpu # the package's own build folder is left to others
steps=${JAXINTER_GPU_STEPS:-machine build first tests sanitizer bench}
passed=() failed=() waiting=()
# Beside JAX, torch and the kernels' own test need memory of the same GPU.
export XLA_PYTHON_CLIENT_PREALLOCATE=false PYTHONUNBUFFERED=1
[ -z "$rehearse" ] || export JAX_PLATFORMS=cpu

say() { printf '\n== %s (%(%H:%M:%S)T)\n' "$1" -1; }

# step LIMIT "NAME" COMMAND...: runs it, at most LIMIT seconds, and remembers how it went. A command
# that is a function of this script has no limit of its own.
step() {
  local limit=$1 name=$2 code=0 begun=$SECONDS
  shift 2
  say "$name"
  if declare -F "$1" >/dev/null; then
    "$@" || code=$?
  else
    timeout --kill-after=20 "$limit" "$@" || code=$?
  fi
  if [ "$code" = 0 ]; then
    passed+=("$name ($((SECONDS - begun)) s)")
    return 0
  fi
  [ "$code" != 124 ] || echo "stopped after $limit s"
  echo "!!!! FAILED: $name (exit status $code)"
  failed+=("$name (exit status $code)")
  return 1
}
waits() {
  echo "(waits for a GPU: $1)"
  waiting+=("$1")
}
chosen() { [[ " $steps " == *" $1 "* ]]; }

# find_tool NAME: on PATH, else where toolkits are installed.
find_tool() {
  command -v "$1" && return
  local nvcc_folder
  nvcc_folder=$(dirname "$(readlink -f "$(command -v nvcc || echo "${CUDACXX:-/}")")")
  for folder in "$nvcc_folder" "${CUDA_HOME:-/usr/local/cuda}/bin" \
    "${CUDA_HOME:-/usr/local/cuda}/compute-sanitizer" /usr/local/cuda-*/bin; do
    [ -x "$folder/$1" ] && echo "$folder/$1" && return
  done
  return 1
}
nvcc=${CUDACXX:-$(find_tool nvcc)}
smi() { nvidia-smi --query-gpu="$1" --format=csv,noheader 2>/dev/null | head -n 1; }

# ---- the steps

machine() {
  local code=0
  uname -srm
  echo "$(nproc) processors; commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)," \
    "$(git status --porcelain 2>/dev/null | wc -l) files changed"
  if command -v nvidia-smi >/dev/null; then
    nvidia-smi || code=1
  else
    echo "nvidia-smi is not installed: no driver?"
    [ -n "$rehearse" ] || code=1
  fi
  if [ -n "$nvcc" ]; then "$nvcc" --version; else echo "no nvcc: not on PATH, CUDACXX not set" && code=1; fi
  if sanitizer=$(find_tool compute-sanitizer); then
    "$sanitizer" --version | head -n 3
  else
    echo "no compute-sanitizer"
  fi
  c++ --version | head -n 1
  return "$code"
}

# The extra of jax that this driver runs.
jax_extra() {
  local driver
  driver=$(nvidia-smi 2>/dev/null | sed -n 's/.*CUDA Version: *\([0-9]*\).*/\1/p' | head -n 1)
  if [ "${driver:-0}" -ge 13 ]; then echo cuda13; else echo cuda12; fi
}

environment() {
  local what=()
  if [ -z "${JAXINTER_GPU_PYTHON:-}" ]; then
    "${PYTHON:-python3}" -m venv --clear "$venv" || return
    if [ -n "$rehearse" ]; then what=(jax); else what=("jax[${JAXINTER_GPU_JAX:-$(jax_extra)}]"); fi
    [ -z "${JAXINTER_GPU_TORCH:-}" ] || what+=(torch)
    what+=('pytest>=8' 'hypothesis>=6.100' 'matplotlib>=3.8')
    echo "installing ${what[*]}"
    "$python" -m pip install --quiet "${what[@]}" || return
  else
    "$JAXINTER_GPU_PYTHON" -m venv --clear "$venv" || return
    "$JAXINTER_GPU_PYTHON" - "$python" <<'END' || return
import subprocess
import sys
from pathlib import Path

# Folders that a .pth names come after the environment's own: the package built here wins.
ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
own = subprocess.check_output([sys.argv[1], "-c", ask], text=True).strip()
theirs = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
(Path(own) / "over.pth").write_text("\n".join(theirs) + "\n")
END
  fi
  "$python" -c 'import jax, jaxlib; print("jax", jax.__version__, "jaxlib", jaxlib.__version__)'
}

# The architectures to compile for: CMakeLists.txt's own list, or this machine's alone where that has
# no binary for it. A rehearsal has no time for more than one.
architectures() {
  local own
  own=$(smi compute_cap | tr -d .)
  if [ -n "$rehearse" ]; then
    echo 90-real
  elif [ -n "$own" ] && [[ ! " 80 90 100 120 " == *" $own "* ]] &&
    "$nvcc" --list-gpu-arch | grep -qx "compute_$own"; then
    echo "$own-real"
  fi
}

package() {
  local options=(-Ccmake.define.JAXINTER_CUDA=ON "-Cbuild-dir=$build") list
  # Line numbers for compute-sanitizer; the code is the same.
  options+=(-Ccmake.define.CMAKE_CUDA_FLAGS=-lineinfo)
  list=$(architectures)
  [ -z "$list" ] || options+=("-Ccmake.define.CMAKE_CUDA_ARCHITECTURES=$list")
  if [ -n "${JAXINTER_GPU_PYTHON:-}" ]; then
    options+=(--no-deps --ignore-installed)
    # What builds the package may be there already, as where there is no network.
    ! "$python" -c 'import scikit_build_core, pybind11' 2>/dev/null || options+=(--no-build-isolation)
  fi
  [ -z "$nvcc" ] || export CUDACXX=$nvcc
  echo "pip install . ${options[*]}"
  "$python" -m pip install --quiet "${options[@]}" . || return
  "$python" -P - <<'END'
from jaxinter import _native

assert _native.cuda is not None, "the package was built without CUDA kernels"
print(_native.__file__)
print(_native.cuda.status())
END
}

first_call() {
  "$python" -P - <<'END'
import jax
import jax.numpy as jnp
import numpy as np

import jaxinter as ji
from jaxinter import _native

print(_native.cuda.status())
assert _native.cuda.device_count(), "no CUDA device"
gpus = [device for device in jax.devices() if device.platform == "gpu"]
assert gpus, f"JAX has no GPU, only {jax.devices()}: is its CUDA extra installed?"
v = np.random.default_rng(0).normal(size=(3, 2**10)).astype(np.float32)
got = jax.jit(ji.mobius)(jax.device_put(jnp.asarray(v), gpus[0]))
assert got.devices() == {gpus[0]}
np.testing.assert_array_equal(got, ji.mobius(v))
print("a transform of 2^10 on", gpus[0].device_kind, "has the bits of the CPU's")
END
}

tests() { "$python" -P -m pytest -q "$@"; }

# A test of a GPU must fail, not be skipped, where one is asked for and there is none.
missing_is_an_error() {
  if JAXINTER_REQUIRE_GPU=1 tests tests/test_gpu.py -k donated >"$out/required.log" 2>&1; then
    cat "$out/required.log"
    return 1
  fi
  grep -o 'Failed: JAXINTER_REQUIRE_GPU is set, but .*' "$out/required.log" | head -n 1
}

native=$build/native/gpu_kernels_test
# Of the objects that the package was made of, and its small sources.
native_test() {
  local objects=() source
  mkdir -p "$build/native"
  mapfile -t objects < <(find "$build/CMakeFiles" -path '*/kernels_*.dir/*' -name '*.o')
  [ "${#objects[@]}" -ge 8 ] || { echo "no objects of the kernels in $build"; return 1; }
  for source in csrc/dispatch_cpu.cc csrc/threads.cc csrc/sparse_tables.cc tests/gpu_kernels_test.cc; do
    "$nvcc" -std=c++17 -O2 -c "$source" -o "$build/native/$(basename "$source").o" || return
  done
  "$nvcc" "${objects[@]}" "$build"/native/*.o -o "$native" -lpthread
}
no_device_is_said() {
  local code=0
  "$native" few || code=$?
  [ "$code" = 2 ]
}

# ---- all of them

all() {
  local file tool sanitizer
  [ -z "$rehearse" ] || echo "REHEARSAL: no GPU is used"
  ! chosen machine || step 60 "which machine" machine
  if chosen build; then
    step 0 "an environment with jax" environment || return
    step 0 "the package with its CUDA kernels" package || return
  fi
  if chosen first; then
    step 120 "jaxinter info" "$venv/bin/jaxinter" info
    if [ -n "$rehearse" ]; then
      waits "the first call: a transform of 2^10 against the CPU's"
    else
      step 0 "the first call on the device" first_call
    fi
  fi

  if chosen tests; then
    export JAXINTER_REQUIRE_CUDA=1
    if [ -n "$rehearse" ]; then
      step 0 "the tests of the GPU: collected, and skipped" tests -rfE tests/test_cuda.py tests/test_gpu.py
      step 0 "a missing GPU is an error where it is required" missing_is_an_error
      step 0 "the tests of the library: collected" tests --collect-only -qq tests/test_transform.py \
        tests/test_and_or.py tests/test_masks_and_assembly.py tests/test_sparse.py
      waits "tests/test_gpu.py, and the library's tests with the GPU as JAX's default"
    else
      export JAXINTER_REQUIRE_GPU=1
      [ -z "${JAXINTER_GPU_TORCH:-}" ] || export JAXINTER_REQUIRE_GPU_TORCH=1
      declare -A cpu=([cuda]=JAX_PLATFORMS=cpu)
      for file in cuda gpu; do
        # What needs no GPU is about programs for one, made on a CPU.
        step 900 "tests/test_$file.py" env ${cpu[$file]:+"${cpu[$file]}"} \
          "$python" -P -m pytest -q --durations=5 "tests/test_$file.py"
      done
      # JAX's default device is the GPU here, and these do not ask for another: their JAX parts run
      # there. Those of doors, engines and sharding are of the CPU's kernels, threads and devices.
      for file in transform and_or masks_and_assembly sparse; do
        step 900 "tests/test_$file.py, the GPU as JAX's default" \
          "$python" -P -m pytest -q "tests/test_$file.py"
      done
    fi
  fi

  if chosen sanitizer && step 0 "the kernels' own test: compiled and linked" native_test; then
    if [ -n "$rehearse" ]; then
      step 0 "it says that there is no device" no_device_is_said
      waits "tests/gpu_kernels_test.cc, and it under compute-sanitizer's four tools"
    else
      step 300 "the kernels' own test" "$native"
      if sanitizer=$(find_tool compute-sanitizer); then
        for tool in memcheck synccheck initcheck racecheck; do
          step 600 "compute-sanitizer $tool" \
            "$sanitizer" --tool "$tool" --error-exitcode 9 --print-limit 20 "$native" few
        done
      else
        printf '\n!!!! compute-sanitizer is not installed: memcheck, racecheck, synccheck and initcheck are NOT RUN\n'
        failed+=("compute-sanitizer: not installed")
      fi
    fi
  fi

  if chosen bench; then
    if [ -n "$rehearse" ]; then
      step 300 "the benchmark, rehearsed" "$python" bench/bench_gpu.py --rehearse
      waits "bench/bench_gpu.py and its targets"
    else
      step 1200 "the benchmark" "$python" bench/bench_gpu.py
    fi
  fi
}

summary() {
  say "summary, $SECONDS s in all"
  [ "${#passed[@]}" = 0 ] || printf 'passed: %s\n' "${passed[@]}"
  [ "${#waiting[@]}" = 0 ] || printf 'waits for a GPU: %s\n' "${waiting[@]}"
  [ "${#failed[@]}" = 0 ] || printf 'FAILED: %s\n' "${failed[@]}"
  echo "log: $out/gpu_check.log"
  [ "${#failed[@]}" = 0 ]
}

{ all; summary; } 2>&1 | tee "$out/gpu_check.log"
exit "${PIPESTATUS[0]}"
