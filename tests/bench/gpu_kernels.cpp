#include "tests/bench/gpu_kernels.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>

#include "optim/rule.h"
#include "quant/frozen_matrix.h"
#include "runtime/core/error.h"
#include "runtime/core/has_cuda.h"
#include "runtime/cuda/gemm.h"
#include "runtime/ops/activation.h"
#include "runtime/ops/add.h"
#include "runtime/ops/attention.h"
#include "runtime/ops/cross_entropy.h"
#include "runtime/ops/matmul.h"
#include "runtime/ops/norm.h"
#include "runtime/ops/rope.h"
#include "tests/bench/random_values.h"

namespace tessera::launch {
namespace {

constexpr int64_t kRank = 16;
constexpr int kAlgorithms = 10, kBatches = 5;
constexpr double kBatchSeconds = 2e-3;           // long beside what a launch costs the host
constexpr double kMostInL2 = double(128 << 20);  // bytes

/// Operands, until it goes.
class Operands {
 public:
  explicit Operands(Context& ctx) : ctx_(ctx) {}

  Tensor zeros(DType dtype, std::initializer_list<int64_t> shape) {
    const Tensor sized(nullptr, dtype, shape);
    memory_.push_back(Buffer::on(ctx_.device(), sized.bytes()));
    return Tensor(memory_.back().data(), dtype, shape, ctx_.device());
  }
  Tensor random(DType dtype, std::initializer_list<int64_t> shape) {
    const Tensor made = zeros(dtype, shape);
    const std::vector<float> values = testing::random_values(size_t(made.numel()));
    const std::vector<std::byte> bytes = testing::stored(dtype, values);
    ctx_.compute_stream().copy(made.raw(), bytes.data(), bytes.size());
    ctx_.compute_stream().synchronize();
    return made;
  }
  /// Of the type that operators hand each other.
  Tensor activation(std::initializer_list<int64_t> shape) {
    return random(ctx_.activation_dtype(), shape);
  }
  template <class T>
  Tensor of(const std::vector<T>& values, std::initializer_list<int64_t> shape) {
    const Tensor made = zeros(dtype_of<T>(), shape);
    ctx_.compute_stream().copy(made.raw(), values.data(), made.bytes());
    ctx_.compute_stream().synchronize();
    return made;
  }

 private:
  Context& ctx_;
  std::vector<Buffer> memory_;
};

class KernelBench {
 public:
  KernelBench(Context& ctx, const KernelsAsked& asked)
      : ctx_(ctx), asked_(asked), t_(asked.tokens) {}

  std::vector<KernelRate> run() {
    copy();
    products();
    adapters();
    attention_of_a_sample();
    dequantize();
    norms();
    activations();
    head();
    optimizer();
    return std::move(rows_);
  }

 private:
  using Work = std::function<void()>;

  void copy();
  void products();
  void adapters();
  void attention_of_a_sample();
  void dequantize();
  void norms();
  void activations();
  void head();
  void optimizer();

  /// Gives the operators as much scratch as the work takes.
  void prepare(const Work& work) {
    ctx_.set_scratch(Arena(ctx_.device()));
    work();
    const size_t bytes = std::max(ctx_.scratch().high_water(), Arena::kAlignment);
    ctx_.set_scratch(Arena(ctx_.device(), bytes));
  }
  double seconds_of(const Work& work);
  void measure(KernelRate row, const Work& work) {
    prepare(work);
    row.seconds = seconds_of(work);
    rows_.push_back(std::move(row));
  }
  void measure_product(const std::string& name, const std::array<Tensor, 3>& cab,
                       MatmulOptions options);

