// LoRA adapters: the parameters that are trained, as views into one flat float32 buffer.
// Order: layer, then site, A then B. Every tensor starts at a multiple of 256 elements; the padding
// between tensors is zero and stays zero. Gradients live in the same layout in a buffer that the
// caller owns and may exchange between micro-batches.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lora/adapter/targets.h"
#include "runtime/core/buffer.h"
#include "runtime/core/context.h"
#include "runtime/core/tensor.h"

namespace tessera::lora {

struct AdapterOptions {
  int64_t r = 16;
  double alpha = 32.0;
  bool rslora = false;
  double dropout = 0.0;
  TargetModules targets = {};

  /// alpha / r, or alpha / sqrt(r) with rslora.
  float scale() const;
};

/// Error (usage) unless 1 <= r <= kMaxRank, alpha is finite and positive and 0 <= dropout < 1.
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

/// One tensor of the flat buffer.
struct Segment {
  std::string name;  // e.g. "model.layers.0.self_attn.q_proj.lora_A.weight"
  size_t offset;     // in elements, a multiple of AdapterSet::kAlignment
  int64_t rows;
  int64_t cols;

  size_t elements() const { return size_t(rows) * size_t(cols); }
};

/// The table of the flat buffer, in its order, known without allocating it.
std::vector<Segment> adapter_segments(std::span<const TensorRow> linears, int64_t r);
/// Elements of the flat buffer, padding included.
size_t flat_size(std::span<const Segment> segments);

class AdapterSet {
 public:
  static constexpr size_t kAlignment = 256;

  /// All parameters zero, which is no adapter; see init(). Error as check_adapter_options() and
  /// select_linears().
  AdapterSet(const ModelSpec& spec, AdapterOptions options, Device device = Device::cpu());
  /// Shapes only, gradients included, without memory: for planning.
  static AdapterSet shapes(const ModelSpec& spec, AdapterOptions options, Device device);

  const AdapterOptions& options() const { return options_; }
  /// The linears that have an adapter, in the order of the tensor table.
  const std::vector<TensorRow>& linears() const { return linears_; }
  /// Names that select them, as names_of().
  std::vector<std::string> target_names() const;
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

  /// Null where the layer or the site has no adapter. Valid as long as this set.
  Adapter* find(int64_t layer, Site site);
  const Adapter* find(int64_t layer, Site site) const;

  /// PEFT's initial values (torch's kaiming_uniform_ with a = sqrt(5)): A uniform in
  /// [-1/sqrt(in), 1/sqrt(in)), B zero. A pure function of the seed, the number of the linear in
  /// the tensor table and the index in A, so neither other targets nor the number of layers change
  /// it. Sets params().
  void init(uint64_t seed);

 private:
  std::span<float> in_host(const Tensor& param);
  /// In adapters_, or -1.
  int32_t index_of(int64_t layer, Site site) const;

  enum class Memory { kReal, kNone };
  AdapterSet(const ModelSpec& spec, AdapterOptions options, Device device, Memory memory);

  AdapterOptions options_;
  int64_t layers_;
  std::vector<TensorRow> linears_;
  std::vector<Segment> segments_;
  std::vector<Adapter> adapters_;                       // of each of linears_
  std::vector<std::array<int32_t, kSiteCount>> index_;  // by layer and site: in adapters_, or -1
  Device device_;
  size_t size_;
  Buffer host_;
  Buffer gpu_;
  float* device_params_ = nullptr;  // in one of the two
};

}  // namespace tessera::lora
