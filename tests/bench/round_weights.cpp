// Weights rounded to few bits. By hand, from examples/quality, which trains on such weights:
//   bench_round_weights errors MODEL|normal              what each format costs, as a line of JSON
//   bench_round_weights write MODEL FOLDER float16|int8|int4   a Hugging Face folder in float16
// intN rounds the linears of the layers to -L..L times a scale, L = 2^(N-1) - 1; each 64 weights in
// a row of the file share one scale, their largest magnitude / L. All other weights stay.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <numbers>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "launch/commands/model_folder.h"
#include "launch/machine/processors.h"
#include "lora/model/checkpoint.h"
#include "quant/blockwise4.h"
#include "quant/double_quant.h"
#include "quant/format_4bit.h"
#include "quant/frozen_matrix.h"
#include "runtime/core/buffer.h"
#include "runtime/core/error.h"
#include "runtime/io/json.h"

namespace {

using namespace tessera;
using Weights = std::span<float>;

constexpr int kBlock = 64;
constexpr double kScaleBits = 32.0 / kBlock;  // of a float32 scale, for each weight

/// A way to store weights: rounds w[N*K] in place to what is read back.
struct Rounding {
  std::string name;
  double bits;  // a weight takes, with its share of the scales
  std::function<void(Context& ctx, int64_t cols, Weights w)> round;
};

void to_float16(Weights w) {
  for (float& x : w) x = to_float(to_f16(x));
}

void to_uniform(Weights w, int bits) {
  const auto levels = float((1 << (bits - 1)) - 1);
  for (size_t first = 0; first < w.size(); first += kBlock) {
    const Weights block = w.subspan(first, std::min(w.size() - first, size_t{kBlock}));
    float largest = 0;
    for (float x : block) largest = std::max(largest, std::abs(x));
    if (largest == 0) continue;
    const float scale = largest / levels;
    for (float& x : block) x = std::nearbyint(x / scale) * scale;
  }
}

Rounding uniform(int bits) {
  return {fmt::format("int{}", bits), bits + kScaleBits, [bits](Context&, int64_t, Weights w) {
            to_uniform(w, bits);
            to_float16(w);  // as write() stores them
          }};
}

Rounding stored(std::string name, const quant::Storage& storage) {
  const double scales =
      storage.double_quant ? 8.0 / kBlock + kScaleBits / double(quant::kNestedBlock) : kScaleBits;
  return {std::move(name), 4 + scales, [storage](Context& ctx, int64_t cols, Weights w) {
            const quant::FrozenSpec spec{storage, int64_t(w.size()) / cols, cols};
            const Buffer blob = Buffer::host(spec.bytes());
            quant::FrozenMatrix::quantize(ctx, spec, w, blob.data(), "a linear");
            quant::FrozenMatrix(spec, blob.data()).dequantize_span(0, spec.numel(), w.data());
          }};
}

/// The x below which the share p of N(0, 1) lies.
double normal_quantile(double p) {
  double low = -9, high = 9;
  for (int i = 0; i < 200; ++i) {
    const double middle = (low + high) / 2;
    (std::erfc(-middle / std::numbers::sqrt2) / 2 < p ? low : high) = middle;
  }
  return low;
}

double normal_density(double x) { return std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi); }

/// The largest `count` of the 2 * count + 1 values of a symmetric code.
using UpperHalf = std::vector<double> (*)(int count);

/// Dettmers et al. 2023 (arXiv 2305.14314), equation 4: a value is the middle between neighbouring
/// quantiles Q(i / n) and Q((i + 1) / n). The quantiles at 0 and 1 are infinite; n - 2 values are
/// left.
std::vector<double> middles_of_quantiles(int count) {
  const int n = 2 * count + 3;
  std::vector<double> values;
  for (int i = count + 2; i <= n - 2; ++i) {
    values.push_back((normal_quantile(double(i) / n) + normal_quantile(double(i + 1) / n)) / 2);
  }
  return values;
}