  Context& ctx_;
  const KernelsAsked& asked_;
  const int64_t t_;
  std::vector<KernelRate> rows_;
};

double KernelBench::seconds_of(const Work& work) {
  work();  // where what is chosen once is chosen
  if (asked_.once) return 0;
  Timeline timeline(ctx_.compute_stream());
  const auto seconds_of_batch = [&](int times) {
    timeline.take();
    for (int i = 0; i < times; ++i) work();
    const ComputeParts parts = timeline.take();
    return std::accumulate(parts.begin(), parts.end(), 0.0) / times;
  };
  const int times = int(std::clamp(kBatchSeconds / seconds_of_batch(1), 1.0, 200.0));
  std::vector<double> seconds;
  for (int i = 0; i < kBatches; ++i) seconds.push_back(seconds_of_batch(times));
  std::ranges::nth_element(seconds, seconds.begin() + kBatches / 2);
  return seconds[kBatches / 2];
}

void KernelBench::copy() {
  const size_t bytes = size_t(asked_.shape.hidden) << 17;  // 512 MiB of 8B's shape
  const Buffer from = Buffer::on(ctx_.device(), bytes), to = Buffer::on(ctx_.device(), bytes);
  measure(
      {.name = "copy", .size = fmt::format("{} MiB", bytes >> 20), .bytes = 2.0 * double(bytes)},
      [&] { ctx_.compute_stream().copy(to.data(), from.data(), bytes); });
}

/// c (+)= a b, by each of cuBLASLt's first algorithms where there is a GPU.
void KernelBench::measure_product(const std::string& name, const std::array<Tensor, 3>& cab,
                                  MatmulOptions options) {
  const auto& [c, a, b] = cab;
  const int64_t k = options.transpose_b ? b.cols() : b.rows();
  KernelRate row{.name = name,
                 .size = fmt::format("[{}, {}] x [{}, {}]", c.rows(), k, k, c.cols())};
  row.bytes = double(a.bytes() + b.bytes() + (options.accumulate ? 2 : 1) * c.bytes());
  row.operations = 2.0 * double(c.rows()) * double(c.cols()) * double(k);
  const Work taken = [&] { matmul(ctx_, c, a, b, options); };
  prepare(taken);
  row.seconds = seconds_of(taken);
  if constexpr (kHasCuda) {
    if (ctx_.device().is_cuda() && !asked_.once) {
      cuda::GemmArgs args{.c = c,
                          .a = a,
                          .b = b,
                          .transpose_a = options.transpose_a,
                          .transpose_b = options.transpose_b,
                          .accumulate = options.accumulate};
      try {
        for (; args.choice < kAlgorithms; ++args.choice) {
          row.algorithms.push_back(seconds_of([&] { cuda::gemm(ctx_, args); }));
        }
      } catch (const Error& error) {
        // Otherwise there are no more.
        if (!std::strstr(error.what(), " algorithms, not ")) throw;
      }
    }
  }
  rows_.push_back(std::move(row));
}

/// Of the layers' linears: y = x W^T, and dx = dy W.
void KernelBench::products() {
  const Shape& s = asked_.shape;
  const struct {
    const char* name;
    int64_t out, in;
  } linears[] = {{"q_proj", s.heads * s.head_dim, s.hidden},
                 {"k_proj", s.kv_heads * s.head_dim, s.hidden},
                 {"gate_proj", s.ffn, s.hidden},
                 {"down_proj", s.hidden, s.ffn}};
  for (const auto& [name, out, in] : linears) {
    Operands make(ctx_);
    const Tensor x = make.activation({t_, in}), y = make.activation({t_, out});
    const Tensor w = make.activation({out, in});
    measure_product(fmt::format("{} forward", name), {y, x, w}, {.transpose_b = true});
    measure_product(fmt::format("{} backward", name), {x, y, w}, {});
  }
}

/// LoRA's six products on gate_proj.
void KernelBench::adapters() {
  const int64_t in = asked_.shape.hidden, out = asked_.shape.ffn;
  Operands make(ctx_);
  const Tensor x = make.activation({t_, in}), y = make.activation({t_, out});
  const Tensor u = make.activation({t_, kRank});
  const Tensor a = make.activation({kRank, in}), b = make.activation({out, kRank});
  const Tensor da = make.zeros(DType::kF32, {kRank, in}),
               db = make.zeros(DType::kF32, {out, kRank});
  measure_product("adapter u = x A^T", {u, x, a}, {.transpose_b = true});
  measure_product("adapter y += u B^T", {y, u, b}, {.transpose_b = true, .accumulate = true});
  measure_product("adapter dB += dy^T u", {db, y, u}, {.transpose_a = true, .accumulate = true});
  measure_product("adapter du = dy B", {u, y, b}, {});
  measure_product("adapter dA += du^T x", {da, u, x}, {.transpose_a = true, .accumulate = true});
  measure_product("adapter dx += du A", {x, u, a}, {.accumulate = true});
}

void KernelBench::attention_of_a_sample() {
  const Shape& s = asked_.shape;
  const int64_t q_size = s.heads * s.head_dim, kv_size = s.kv_heads * s.head_dim;
  Operands make(ctx_);
  const Tensor q = make.activation({t_, q_size}), out = make.activation({t_, q_size});
  const Tensor dout = make.activation({t_, q_size}), dq = make.activation({t_, q_size});
  const Tensor k = make.activation({t_, kv_size}), v = make.activation({t_, kv_size});
  const Tensor dk = make.activation({t_, kv_size}), dv = make.activation({t_, kv_size});
  const Tensor lse = make.zeros(DType::kF32, {s.heads, t_});
  const std::vector<int32_t> starts = {0, int32_t(t_)};
  Arena tiles(ctx_.device(), 3 * (size_t(t_) * sizeof(AttentionTile) + Arena::kAlignment));
  AttentionSamples samples(ctx_, tiles, starts, 3);
  const AttentionInput in{
      q, k, v, samples, {s.heads, s.kv_heads, s.head_dim, 1.0f / std::sqrt(float(s.head_dim))}};
  // As the plan counts them: half of the pairs; two products forward, seven backward.
  const double product = double(t_) * double(t_) * double(q_size);
  const std::string size = fmt::format("{} tokens, {} heads of {}", t_, s.heads, s.head_dim);
  const double read = double(q.bytes() + k.bytes() + v.bytes());
  measure({.name = "attention forward",
           .size = size,
           .bytes = read + double(out.bytes()),
           .operations = 2 * product},
          [&] { attention(ctx_, out, lse, in); });
  measure({.name = "attention backward",
           .size = size,
           .bytes = 2 * read + double(out.bytes() + dout.bytes()),
           .operations = 7 * product},
          [&] {
            attention_backward(ctx_, {dq, dk, dv}, dout, out, lse, in);
          });
}

void KernelBench::dequantize() {
  const quant::FrozenSpec spec{{}, asked_.shape.ffn, asked_.shape.hidden};
  Operands make(ctx_);
  const Tensor w = make.activation({spec.rows, spec.cols});
  const Tensor blob = make.zeros(DType::kU8, {int64_t(spec.bytes())});
  quant::FrozenMatrix::quantize(ctx_, spec, w, static_cast<std::byte*>(blob.raw()), "a matrix");
  const quant::FrozenMatrix matrix(spec, static_cast<const std::byte*>(blob.raw()));
  measure({.name = "dequantize",
           .size = fmt::format("[{}, {}]", spec.rows, spec.cols),
           .bytes = double(blob.bytes() + w.bytes())},
          [&] { matrix.dequantize(ctx_, w); });
}

void KernelBench::norms() {
  const int64_t c = asked_.shape.hidden;
  Operands make(ctx_);
  const Tensor x = make.activation({t_, c}), y = make.activation({t_, c});
  const Tensor dx = make.activation({t_, c}), w = make.activation({c});
  const Tensor rstd = make.zeros(DType::kF32, {t_});
  const std::string size = fmt::format("[{}, {}]", t_, c);
  const auto columns = double(x.bytes());
  measure({.name = "rmsnorm forward", .size = size, .bytes = 2 * columns}, [&] {
    rmsnorm(ctx_, y, rstd, x, {w, 1e-5f});
  });
  measure({.name = "rmsnorm backward", .size = size, .bytes = 4 * columns}, [&] {
    rmsnorm_backward(ctx_, dx, y, x, {w, 1e-5f}, rstd);
  });
  measure({.name = "add", .size = size, .bytes = 3 * columns}, [&] { add(ctx_, y, x); });
}

void KernelBench::activations() {
  const Shape& s = asked_.shape;
  Operands make(ctx_);
  const Tensor gate = make.activation({t_, s.ffn}), up = make.activation({t_, s.ffn});
  const Tensor dgate = make.activation({t_, s.ffn}), dup = make.activation({t_, s.ffn});
  const Tensor y = make.activation({t_, s.ffn});
  const GluInput in{gate, up, Activation::kSilu};
  const std::string size = fmt::format("[{}, {}]", t_, s.ffn);
  const auto columns = double(y.bytes());
  measure({.name = "swiglu forward", .size = size, .bytes = 3 * columns},
          [&] { glu(ctx_, y, in); });
  measure({.name = "swiglu backward", .size = size, .bytes = 5 * columns},
          [&] { glu_backward(ctx_, dgate, dup, y, in); });

  const int64_t half = s.head_dim / 2;
  std::vector<float> cos(size_t(t_ * half)), sin = cos;
  rope_table(Tensor::of(std::span(cos), {t_, half}), Tensor::of(std::span(sin), {t_, half}),
             {.dims = s.head_dim}, {t_});
  std::vector<int32_t> places(static_cast<size_t>(t_));
  std::iota(places.begin(), places.end(), 0);
  const Tensor x = make.activation({t_, s.heads * s.head_dim});
  const RopeTurn turn{make.of(places, {t_}), make.of(cos, {t_, half}), make.of(sin, {t_, half}),
                      s.head_dim, false};
  measure({.name = "rope",
           .size = fmt::format("[{}, {}]", t_, x.cols()),
           .bytes = 2.0 * double(x.bytes())},
          [&] { rope(ctx_, x, turn); });
}

/// A chunk of tokens, as the head cuts them: 64 MiB of logits.
void KernelBench::head() {
  const Shape& s = asked_.shape;
  const int64_t logit = int64_t(size_of(ctx_.activation_dtype()));
  const int64_t rows = std::clamp<int64_t>((int64_t{64} << 20) / (logit * s.vocab), 1, t_);
  Operands make(ctx_);
  const Tensor x = make.activation({rows, s.hidden}), w = make.activation({s.vocab, s.hidden});
  const Tensor logits = make.activation({rows, s.vocab});
  const Tensor losses = make.zeros(DType::kF32, {rows});
  const std::vector<int32_t> targets(size_t(rows), 1);
  measure_product("head forward", {logits, x, w}, {.transpose_b = true});
  measure_product("head backward", {x, logits, w}, {});
  measure({.name = "cross_entropy",
           .size = fmt::format("[{}, {}]", rows, s.vocab),
           .bytes = 3.0 * double(logits.bytes())},
          [&] { cross_entropy(ctx_, losses, logits, targets, {.scale = 1.0f}); });
}

/// Of all adapters of the model.
void KernelBench::optimizer() {
  const Shape& s = asked_.shape;
  const int64_t q = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim;
  const int64_t n =
      s.layers * kRank * (2 * (s.hidden + q) + 2 * (s.hidden + kv) + 3 * (s.hidden + s.ffn));
  Operands make(ctx_);
  const Tensor params = make.random(DType::kF32, {n}), grads = make.random(DType::kF32, {n});
  const optim::Rule& rule = optim::adamw_rule();
  const optim::OptimizerOptions options;
  for (const optim::StateBits bits : {optim::StateBits::k32, optim::StateBits::k8}) {
    const optim::StateRun run{0, size_t(n), bits};
    const size_t bytes = run.bytes(rule.moments.size());
    const Tensor state = make.zeros(DType::kU8, {int64_t(bytes)});
    const optim::StateView view{run, rule.moments.size(), static_cast<std::byte*>(state.raw())};
    measure({.name = fmt::format("adamw, {} bits", int(bits)),
             .size = fmt::format("{} parameters", n),
             .bytes = 3.0 * double(params.bytes()) + 2.0 * double(bytes)},
            [&] {
              rule.update(ctx_,
                          {params.span<float>(), grads.span<const float>(), options, 1, 1e-4, 1.0f},
                          view);
            });
  }
}

double most(const std::vector<KernelRate>& rows, double (*rate)(const KernelRate&)) {
  double best = 0;
  for (const KernelRate& row : rows) best = std::max(best, rate(row));
  return best;
}

}  // namespace

double KernelRate::best() const {
  return algorithms.empty() ? seconds : std::ranges::min(algorithms);
}

std::vector<KernelRate> measure_kernels(Context& ctx, const KernelsAsked& asked) {
  return KernelBench(ctx, asked).run();
}

std::string kernel_table(const std::vector<KernelRate>& rows) {
  const double copied = rows.front().bytes / rows.front().seconds;
  const double multiplied = most(rows, [](const KernelRate& r) { return r.operations / r.best(); });
  std::string table =
      "| operator | size | us | GB/s | TFLOP/s | share of the fastest here | cuBLASLt's best, us | "
      "its place |\n|---|---|---|---|---|---|---|---|\n";
  for (const KernelRate& row : rows) {
    const double bytes = row.bytes / row.seconds, operations = row.operations / row.seconds;
    const double of_copy = bytes / copied,
                 of_product = multiplied > 0 ? operations / multiplied : 0;
    const bool in_l2 = row.bytes < kMostInL2 && of_copy > of_product;
    table += fmt::format("| {} | {} | {:.1f} | {:.0f} | ", row.name, row.size, row.seconds * 1e6,
                         bytes / 1e9);
    table += row.operations > 0 ? fmt::format("{:.1f} | ", operations / 1e12) : "- | ";
    table +=
        fmt::format("{:.0f} %{} | ", 100 * std::max(of_copy, of_product), in_l2 ? " (L2)" : "");
    if (row.algorithms.empty()) {
      table += "- | - |\n";
      continue;
    }
    const auto place = std::ranges::min_element(row.algorithms) - row.algorithms.begin();
    table +=
        fmt::format("{:.1f} | {} of {} |\n", row.best() * 1e6, place + 1, row.algorithms.size());
  }
  return table;
}

nlohmann::ordered_json kernel_json(const std::vector<KernelRate>& rows) {
  auto all = nlohmann::ordered_json::array();
  for (const KernelRate& row : rows) {
    all.push_back({{"name", row.name},
                   {"size", row.size},
                   {"seconds", row.seconds},
                   {"bytes", row.bytes},
                   {"operations", row.operations},
                   {"algorithms", row.algorithms}});
  }
  return all;
}

}  // namespace tessera::launch
