#include "runtime/cuda/gemm.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/core/cuda_runtime.h"
#include "runtime/core/error.h"
#include "runtime/cuda/backend.h"
#include "runtime/cuda/cublas_library.h"
#include "runtime/ops/matmul.h"

namespace tessera::cuda {
namespace {

void check(cublasStatus_t status, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS) {
    fail("{}: {} ({})", call, cublas().GetStatusString(status), cublas().GetStatusName(status));
  }
}
#define TESSERA_CUBLAS(call) check((call), #call)

// cuBLASLt's objects, destroyed by their type's function.
template <auto Destroy>
struct Destroyer {
  template <class T>
  void operator()(T* object) const {
    (cublas().*Destroy)(object);
  }
};
using Handle = std::unique_ptr<cublasLtContext, Destroyer<&CublasLibrary::Destroy>>;
using Description =
    std::unique_ptr<cublasLtMatmulDescOpaque_t, Destroyer<&CublasLibrary::DescDestroy>>;
using Layout =
    std::unique_ptr<cublasLtMatrixLayoutOpaque_t, Destroyer<&CublasLibrary::LayoutDestroy>>;
using Preference =
    std::unique_ptr<cublasLtMatmulPreferenceOpaque_t, Destroyer<&CublasLibrary::PreferenceDestroy>>;

cudaDataType_t type_of(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return CUDA_R_32F;
    case DType::kBF16:
      return CUDA_R_16BF;
    case DType::kF16:
      return CUDA_R_16F;
    case DType::kI32:
    case DType::kI64:
    case DType::kU8:
      break;
  }
  fail("a GPU's matrix product cannot work on {}", name_of(dtype));
}

/// All that an algorithm is chosen by.
struct Product {
  DType in, out;
  bool transpose_a, transpose_b;
  int64_t m, n, k;
  uint32_t align_a, align_b, align_c;  // bytes
  int choice;

  auto operator<=>(const Product&) const = default;
};

/// A product with the algorithm that was chosen for it.
struct Call {
  Description description;
  Layout a, b, c;
  cublasLtMatmulAlgo_t algorithm;
};

/// 16 is as much as algorithms need. More must not tell places apart, or the sums would depend on
/// them.
uint32_t alignment_of(const Tensor& t) {
  constexpr uint32_t kMost = 16;
  const auto address = reinterpret_cast<uintptr_t>(t.raw());
  return address == 0 ? kMost
                      : std::min(kMost, uint32_t{1} << std::min(std::countr_zero(address), 4));
}

Product product_of(const GemmArgs& args) {
  const auto& [c, a, b, transpose_a, transpose_b, accumulate, choice] = args;
  const int64_t m = c.rows(), n = c.cols(), k = transpose_b ? b.cols() : b.rows();
  TESSERA_CHECK(a.dtype() == b.dtype());
  TESSERA_CHECK(c.dtype() == a.dtype() || c.dtype() == DType::kF32);
  TESSERA_CHECK(a.numel() == m * k && (m * k == 0 || a.cols() == (transpose_a ? m : k)));
  TESSERA_CHECK(b.numel() == k * n && (k * n == 0 || b.cols() == (transpose_b ? k : n)));
  return {a.dtype(), c.dtype(),       transpose_a,     transpose_b,     m,     n,
          k,         alignment_of(a), alignment_of(b), alignment_of(c), choice};
}

/// A row-major [rows, columns] is what cuBLASLt calls a column-major [columns, rows].
Layout layout(DType dtype, int64_t rows, int64_t columns) {
  cublasLtMatrixLayout_t made = nullptr;
  TESSERA_CUBLAS(
      cublas().LayoutCreate(&made, type_of(dtype), uint64_t(columns), uint64_t(rows), columns));
  return Layout(made);
}

template <class T>
void set(cublasLtMatmulDesc_t description, cublasLtMatmulDescAttributes_t name, T value) {
  TESSERA_CUBLAS(cublas().DescSetAttribute(description, name, &value, sizeof(value)));
}
template <class T>
void set(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t name,
         T value) {
  TESSERA_CUBLAS(cublas().PreferenceSetAttribute(preference, name, &value, sizeof(value)));
}