/// The same paper's text, by which each value stands for an equal number of weights: N(0, 1) is cut
/// into n equal areas, and a value is the mean over its area.
std::vector<double> means_of_areas(int count) {
  const int n = 2 * count + 1;
  std::vector<double> values;
  for (int i = count + 1; i < n; ++i) {
    const double low = normal_density(normal_quantile(double(i) / n));
    const double high = i + 1 == n ? 0 : normal_density(normal_quantile(double(i + 1) / n));
    values.push_back((low - high) * n);
  }
  return values;
}

/// As the paper makes the code asymmetric: 7 negative values, 0, and 8 positive ones, each side
/// divided by its largest.
quant::Codebook4 codebook_of(UpperHalf half) {
  std::vector<double> values{0};
  for (const int sign : {-1, 1}) {
    const std::vector<double> side = half(sign < 0 ? 7 : 8);
    for (double x : side) values.push_back(sign * x / side.back());
  }
  std::ranges::sort(values);
  quant::Codebook4 book{};
  for (size_t i = 0; i < 16; ++i) {
    book.values[i] = float(values[i]);
    book.order[i] = uint8_t(i);
  }
  for (size_t i = 0; i < 15; ++i) book.thresholds[i] = (book.values[i] + book.values[i + 1]) / 2;
  book.pad = 7;
  return book;
}

Rounding coded(std::string name, const quant::Codebook4& book) {
  return {std::move(name), 4 + kScaleBits, [book](Context& ctx, int64_t, Weights w) {
            constexpr size_t kReadable = 8;  // bytes after the codes
            std::vector<uint8_t> codes((w.size() + 1) / 2 + kReadable);
            std::vector<float> scales((w.size() + kBlock - 1) / kBlock);
            quant::quantize4(ctx, book, kBlock, w,
                             {std::span(codes).first((w.size() + 1) / 2), scales}, "a linear");
            quant::dequantize4({&book, codes.data(), kBlock, {.plain = scales.data()}},
                               {0, 0, 1, int64_t(w.size())}, w.data(), 0);
          }};
}

struct Account {
  std::string name;
  quant::Codebook4 book;
};

std::vector<Account> accounts() {
  return {{"nf4", quant::kNf4},
          {"nf4_middles", codebook_of(middles_of_quantiles)},
          {"nf4_means", codebook_of(means_of_areas)}};
}

std::vector<Rounding> roundings() {
  std::vector<Rounding> all{
      uniform(8),
      stored("nf4", {&quant::kNf4Format, kBlock, false}),
      stored("nf4_dq", {&quant::kNf4Format, kBlock, true}),
      stored("fp4", {&quant::kFp4Format, kBlock, false}),
      uniform(4),
  };
  // The first is NF4 itself, which is there already.
  const std::vector<Account> codes = accounts();
  for (size_t i = 1; i < codes.size(); ++i) all.push_back(coded(codes[i].name, codes[i].book));
  return all;
}

/// Sums over the weights seen.
struct Error {
  double squares = 0, magnitudes = 0;
};

class Errors {
 public:
  Errors() : ctx_(Device::cpu(), launch::thread_count({}), 0), of_(roundings_.size()) {}

  void add(std::span<const float> w, int64_t cols) {
    for (float x : w) add(all_, x);
    weights_ += int64_t(w.size());
    for (size_t r = 0; r < roundings_.size(); ++r) {
      rounded_.assign(w.begin(), w.end());
      roundings_[r].round(ctx_, cols, rounded_);
      for (size_t i = 0; i < w.size(); ++i) add(of_[r], double(rounded_[i]) - double(w[i]));
    }
  }

  nlohmann::ordered_json json() const {
    nlohmann::ordered_json formats, values;
    for (size_t r = 0; r < roundings_.size(); ++r) {
      formats[roundings_[r].name] = {{"bits", roundings_[r].bits},
                                     {"rms", std::sqrt(of_[r].squares / all_.squares)},
                                     {"mean", of_[r].magnitudes / all_.magnitudes}};
    }
    for (const Account& account : accounts()) values[account.name] = account.book.values;
    return {{"weights", weights_}, {"formats", formats}, {"values", values}};
  }

 private:
  static void add(Error& error, double x) {
    error.squares += x * x;
    error.magnitudes += std::abs(x);
  }

  const std::vector<Rounding> roundings_ = roundings();
  Context ctx_;
  Error all_;
  std::vector<Error> of_;
  std::vector<float> rounded_;
  int64_t weights_ = 0;
};

