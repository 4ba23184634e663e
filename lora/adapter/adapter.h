// LoRA adapters: the parameters that are trained, as views into one flat float32 buffer.
// Order: layer, then site, A then B; then matrices that are trained in full; then single rows of
// the embedding. Every tensor starts at a multiple of 256 elements; the padding between tensors is
// and stays zero. Gradients live in the same layout in a buffer that the caller owns and may
// exchange between micro-batches.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "lora/adapter/targets.h"
#include "runtime/core/buffer.h"
#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera::lora {

class Checkpoint;

struct AdapterOptions {
  int64_t r = 16;
  double alpha = 32.0;
  bool rslora = false;
  double dropout = 0.0;
  TargetModules targets = {};
  ModuleValues<int64_t> ranks = {};  // in place of r
  ModuleValues<double> alphas = {};  // in place of alpha
  TrainedTokens tokens = {};
};

/// Error (usage) unless 1 <= r <= kMaxRank, alpha is finite and positive, for single modules, too,
/// and 0 <= dropout < 1.
inline constexpr int64_t kMaxRank = 65536;
void check_adapter_options(const AdapterOptions& options);

/// One linear's adapter: y += scale * dropout(x) * A^T * B^T.
struct Adapter {
  Tensor a;   // [R, in]
  Tensor b;   // [out, R]
  Tensor da;  // as a; empty until a gradient buffer is set
  Tensor db;  // as b
  float scale;
};

/// A matrix of the base that is trained in full: y = x W^T, or the rows of W.
struct WholeMatrix {
  Tensor w;   // [V, C]
  Tensor dw;  // as w; empty until a gradient buffer is set
};

/// Rows of the embedding that are trained in place of the base's. Where the head is the embedding,
/// they are rows of both.
struct TokenRows {
  std::vector<int32_t> ids;  // the token of each row
  Tensor w;                  // [ids.size(), C]
  Tensor dw;                 // as w; empty until a gradient buffer is set

  /// The row of a token; -1: it is not trained.
  int32_t row_of(int32_t id) const {
    const auto found = rows.find(id);
    return found == rows.end() ? -1 : found->second;
  }
  std::unordered_map<int32_t, int32_t> rows;  // of ids
};

/// What the options select in a model.
struct TrainedParts {
  /// Of one linear's adapter.
  struct Size {
    int64_t r;
    double alpha;
    bool operator==(const Size&) const = default;
  };
  std::vector<TensorRow> linears;  // that have an adapter, in the order of the tensor table
  std::vector<Size> sizes;         // of each
  std::vector<TensorRow> whole;    // as select_whole()
  TokenSelection tokens;           // as select_tokens()
};
/// Error as select_linears(), select_whole(), select_tokens() and first_matches().
TrainedParts trained_parts(const AdapterOptions& options, const ModelSpec& model);

/// Whether the embedding that is trained in full is the head as well.
bool ties_to_embedding(const AdapterOptions& options, const TrainedParts& parts,
                       const ModelSpec& model);

/// alpha / r, or alpha / sqrt(r) with rslora.
float adapter_scale(TrainedParts::Size size, bool rslora);

/// One tensor of the flat buffer.
struct Segment {
  std::string name;  // "model.layers.0.self_attn.q_proj.lora_A.weight", "lm_head.weight",
                     // "model.embed_tokens.token_adapter.trainable_tokens_delta"
  size_t offset;     // in elements, a multiple of AdapterSet::kAlignment
  int64_t rows;
  int64_t cols;

  size_t elements() const { return size_t(rows) * size_t(cols); }
};

/// The table of the flat buffer, in its order, known without allocating it.
std::vector<Segment> adapter_segments(const TrainedParts& parts);
/// Elements of the flat buffer, padding included.
size_t flat_size(std::span<const Segment> segments);

class AdapterSet {
 public:
  static constexpr size_t kAlignment = 256;

