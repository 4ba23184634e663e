// A frozen weight W[N,K] (N outputs, K inputs, row-major) in its storage format.
// FrozenMatrix is a view: whoever made the blob keeps it alive. The blob's layout follows from the
// spec alone, so its bytes can be sharded, gathered and paged without looking inside.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "quant/format.h"
#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera::quant {

class PackForward;
class PackBackward;

class FrozenMatrix {
 public:
  FrozenMatrix() = default;
  /// `blob`: spec.bytes() bytes, aligned to 4 at least. Its contents may come later.
  FrozenMatrix(const FrozenSpec& spec, const std::byte* blob);

  /// Fills a blob of spec.bytes() from w[N*K] (every byte is written; padding is zero). Throws
  /// Error naming the tensor on an element that is not finite or, for float16, does not fit.
  static void quantize(Context& ctx, const FrozenSpec& spec, std::span<const float> w,
                       std::byte* blob, std::string_view name);

  const FrozenSpec& spec() const { return spec_; }
  int64_t rows() const { return spec_.rows; }
  int64_t cols() const { return spec_.cols; }
  const std::byte* blob() const { return blob_; }
  /// The same from a tensor of the context's device to a blob there, with the same bytes: w [N*K]
  /// in float32, on a GPU also bfloat16 or float16. Returns when all is done; on a GPU takes memory
  /// for two floats a block meanwhile.
  static void quantize(Context& ctx, const FrozenSpec& spec, Tensor w, std::byte* blob,
                       std::string_view name);

  /// out [N,K], float32, or bfloat16/float16 rounded once from the float32 values; where the blob
  /// and `out` are on the context's device. Takes no scratch.
  void dequantize(Context& ctx, Tensor out) const;

  /// Elements first, first + 1, ... of the flat weight, as many as `out` has, likewise. Fastest on
  /// a GPU where `first` is a multiple of 8.
  void dequantize_part(Context& ctx, int64_t first, Tensor out) const;

  /// Elements [first, first + count) of the flat weight of a blob on the host. Thread safe.
  void dequantize_span(int64_t first, int64_t count, float* out) const;

  /// Run r to out[r * ldo ...]. The host's, as are packers. Thread safe.
  void dequantize_runs(const Runs& runs, float* out, int64_t ldo) const;

  PackForward pack_forward() const;
  PackBackward pack_backward() const;

 private:
  FrozenSpec spec_;
  const std::byte* blob_ = nullptr;
};

/// Packer for cpu::gemm of y[M,N] = x[M,K] W^T: B[k][n] = W[n][k].
class PackForward {
 public:
  explicit PackForward(const FrozenMatrix& w) : w_(w) {}
  void operator()(int64_t n0, int64_t nc, int64_t k0, int64_t kc, float* panel) const;

 private:
  FrozenMatrix w_;
};

/// Packer for cpu::gemm of dx[M,K] = dy[M,N] W, whose depth is N: B[k][n] = W[k][n].
class PackBackward {
 public:
  explicit PackBackward(const FrozenMatrix& w) : w_(w) {}
  void operator()(int64_t n0, int64_t nc, int64_t k0, int64_t kc, float* panel) const;

 private:
  FrozenMatrix w_;
};

inline PackForward FrozenMatrix::pack_forward() const { return PackForward(*this); }
inline PackBackward FrozenMatrix::pack_backward() const { return PackBackward(*this); }

namespace cuda {
/// The index of the first element of w, a tensor of the context's device, whose magnitude is not
/// below `limit` (NaN is not); -1: none. Waits.
int64_t first_not_below(Context& ctx, Tensor w, float limit);
}  // namespace cuda

}  // namespace tessera::quant