std::set<std::string> linears_of(const lora::Checkpoint& model) {
  std::set<std::string> names;
  for (const lora::TensorRow& row : lora::linears_of(model.spec())) names.insert(row.name());
  return names;
}

std::vector<float> read(const lora::Checkpoint& model, const lora::TensorInfo& info) {
  std::vector<float> w(size_t(info.numel()));
  model.read_f32(info.name, w);
  return w;
}

nlohmann::ordered_json errors_of_model(const std::string& path) {
  const lora::Checkpoint model = lora::Checkpoint::open(path);
  const std::set<std::string> linears = linears_of(model);
  Errors errors;
  int64_t others = 0;
  for (const lora::TensorInfo& info : model.tensors()) {
    if (!linears.contains(info.name)) {
      others += info.numel();
      continue;
    }
    errors.add(read(model, info), info.shape[1]);
  }
  nlohmann::ordered_json result = errors.json();
  result["other_weights"] = others;
  return result;
}

/// Of weights that are normal, as NF4 takes them to be: by Box and Muller, so that all libraries
/// draw the same.
nlohmann::ordered_json errors_of_normal() {
  constexpr int64_t kRows = 4096, kCols = 1024;
  std::mt19937 random(1);
  const auto uniform = [&] { return (double(random()) + 0.5) / 4294967296.0; };
  std::vector<float> w(size_t(kRows * kCols));
  for (float& x : w) {
    const double radius = std::sqrt(-2 * std::log(uniform()));
    x = float(radius * std::cos(2 * std::numbers::pi * uniform()));
  }
  Errors errors;
  errors.add(w, kCols);
  return errors.json();
}

void write(const std::string& path, const std::string& folder_path, const std::string& format) {
  const lora::Checkpoint model = lora::Checkpoint::open(path);
  const std::set<std::string> linears = linears_of(model);
  const auto bytes_of = [](const lora::TensorInfo& info) {
    return uint64_t(info.numel()) * sizeof(f16);
  };
  launch::ModelFolder folder(folder_path, model,
                             {.bytes_of = bytes_of, .shard_bytes = uint64_t{5} << 30});
  std::map<std::string, std::string> names;
  const auto entries = [&](std::span<const lora::TensorInfo> tensors) {
    std::vector<io::SafetensorsEntry> all;
    for (const lora::TensorInfo& info : tensors) {
      const std::string in_file = model.stored_name(info.name);
      names[in_file] = info.name;
      all.push_back({.name = in_file, .dtype = "F16", .shape = info.shape});
    }
    return all;
  };
  std::vector<f16> out;
  const auto bytes = [&](const std::string& in_file) {
    const lora::TensorInfo& info = model.info(names.at(in_file));
    std::vector<float> w = read(model, info);
    if (format != "float16" && linears.contains(info.name)) to_uniform(w, format == "int4" ? 4 : 8);
    out.resize(w.size());
    std::ranges::transform(w, out.begin(), to_f16);
    for (const f16 x : out) {
      if (!std::isfinite(to_float(x))) fail("tensor {} does not fit into float16", info.name);
    }
    return std::as_bytes(std::span<const f16>(out));
  };
  folder.write_tensors({entries, bytes});
  nlohmann::json config = io::parse_json(model.config(), path);
  config.erase("dtype");
  config["torch_dtype"] = "float16";
  folder.commit(config);
}

int run(const std::vector<std::string>& arguments) {
  const std::string command = arguments.empty() ? "" : arguments[0];
  const std::set<std::string> formats{"float16", "int8", "int4"};
  if (command == "errors" && arguments.size() == 2) {
    const nlohmann::ordered_json result =
        arguments[1] == "normal" ? errors_of_normal() : errors_of_model(arguments[1]);
    fmt::print("{}\n", result.dump());
    return 0;
  }
  if (command == "write" && arguments.size() == 4 && formats.contains(arguments[3])) {
    write(arguments[1], arguments[2], arguments[3]);
    return 0;
  }
  fail_usage("usage: errors MODEL|normal, or write MODEL FOLDER float16|int8|int4");
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    fmt::print(stderr, "round_weights: {}\n", error.what());
    return 1;
  }
}
