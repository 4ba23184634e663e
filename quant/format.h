// The formats in which a frozen weight can be stored: a Format says how its blobs are laid out,
// written and read. FrozenMatrix (quant/frozen_matrix.h) is the way in; it knows no format by name.
// A new one is a file like quant/format_4bit.cpp and a row of the table in quant/format.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera::quant {

struct Format;
extern const Format kNf4Format;  // quant/format_4bit.h

/// How a matrix is stored, whatever its size. The last two are for quantized formats.
struct Storage {
  const Format* format = &kNf4Format;
  int block = 64;            // elements that share a scale
  bool double_quant = true;  // the scales are quantized, too

  bool operator==(const Storage&) const = default;
};

/// "NF4, double-quantized, blocks of 64"; a format that is not quantized has its name alone.
std::string describe(const Storage& storage);

/// A matrix W[N,K] (N outputs, K inputs, row-major) and how it is stored, from which the size of
/// its blob follows.
struct FrozenSpec : Storage {
  static constexpr size_t kAlignment = 256;

  int64_t rows = 0;  // N
  int64_t cols = 0;  // K

  int64_t numel() const { return rows * cols; }
  /// Size of the blob, a multiple of kAlignment.
  size_t bytes() const;
  /// The blob is [N,K] of `dtype`.
  bool is_dense(DType dtype) const;

  /// Throws Error (usage) on a block size that does not exist; checks rows, cols >= 1.
  void validate() const;

  bool operator==(const FrozenSpec&) const = default;
};

/// `bytes` rounded up to FrozenSpec::kAlignment.
size_t aligned(size_t bytes);

/// `rows` runs of `count` elements, run r starting at flat element first + r * stride.
struct Runs {
  int64_t first;
  int64_t stride;
  int64_t rows;
  int64_t count;
};

/// Blobs have spec.bytes() bytes. The last two functions are for memory of a GPU, and are called in
/// a build with CUDA only.
struct Format {
  std::string_view name;       // as configs name it: "nf4"
  std::optional<DType> dtype;  // the blob is the elements, of this type; none: it is quantized
  float limit;                 // magnitudes from here on cannot be stored
  /// Error (usage) where the options of `storage` do not exist.
  void (*check)(const Storage& storage);
  size_t (*bytes)(const FrozenSpec& spec);
  /// Host memory that encode() takes beside w and the blob.
  size_t (*encode_bytes)(const FrozenSpec& spec);
  /// Fills a zeroed blob from w[N*K]. Error naming the tensor on an element that cannot be stored.
  void (*encode)(Context& ctx, const FrozenSpec& spec, std::span<const float> w, std::byte* blob,
                 std::string_view name);
  /// Run r to out[r * ldo ...]. Thread safe; writes nothing but the runs' elements.
  void (*decode)(const FrozenSpec& spec, const std::byte* blob, const Runs& runs, float* out,
                 int64_t ldo);
  /// As encode(), of elements that can be stored: w [N*K] is float32, bfloat16 or float16.
  void (*encode_on_gpu)(Context& ctx, const FrozenSpec& spec, Tensor w, std::byte* blob,
                        std::string_view name);
  /// Elements first, first + 1, ... as many as `out` has, rounded once to its dtype.
  void (*decode_on_gpu)(Context& ctx, const FrozenSpec& spec, const std::byte* blob, int64_t first,
                        Tensor out);
};

/// The table.
std::span<const Format* const> formats();

/// The format that stores the elements of a 16- or 32-bit float type as they are. Error for another
/// type.
const Format* format_of(DType dtype);

/// Throws the Error for an element of tensor `name` that is not finite, or does not fit float16.
[[noreturn]] void refuse_element(std::string_view name, int64_t index, float value);

}  // namespace tessera::quant