  /// All parameters zero, which is no adapter; see init() and copy_whole(). Error as
  /// check_adapter_options() and trained_parts().
  AdapterSet(const ModelSpec& spec, AdapterOptions options, Device device = Device::cpu());
  /// The same of parts that are known, whatever the options select.
  AdapterSet(const ModelSpec& spec, AdapterOptions options, TrainedParts parts, Device device);
  /// Shapes only, gradients included, without memory: for planning.
  static AdapterSet shapes(const ModelSpec& spec, AdapterOptions options, Device device);

  const AdapterOptions& options() const { return options_; }
  /// The linears that have an adapter, in the order of the tensor table.
  const std::vector<TensorRow>& linears() const { return parts_.linears; }
  /// Names that select them, as names_of().
  std::vector<std::string> target_names() const;
  const TrainedParts& parts() const { return parts_; }
  /// As ties_to_embedding().
  bool ties_head() const { return ties_head_; }
  /// The options that select the same by names alone, in any order: what is written.
  AdapterOptions plain_options() const;
  const std::vector<Segment>& segments() const { return segments_; }
  /// Parameters that are trained: the flat size less the padding.
  int64_t trainable() const;

  /// Elements of the flat buffer, padding included.
  size_t size() const { return size_; }
  /// The parameters in host memory: on the CPU those that are trained, on a GPU a copy of them.
  std::span<float> params() { return {host_.as<float>(), size_}; }
  std::span<const float> params() const { return {host_.as<float>(), size_}; }
  /// Those that are trained, on the device; not for the host to read.
  std::span<float> device_params() { return {device_params_, size_}; }
  /// Makes the trained parameters what params() holds, or the other way. Waits. Nothing on the CPU.
  void to_device(Context& ctx);
  void to_host(Context& ctx);

  /// Binds every da and db to `grads` (size() elements on the device, as params()), which must live
  /// until the next call. Pointers from find() stay valid.
  void set_gradient_buffer(std::span<float> grads);

  /// The embedding or the head where it is trained in full, else null. Valid as long as this set.
  const WholeMatrix* whole(Role role) const;
  /// The rows of the embedding that are trained, or null. Valid as long as this set.
  const TokenRows* token_rows() const { return token_rows_ ? &*token_rows_ : nullptr; }
  /// Makes the matrices and rows that are trained themselves those of the base. Sets params().
  void copy_whole(const Checkpoint& base);

  /// Null where the layer or the site has no adapter. Valid as long as this set.
  Adapter* find(int64_t layer, Site site);
  const Adapter* find(int64_t layer, Site site) const;

  /// PEFT's initial values (torch's kaiming_uniform_ with a = sqrt(5)): A uniform in
  /// [-1/sqrt(in), 1/sqrt(in)), B zero. A pure function of the seed, the number of the linear in
  /// the tensor table and the index in A, so neither other targets nor the number of layers change
  /// it. Sets params(), but for what copy_whole() sets.
  void init(uint64_t seed);

 private:
  std::span<float> in_host(const Tensor& param);
  /// In adapters_, or -1.
  int32_t index_of(int64_t layer, Site site) const;

  enum class Memory { kReal, kNone };
  AdapterSet(const ModelSpec& spec, AdapterOptions options, TrainedParts parts, Device device,
             Memory memory);

  AdapterOptions options_;
  int64_t layers_;
  TrainedParts parts_;
  bool ties_head_;
  std::vector<Segment> segments_;
  std::vector<Adapter> adapters_;   // of each linear
  std::vector<WholeMatrix> whole_;  // of each of parts_.whole
  std::optional<TokenRows> token_rows_;
  std::vector<std::array<int32_t, kSiteCount>> index_;  // by layer and site: in adapters_, or -1
  Device device_;
  size_t size_;
  Buffer host_;
  Buffer gpu_;
  float* device_params_ = nullptr;  // in one of the two
};

}  // namespace tessera::lora
