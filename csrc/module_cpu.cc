// SPDX-License-Identifier: Apache-2.0
// Module jaxinter._cpu: the door for numpy arrays (and, through DLPack, for those of torch and
// others), and the targets that XLA calls. The Python layer checks what users pass and hands over
// C-contiguous, aligned arrays; what is checked here would be its bug.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <new>
#include <optional>
#include <string>

#include "assemble_kernels.h"
#include "dlpack.h"
#include "ffi_targets.h"
#include "lattice_kernels.h"
#include "sparse_kernels.h"
#include "threads.h"

namespace jaxinter {
namespace {

namespace py = pybind11;

py::dict Registrations() {
  py::dict targets;
  for (const FfiTarget& target : FfiTargets()) targets[target.name] = py::capsule(target.handler);
  return targets;
}

bool IsContiguous(const py::array& a) { return a.flags() & py::array::c_style; }

// Refuses all but C-contiguous float32 or float64 tables [..., 2^n] of one size and dtype.
struct Tables {
  Index batch;
  int n_players;
  bool is_float;

  template <class... Arrays>
  Tables(const char* call, const py::array& first, const Arrays&... rest)
      : is_float(py::isinstance<py::array_t<float>>(first)) {
    const bool known = is_float || py::isinstance<py::array_t<double>>(first);
    const bool alike = ((IsContiguous(rest) && rest.nbytes() == first.nbytes() &&
                         rest.dtype().equal(first.dtype())) &&
                        ...);
    n_players = first.ndim() > 0 ? PlayersOf(first.shape(first.ndim() - 1)) : -1;
    if (!known || !alike || !IsContiguous(first) || n_players < 0) {
      throw py::value_error(std::string("_cpu.") + call +
                            ": tables must be C-contiguous [..., 2**n], of one shape and dtype, "
                            "float32 or float64");
    }
    batch = first.size() >> n_players;
  }
};

// Calls f(T{}, threads) for the dtype of the tables, without the GIL.
template <class F>
void OnThreads(const Tables& tables, Index bytes, const F& f) {
  py::gil_scoped_release release;
  SleepingThreads threads(bytes);
  if (tables.is_float) {
    f(float{}, threads);
  } else {
    f(double{}, threads);
  }
}

// mutable_data raises for a read-only array.

void SubsetTransform(const py::array& in, py::array& out, std::array<double, 4> entries) {
  const Tables tables("subset_transform", in, out);
  const Matrix2 matrix{entries[0], entries[1], entries[2], entries[3]};
  const void* source = in.data();
  void* target = out.mutable_data();
  OnThreads(tables, in.nbytes(), [&](auto element, Parallel& threads) {
    using T = decltype(element);
    LaunchSubsetTransformCpu(static_cast<const T*>(source), static_cast<T*>(target), tables.batch,
                             tables.n_players, matrix, threads);
  });
}

void AndOrEffects(const py::array& v, const py::array& gamma, const std::optional<py::array>& delta,
                  py::array& and_effects, py::array& or_effects, py::array_t<double>& sums) {
  const Tables tables("and_or_effects", v, gamma, delta.value_or(v), and_effects, or_effects);
  if (tables.n_players > kMaxPlayers || !IsContiguous(sums) ||
      sums.size() != tables.batch * 2 * tables.n_players) {
    throw py::value_error("_cpu.and_or_effects: sums must be [..., 2, n], n at most 30");
  }
  const void *v_data = v.data(), *gamma_data = gamma.data();
  const void* delta_data = delta ? delta->data() : nullptr;
  void *and_data = and_effects.mutable_data(), *or_data = or_effects.mutable_data();
  double* sums_data = sums.mutable_data();
  OnThreads(tables, 4 * v.nbytes(), [&](auto element, Parallel& threads) {
    using T = decltype(element);
    LaunchAndOrEffectsCpu(static_cast<const T*>(v_data), static_cast<const T*>(gamma_data),
                          static_cast<const T*>(delta_data), static_cast<T*>(and_data),
                          static_cast<T*>(or_data), sums_data, tables.batch, tables.n_players,
                          threads);
  });
}

// masks: bool [m, n], or int64 [m], indices of coalitions of n_players; elements as unsigned words.
void MaskedInputs(const py::array& masks, int n_players, const py::array& x,
                  const py::array& baseline, const py::array_t<std::int32_t>& players,
                  py::array& out) {
  const bool indices = masks.ndim() == 1 && masks.itemsize() == 8;
  const bool bytes = masks.ndim() == 2 && masks.itemsize() == 1 && masks.shape(1) == n_players;
  const bool contiguous = IsContiguous(masks) && IsContiguous(x) && IsContiguous(baseline) &&
                          IsContiguous(players) && IsContiguous(out);
  if (!contiguous || !(indices || bytes) || n_players < 1 || n_players > 62 ||
      players.size() != x.size() || baseline.nbytes() != x.nbytes() ||
      out.itemsize() != x.itemsize() || out.nbytes() != masks.shape(0) * x.nbytes()) {
    throw py::value_error("_cpu.masked_inputs: shapes, item sizes or layouts do not fit");
  }
  const Masks coalitions{bytes ? static_cast<const std::uint8_t*>(masks.data()) : nullptr, nullptr,
                         indices ? static_cast<const std::int64_t*>(masks.data()) : nullptr,
                         n_players};
  const Index rows = masks.shape(0), size = x.size();
  const std::int32_t* player_data = players.data();
  const void *x_data = x.data(), *baseline_data = baseline.data();
  void* out_data = out.mutable_data();
  const Index element_bytes = x.itemsize();
  bool known;
  {
    py::gil_scoped_release release;
    SleepingThreads threads(rows * size * element_bytes);
    known = LaunchMaskedInputsOfSizeCpu(element_bytes, coalitions, rows, x_data, baseline_data,
                                        player_data, size, out_data, threads);
  }
  if (!known) throw py::value_error("_cpu.masked_inputs: elements must have 1, 2, 4 or 8 bytes");
}

// threshold float64 [...], counted bool [..., 2, 2^n], sums float64 [..., 2, n].
void OrderStrength(const py::array& and_effects, const py::array& or_effects,
                   const std::optional<py::array_t<double>>& threshold,
                   const std::optional<py::array_t<bool>>& counted, py::array_t<double>& sums) {
  const Tables tables("order_strength", and_effects, or_effects);
  const Index batch = tables.batch;
  if (tables.n_players > kMaxPlayers || !IsContiguous(sums) ||
      sums.size() != batch * 2 * tables.n_players ||
      (threshold && !(IsContiguous(*threshold) && threshold->size() == batch)) ||
      (counted && !(IsContiguous(*counted) && counted->size() == 2 * and_effects.size()))) {
    throw py::value_error(
        "_cpu.order_strength: threshold must be [...], counted [..., 2, 2**n] and sums [..., 2, n]"
        ", n at most 30");
  }
  const void *and_data = and_effects.data(), *or_data = or_effects.data();
  const double* threshold_data = threshold ? threshold->data() : nullptr;
  const bool* counted_data = counted ? counted->data() : nullptr;
  double* sums_data = sums.mutable_data();
  OnThreads(tables, 2 * and_effects.nbytes(), [&](auto element, Parallel& threads) {
    using T = decltype(element);
    LaunchOrderStrengthCpu(static_cast<const T*>(and_data), static_cast<const T*>(or_data),
                           threshold_data, reinterpret_cast<const std::uint8_t*>(counted_data),
                           sums_data, batch, tables.n_players, threads);
  });
}

// w, a, delta, y [groups, models, 2^n]; zeta [groups, models]; start [groups, models, 3, 2^n];
// dual, eps, iterations [groups]; monitor int32 [2]: set [0] to stop, read [1] for the groups done.
void SparseSplits(const py::array_t<double>& w, const std::optional<py::array_t<double>>& zeta,
                  const std::optional<py::array_t<double>>& start, double tol, double tie_break,
                  double margin, std::int64_t max_iterations, py::array_t<double>& a,
                  py::array_t<double>& delta, py::array_t<double>& y, py::array_t<double>& dual,
                  py::array_t<double>& eps, py::array_t<std::int32_t>& iterations,
                  py::array_t<std::int32_t>& monitor) {
  const int n = w.ndim() == 3 ? PlayersOf(w.shape(2)) : -1;
  const Index groups = n < 0 ? 0 : w.shape(0), models = n < 0 ? 0 : w.shape(1);
  const auto fits = [](const py::array& x, Index size) {
    return IsContiguous(x) && x.size() == size;
  };
  const Index all = w.size();
  if (n < 1 || n > (zeta ? kMaxPlayersWithNoise : kMaxPlayers) || models < 1 ||
      models > kMaxModels || !fits(w, all) || !fits(a, all) || !fits(delta, all) || !fits(y, all) ||
      (zeta && !fits(*zeta, groups * models)) || (start && !fits(*start, 3 * all)) ||
      !fits(dual, groups) || !fits(eps, groups) || !fits(iterations, groups) || !fits(monitor, 2)) {
    throw py::value_error("_cpu.sparse_split: shapes or layouts do not fit");
  }
  const SparseProgram program{groups,
                              n,
                              static_cast<int>(models),
                              w.data(),
                              zeta ? zeta->data() : nullptr,
                              start ? start->data() : nullptr,
                              tol,
                              tie_break,
                              margin,
                              max_iterations};
  const SparseSplit split{a.mutable_data(),    delta.mutable_data(), y.mutable_data(),
                          dual.mutable_data(), eps.mutable_data(),   iterations.mutable_data()};
  std::int32_t* watch = monitor.mutable_data();
  py::gil_scoped_release release;
  SleepingThreads threads(SleepingThreads::kWorthBytes + 1);  // any sample is worth a thread
  if (!LaunchSparseSplitCpu(program, split, {watch, watch + 1}, threads)) throw std::bad_alloc();
}

void StreamPass(py::array& x) {
  const Tables tables("stream_pass", x);
  void* data = x.mutable_data();
  const Index size = x.size();
  OnThreads(tables, x.nbytes(), [&](auto element, Parallel& threads) {
    LaunchStreamPassCpu(static_cast<decltype(element)*>(data), size, threads);
  });
}

void SplitPass(const py::array& v, const py::array& gamma, py::array& and_part,
               py::array& minus_or_part) {
  const Tables tables("split_pass", v, gamma, and_part, minus_or_part);
  const void *v_data = v.data(), *gamma_data = gamma.data();
  void *and_data = and_part.mutable_data(), *or_data = minus_or_part.mutable_data();
  const Index size = v.size();
  OnThreads(tables, 4 * v.nbytes(), [&](auto element, Parallel& threads) {
    using T = decltype(element);
    LaunchSplitPassCpu<T>(static_cast<const T*>(v_data), static_cast<const T*>(gamma_data),
                          static_cast<T*>(and_data), static_cast<T*>(or_data), size, threads);
  });
}

}  // namespace
}  // namespace jaxinter