/// Everything is transposed: column-major c^T[N,M] = b^T[N,K] a^T[K,M], so b comes first.
Preference preference_for(const Product& p) {
  cublasLtMatmulPreference_t made = nullptr;
  TESSERA_CUBLAS(cublas().PreferenceCreate(&made));
  Preference preference(made);
  set(made, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{kMatmulWorkspace});
  // In place, parts are added in the order in which blocks get there; in the output's type they are
  // rounded to it. A sum that is split over blocks and added up afterwards in float32 stays.
  set(made, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
      uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
  set(made, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, p.align_b);
  set(made, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, p.align_a);
  set(made, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, p.align_c);
  set(made, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, p.align_c);
  return preference;
}

std::string described(const Product& p) {
  return fmt::format("a product [{}, {}] x [{}, {}] of {}{}{} into {}", p.m, p.k, p.k, p.n,
                     name_of(p.in), p.transpose_a ? ", the first transposed" : "",
                     p.transpose_b ? ", the second transposed" : "", name_of(p.out));
}

Call call_for(cublasLtHandle_t handle, const Product& p) {
  Call call;
  cublasLtMatmulDesc_t made = nullptr;
  TESSERA_CUBLAS(cublas().DescCreate(&made, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  call.description.reset(made);
  set(made, CUBLASLT_MATMUL_DESC_TRANSA, p.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(made, CUBLASLT_MATMUL_DESC_TRANSB, p.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
  call.a = p.transpose_a ? layout(p.in, p.k, p.m) : layout(p.in, p.m, p.k);
  call.b = p.transpose_b ? layout(p.in, p.n, p.k) : layout(p.in, p.k, p.n);
  call.c = layout(p.out, p.m, p.n);
  const Preference preference = preference_for(p);
  std::vector<cublasLtMatmulHeuristicResult_t> best(size_t(p.choice) + 1);
  int found = 0;
  const cublasStatus_t status = cublas().AlgoGetHeuristic(
      handle, made, call.b.get(), call.a.get(), call.c.get(), call.c.get(), preference.get(),
      int(best.size()), best.data(), &found);
  if (status != CUBLAS_STATUS_SUCCESS || found <= p.choice) {
    const std::string has = found == 0 ? std::string("no algorithm")
                                       : fmt::format("{} algorithms, not {},", found, p.choice + 1);
    fail("cuBLASLt {} has {} for {} at addresses aligned to {}, {} and {} bytes: {}",
         cublas().GetVersion(), has, described(p), p.align_a, p.align_b, p.align_c,
         cublas().GetStatusString(status));
  }
  call.algorithm = best.back().algo;
  return call;
}

/// What a context keeps between products.
struct Gemms {
  Gemms() {
    cublasLtHandle_t made = nullptr;
    TESSERA_CUBLAS(cublas().Create(&made));
    handle.reset(made);
  }
  Handle handle;
  std::map<Product, Call> calls;
};

Gemms& gemms_of(Context& ctx) {
  auto& kept = backend_of(ctx).gemms;
  if (!kept) kept = std::make_shared<Gemms>();
  return *static_cast<Gemms*>(kept.get());
}

}  // namespace

void gemm(Context& ctx, const GemmArgs& args) {
  if (args.c.numel() == 0) return;
  const Product p = product_of(args);
  ArenaScope scope(ctx.scratch());
  void* workspace = ctx.scratch().allocate(kMatmulWorkspace);
  if (ctx.measuring()) return;
  void* stream = ctx.compute_stream().handle();
  if (p.k == 0) {
    if (!args.accumulate) fill_zero(stream, args.c.raw(), args.c.bytes());
    return;
  }
  Gemms& gemms = gemms_of(ctx);
  auto at = gemms.calls.find(p);
  if (at == gemms.calls.end()) {
    at = gemms.calls.emplace(p, call_for(gemms.handle.get(), p)).first;
  }
  const Call& call = at->second;
  const float one = 1.0f, keep = args.accumulate ? 1.0f : 0.0f;
  const cublasStatus_t status = cublas().Matmul(
      gemms.handle.get(), call.description.get(), &one, args.b.raw(), call.b.get(), args.a.raw(),
      call.a.get(), &keep, args.c.raw(), call.c.get(), args.c.raw(), call.c.get(), &call.algorithm,
      workspace, kMatmulWorkspace, static_cast<cudaStream_t>(stream));
  if (status != CUBLAS_STATUS_SUCCESS) {
    fail("{}: {} ({})", described(p), cublas().GetStatusString(status),
         cublas().GetStatusName(status));
  }
}

void matmul(Context& ctx, Tensor c, Tensor a, Tensor b, MatmulOptions options) {
  gemm(ctx, {c, a, b, options.transpose_a, options.transpose_b, options.accumulate});
}

}  // namespace tessera::cuda
