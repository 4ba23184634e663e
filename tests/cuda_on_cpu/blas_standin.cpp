// Stands in for cuBLASLt: the calls that a matrix product needs, on the simulated streams. It
// refuses what the library's documentation says it refuses, uses the workspace it asks for, and
// sums in float32 in the order of k. Its algorithms are chosen, as the library's are, for what
// alignment the caller promises; one that is then given less is refused.
#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <memory>
#include <vector>

#include "queue.h"

struct cublasLtContext {
  int device;
};

namespace {

using cuda_on_cpu::accessible;
using cuda_on_cpu::Outcome;

struct Layout {
  cudaDataType type;
  uint64_t rows, columns;
  int64_t ld;

  bool operator==(const Layout&) const = default;
  size_t element() const { return type == CUDA_R_32F ? 4 : 2; }
  size_t bytes() const { return ((columns - 1) * size_t(ld) + rows) * element(); }
  bool valid() const { return rows > 0 && columns > 0 && ld >= int64_t(rows); }
};
struct Description {
  cublasComputeType_t compute;
  cudaDataType scale;
  cublasOperation_t a = CUBLAS_OP_N, b = CUBLAS_OP_N;

  bool operator==(const Description&) const = default;
};
struct Preference {
  uint64_t workspace = 0;
  uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_MASK;
  std::array<uint32_t, 4> alignment{256, 256, 256, 256};  // of A, B, C, D
};
/// What one algorithm was chosen for.
struct Problem {
  Description description;
  Layout a, b, c, d;

  bool operator==(const Problem&) const = default;
  int64_t m() const { return int64_t(c.rows); }
  int64_t n() const { return int64_t(c.columns); }
  int64_t k() const { return int64_t(description.a == CUBLAS_OP_N ? a.columns : a.rows); }
};
/// What is kept in the 64 bytes of a cublasLtMatmulAlgo_t.
struct Algorithm {
  uint64_t mark;
  uint64_t problem;    // its hash
  uint64_t workspace;  // bytes
  uint32_t alignment;  // of every operand
  uint32_t in_place;
};
constexpr uint64_t kMark = 0x7265737365746c74;
static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t));