PYBIND11_MODULE(_cpu, m) {
  using pybind11::arg;
  m.def("registrations", &jaxinter::Registrations, "FFI targets: name -> capsule.");
  m.def("subset_transform", &jaxinter::SubsetTransform, arg("in").noconvert(),
        arg("out").noconvert(), arg("matrix"));
  m.def("and_or_effects", &jaxinter::AndOrEffects, arg("v").noconvert(), arg("gamma").noconvert(),
        arg("delta").noconvert(), arg("and_effects").noconvert(), arg("or_effects").noconvert(),
        arg("sums").noconvert());
  m.def("order_strength", &jaxinter::OrderStrength, arg("and_effects").noconvert(),
        arg("or_effects").noconvert(), arg("threshold").noconvert(), arg("counted").noconvert(),
        arg("sums").noconvert());
  m.def("masked_inputs", &jaxinter::MaskedInputs, arg("masks").noconvert(), arg("n_players"),
        arg("x").noconvert(), arg("baseline").noconvert(), arg("players").noconvert(),
        arg("out").noconvert());
  m.def("sparse_split", &jaxinter::SparseSplits, arg("w").noconvert(), arg("zeta").noconvert(),
        arg("start").noconvert(), arg("tol"), arg("tie_break"), arg("margin"),
        arg("max_iterations"), arg("a").noconvert(), arg("delta").noconvert(), arg("y").noconvert(),
        arg("dual").noconvert(), arg("eps").noconvert(), arg("iterations").noconvert(),
        arg("monitor").noconvert());
  m.def("from_dlpack", &jaxinter::FromDLPack, arg("x"), arg("writable") = false);
  pybind11::class_<jaxinter::SharedArray>(m, "SharedArray")
      .def(pybind11::init<pybind11::array>())
      .def("__dlpack__", &jaxinter::SharedArray::ToDLPack, pybind11::kw_only(),
           arg("stream") = pybind11::none(), arg("max_version") = pybind11::none(),
           arg("dl_device") = pybind11::none(), arg("copy") = pybind11::none())
      .def("__dlpack_device__",
           [](const jaxinter::SharedArray&) { return jaxinter::SharedArray::Device(); });
  // Bounds, for bench/: one read and write of every element, the bound of every transform; and the
  // split that and_or_effects fuses.
  m.def("stream_pass", &jaxinter::StreamPass, arg("x").noconvert());
  m.def("split_pass", &jaxinter::SplitPass, arg("v").noconvert(), arg("gamma").noconvert(),
        arg("and_part").noconvert(), arg("minus_or_part").noconvert());
  m.def("simd_level", &jaxinter::SimdLevel);
  m.def("thread_limit", &jaxinter::ThreadLimit);
}