// The library's descriptors are opaque; what they point to is ours.
template <class Mine, class Opaque>
Mine& mine(Opaque* opaque) {
  return *reinterpret_cast<Mine*>(opaque);
}
template <class Mine, class Opaque>
cublasStatus_t create(Opaque** opaque, Mine value) {
  static_assert(sizeof(Mine) <= sizeof(Opaque));
  if (opaque == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  *opaque = reinterpret_cast<Opaque*>(std::make_unique<Mine>(value).release());
  return CUBLAS_STATUS_SUCCESS;
}
template <class Mine, class Opaque>
cublasStatus_t destroy(Opaque* opaque) {
  const std::unique_ptr<Mine> last(reinterpret_cast<Mine*>(opaque));
  return CUBLAS_STATUS_SUCCESS;
}
template <class T>
cublasStatus_t set(T& attribute, const void* from, size_t bytes) {
  if (from == nullptr || bytes != sizeof(T)) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&attribute, from, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

/// FNV-1a over the numbers of the problem.
uint64_t hash(const Problem& p) {
  uint64_t h = 0xcbf29ce484222325;
  const auto add = [&](uint64_t number) { h = (h ^ number) * 0x100000001b3; };
  for (const Layout& layout : {p.a, p.b, p.c, p.d}) {
    for (const uint64_t number :
         {uint64_t(layout.type), layout.rows, layout.columns, uint64_t(layout.ld)}) {
      add(number);
    }
  }
  add(p.description.a);
  add(p.description.b);
  return h;
}

/// The types that the table of cublasLtMatmul has for CUBLAS_COMPUTE_32F.
bool types_supported(const Problem& p) {
  const auto is_float = [](cudaDataType t) {
    return t == CUDA_R_32F || t == CUDA_R_16BF || t == CUDA_R_16F;
  };
  return p.description.compute == CUBLAS_COMPUTE_32F && p.description.scale == CUDA_R_32F &&
         is_float(p.a.type) && p.b.type == p.a.type && p.d.type == p.c.type &&
         (p.c.type == p.a.type || p.c.type == CUDA_R_32F);
}

cublasStatus_t check_problem(const Problem& p) {
  for (const Layout& layout : {p.a, p.b, p.c, p.d}) {
    if (!layout.valid()) return CUBLAS_STATUS_INVALID_VALUE;
  }
  const auto& [compute, scale, op_a, op_b] = p.description;
  for (const cublasOperation_t op : {op_a, op_b}) {
    if (op != CUBLAS_OP_N && op != CUBLAS_OP_T) return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  const uint64_t m = op_a == CUBLAS_OP_N ? p.a.rows : p.a.columns;
  const uint64_t k = op_b == CUBLAS_OP_N ? p.b.rows : p.b.columns;
  const uint64_t n = op_b == CUBLAS_OP_N ? p.b.columns : p.b.rows;
  if (m != p.c.rows || n != p.c.columns || k != uint64_t(p.k())) return CUBLAS_STATUS_INVALID_VALUE;
  if (p.d.rows != p.c.rows || p.d.columns != p.c.columns) return CUBLAS_STATUS_INVALID_VALUE;
  return types_supported(p) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

float widened(const void* p, cudaDataType type, size_t i) {
  switch (type) {
    case CUDA_R_32F:
      return static_cast<const float*>(p)[i];
    case CUDA_R_16BF:
      return __bfloat162float(static_cast<const __nv_bfloat16*>(p)[i]);
    default:
      return __half2float(static_cast<const __half*>(p)[i]);
  }
}
void narrow(void* p, cudaDataType type, size_t i, float value) {
  switch (type) {
    case CUDA_R_32F:
      static_cast<float*>(p)[i] = value;
      break;
    case CUDA_R_16BF:
      static_cast<__nv_bfloat16*>(p)[i] = __float2bfloat16_rn(value);
      break;
    default:
      static_cast<__half*>(p)[i] = __float2half_rn(value);
  }
}

/// op(matrix) as float32 [outer][inner]: for A [k][m], for B [n][k].
std::vector<float> panel(const void* matrix, const Layout& layout, cublasOperation_t op,
                         int64_t outer, int64_t inner) {
  constexpr int64_t kTile = 32;  // of both matrices in the cache, whichever is transposed
  const int64_t along_outer = op == CUBLAS_OP_N ? layout.ld : 1;
  const int64_t along_inner = op == CUBLAS_OP_N ? 1 : layout.ld;
  std::vector<float> values(size_t(outer * inner));
  for (int64_t o0 = 0; o0 < outer; o0 += kTile) {
    for (int64_t i0 = 0; i0 < inner; i0 += kTile) {
      for (int64_t o = o0; o < std::min(outer, o0 + kTile); ++o) {
        for (int64_t i = i0; i < std::min(inner, i0 + kTile); ++i) {
          values[size_t(o * inner + i)] =
              widened(matrix, layout.type, size_t(o * along_outer + i * along_inner));
        }
      }
    }
  }
  return values;
}

constexpr int kColumns = 4;
constexpr int64_t kRows = 128;

/// sums[kColumns][rows] = a[k][0:rows] * b[kColumns][k], adding from k = first on, once around.
__attribute__((target("avx2,fma"))) void multiply(const float* a, int64_t lda, int64_t rows,
                                                  const float* const (&b)[kColumns], int64_t depth,
                                                  int64_t first, float (&sums)[kColumns][kRows]) {
  std::memset(sums, 0, sizeof(sums));
  for (int64_t step = 0; step < depth; ++step) {
    const int64_t k = (first + step) % depth;
    const float* const column = a + k * lda;
    for (int j = 0; j < kColumns; ++j) {
      const float factor = b[j][k];
      for (int64_t i = 0; i < rows; ++i) sums[j][i] = __builtin_fmaf(column[i], factor, sums[j][i]);
    }
  }
}

struct Call {
  Problem problem;
  Algorithm algorithm;
  float alpha, beta;
  const void *a, *b, *c;
  void *d, *workspace;

  void run() const {
    const int64_t m = problem.m(), n = problem.n(), depth = problem.k();
    // Adding in place, blocks come in an order that is another one each time. And an algorithm for
    // operands that are aligned more may have an order of its own.
    static std::atomic<int64_t> times = 0;
    const int64_t first =
        (algorithm.in_place != 0 ? ++times * 7 : int64_t(algorithm.alignment > 16)) % depth;
    const auto left = panel(a, problem.a, problem.description.a, depth, m);
    const auto right = panel(b, problem.b, problem.description.b, n, depth);
    std::memset(workspace, 0xff, algorithm.workspace);
    for (int64_t j0 = 0; j0 < n; j0 += kColumns) {
      const float* columns[kColumns];
      for (int j = 0; j < kColumns; ++j) {
        columns[j] = right.data() + std::min(j0 + j, n - 1) * depth;
      }
      for (int64_t i0 = 0; i0 < m; i0 += kRows) {
        const int64_t rows = std::min(kRows, m - i0);
        float sums[kColumns][kRows];
        multiply(left.data() + i0, m, rows, columns, depth, first, sums);
        for (int j = 0; j < std::min(int64_t(kColumns), n - j0); ++j) {
          for (int64_t i = 0; i < rows; ++i) store(i0 + i, j0 + j, sums[j][i]);
        }
      }
    }
  }
  void store(int64_t i, int64_t j, float sum) const {
    const auto at = [&](const Layout& layout) { return size_t(i + j * layout.ld); };
    float value = alpha * sum;
    if (beta != 0.0f) value += beta * widened(c, problem.c.type, at(problem.c));
    narrow(d, problem.d.type, at(problem.d), value);
  }
};

bool aligned(const void* p, uint64_t bytes) { return reinterpret_cast<uintptr_t>(p) % bytes == 0; }

cublasStatus_t check_memory(const Call& call, int device, size_t workspace_bytes) {
  const Problem& p = call.problem;
  if (workspace_bytes < call.algorithm.workspace) return CUBLAS_STATUS_INVALID_VALUE;
  constexpr uint64_t kWorkspaceAlignment = 256;
  if (workspace_bytes > 0 && !aligned(call.workspace, kWorkspaceAlignment)) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  if (workspace_bytes > 0 && !accessible(call.workspace, workspace_bytes, device)) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  for (const auto& [address, layout] : {std::pair<const void*, const Layout&>{call.a, p.a},
                                        {call.b, p.b},
                                        {call.c, p.c},
                                        {call.d, p.d}}) {
    if (!aligned(address, call.algorithm.alignment)) return CUBLAS_STATUS_NOT_SUPPORTED;
    if (!accessible(address, layout.bytes(), device)) return CUBLAS_STATUS_INVALID_VALUE;
  }
  // In place is fine, in the same layout only.
  if (call.c == call.d && p.c != p.d) return CUBLAS_STATUS_INVALID_VALUE;
  return CUBLAS_STATUS_SUCCESS;
}

}  // namespace

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  int device = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return CUBLAS_STATUS_NOT_INITIALIZED;
  *handle = std::make_unique<cublasLtContext>(cublasLtContext{device}).release();
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  const std::unique_ptr<cublasLtContext> last(handle);
  return CUBLAS_STATUS_SUCCESS;
}
size_t cublasLtGetVersion() { return CUBLAS_VERSION; }

const char* cublasLtGetStatusName(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "CUBLAS_STATUS_NOT_SUPPORTED";
    default:
      return "CUBLAS_STATUS_EXECUTION_FAILED";
  }
}
const char* cublasLtGetStatusString(cublasStatus_t status) { return cublasLtGetStatusName(status); }

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* made, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
  return create(made, Description{compute, scale});
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t made) {
  return destroy<Description>(made);
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t made,
                                              cublasLtMatmulDescAttributes_t name,
                                              const void* value, size_t bytes) {
  auto& description = mine<Description>(made);
  switch (name) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return set(description.a, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return set(description.b, value, bytes);
    default:
      return CUBLAS_STATUS_NOT_SUPPORTED;
  }
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* made, cudaDataType type,
                                          uint64_t rows, uint64_t columns, int64_t ld) {
  return create(made, Layout{type, rows, columns, ld});
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t made) {
  return destroy<Layout>(made);
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* made) {
  return create(made, Preference{});
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t made) {
  return destroy<Preference>(made);
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t made,
                                                    cublasLtMatmulPreferenceAttributes_t name,
                                                    const void* value, size_t bytes) {
  auto& preference = mine<Preference>(made);
  switch (name) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      return set(preference.workspace, value, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
      return set(preference.schemes, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
      return set(preference.alignment[0], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
      return set(preference.alignment[1], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
      return set(preference.alignment[2], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      return set(preference.alignment[3], value, bytes);
    default:
      return CUBLAS_STATUS_NOT_SUPPORTED;
  }
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle,
                                              cublasLtMatmulDesc_t description,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t* results,
                                              int* found) {
  if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (wanted < 1) return CUBLAS_STATUS_INVALID_VALUE;
  const Problem problem{mine<Description>(description), mine<Layout>(a), mine<Layout>(b),
                        mine<Layout>(c), mine<Layout>(d)};
  *found = 0;
  const cublasStatus_t status = check_problem(problem);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  const auto& wish = mine<Preference>(preference);
  const std::array layouts{problem.a, problem.b, problem.c, problem.d};
  uint32_t alignment = 256;
  for (size_t i = 0; i < layouts.size(); ++i) {
    if (wish.alignment[i] < layouts[i].element()) return CUBLAS_STATUS_NOT_SUPPORTED;
    const size_t row = size_t(layouts[i].ld) * layouts[i].element();
    alignment = std::min(alignment, wish.alignment[i]);
    if (row % 16 != 0) alignment = std::min(alignment, uint32_t(layouts[i].element()));
  }
  // A tile of float32 sums, as far as it is allowed to.
  const uint64_t tiles = uint64_t(problem.m() * problem.n()) * sizeof(float);
  const Algorithm chosen{kMark, hash(problem), std::min(tiles, wish.workspace), alignment,
                         wish.schemes & CUBLASLT_REDUCTION_SCHEME_INPLACE};
  *results = {};
  std::memcpy(&results->algo, &chosen, sizeof(chosen));
  results->workspaceSize = chosen.workspace;
  results->state = CUBLAS_STATUS_SUCCESS;
  *found = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t description,
                              const void* alpha, const void* a, cublasLtMatrixLayout_t a_layout,
                              const void* b, cublasLtMatrixLayout_t b_layout, const void* beta,
                              const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* algo,
                              void* workspace, size_t workspace_bytes, cudaStream_t stream) {
  if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (alpha == nullptr || beta == nullptr || algo == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  Call call{{mine<Description>(description), mine<Layout>(a_layout), mine<Layout>(b_layout),
             mine<Layout>(c_layout), mine<Layout>(d_layout)},
            {},
            *static_cast<const float*>(alpha),
            *static_cast<const float*>(beta),
            a,
            b,
            c,
            d,
            workspace};
  std::memcpy(&call.algorithm, algo, sizeof(call.algorithm));
  cublasStatus_t status = check_problem(call.problem);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  if (call.algorithm.mark != kMark || call.algorithm.problem != hash(call.problem)) {
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  int device = 0;
  if (cudaGetDevice(&device) != cudaSuccess || device != handle->device ||
      device != cuda_on_cpu::device_of(stream)) {
    return CUBLAS_STATUS_EXECUTION_FAILED;
  }
  status = check_memory(call, device, workspace_bytes);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  const cudaError_t queued = cuda_on_cpu::enqueue(stream, [call] {
    call.run();
    return Outcome::kDone;
  });
  return queued == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}
