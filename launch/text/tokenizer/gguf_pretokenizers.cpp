#include "launch/text/tokenizer/gguf_pretokenizers.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <vector>

#include "launch/text/tokenizer/pretokenizer_pattern.h"
#include "launch/text/tokenizer/tokenizer_fields.h"
#include "launch/text/tokenizer/tokenizer_json_parts.h"
#include "runtime/core/error.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

using nlohmann::json;

constexpr std::string_view kDigit = R"(\p{N})";
constexpr std::string_view kThreeDigits = R"(\p{N}{1,3})";
constexpr std::string_view kThreeAsciiDigits = "[0-9][0-9][0-9]";

constexpr std::string_view kQwen35 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N})"
    R"(| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kJais2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S))"
    R"(|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1})";
constexpr std::string_view kBailing =
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*)"
    R"(|\s*[\r\n]|\s+(?!\S)|\s+)";
constexpr std::string_view kSeedCoder =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kWithoutContractions =
    R"([^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kMiniCpm5 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
/// Chinese characters and Japanese kana.
constexpr std::string_view kDeepSeek3Chinese = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+";
constexpr std::string_view kDeepSeek3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+)"
    R"(| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
/// Chinese, and whatever else stands from U+0800 on, and Korean.
constexpr std::string_view kDeepSeekCoderChinese = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+";
/// Up to the end of a sentence, in several scripts.
constexpr std::string_view kBloom = R"( ?[^(\s|.,!?)"
                                    "\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+";

/// How words are cut: by one expression after another, each within the parts that the ones before
/// it left; at last by GPT-2's where `gpt2`.
struct Family {
  std::vector<std::string_view> names;
  std::vector<std::string_view> cuts;
  bool gpt2 = false;
  bool nfc = false;
  bool ignore_merges = false;
  bool adds_bos = false;
};

/// Expressions are those of the published tokenizers where llama.cpp only comes near them. Qwen's
/// compose the text first, which no GGUF file says.
const std::vector<Family>& families() {
  static const std::vector<Family> all = {
      {.names = {"gpt-2", "phi-2", "jina-es", "jina-de", "jina-v2-es", "jina-v2-de", "jina-v1-en",
                 "jina-v2-code", "roberta-bpe", "gigachat", "a.x-4.0", "mellum", "modern-bert",
                 "mpt", "olmo", "jais", "trillion", "granite-docling", "exaone4"},
       .cuts = {},
       .gpt2 = true},
      {.names = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b",
                 "mellum2"},
       .cuts = {kDigit},
       .gpt2 = true},
      {.names = {"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0",
                 "lfm2", "jina-v5-nano"},
       .cuts = {kLlama3Pattern},
       .ignore_merges = true,
       .adds_bos = true},
      {.names = {"dbrx", "smaug-bpe", "chatglm-bpe", "glm4"}, .cuts = {kLlama3Pattern}},
      {.names = {"qwen2"}, .cuts = {kQwen2Pattern}, .nfc = true},
      {.names = {"qwen35"}, .cuts = {kQwen35}, .nfc = true},
      {.names = {"stablelm2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "hunyuan",
                 "solar-open", "grok-2"},
       .cuts = {kQwen2Pattern}},
      {.names = {"tekken"}, .cuts = {kTekken}, .ignore_merges = true, .adds_bos = true},
      {.names = {"gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"}, .cuts = {kO200kPattern}},
      {.names = {"deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"},
       .cuts = {kThreeDigits, kDeepSeek3Chinese, kDeepSeek3}},
      {.names = {"deepseek-coder"},
       .cuts = {R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)", kDeepSeekCoderChinese, kDigit}},
      {.names = {"falcon"}, .cuts = {R"([\p{P}\$\+<=>\^~\|`]+)", kGpt2Pattern, kThreeAsciiDigits}},
      {.names = {"default"},
       .cuts = {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2Pattern, R"(\p{N}+)", kThreeAsciiDigits}},
      {.names = {"bloom", "poro-chat", "gpt3-finnish"}, .cuts = {kBloom}},
      {.names = {"viking"}, .cuts = {kBloom, kDigit}},
      {.names = {"chameleon"},
       .cuts = {"<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", "([\\t\\n]|    |  )",
                kDigit, R"([\p{P}!-/:-@\[-`{-~])"},
       .gpt2 = true,
       .adds_bos = true},
      {.names = {"jais-2"}, .cuts = {kJais2}},
      {.names = {"bailingmoe", "bailingmoe2", "llada-moe"}, .cuts = {kBailing}},
      {.names = {"seed-coder"}, .cuts = {kSeedCoder}},
      {.names = {"ufakzeka"}, .cuts = {kWithoutContractions}},
      {.names = {"laguna"}, .cuts = {R"([^\n]+|[\n]+)", kQwen2Pattern}},
      {.names = {"minicpm5"}, .cuts = {kThreeDigits, kMiniCpm5}, .ignore_merges = true},
      {.names = {"tiny_aya", "cohere2moe"}, .cuts = {R"(\d{1,3}(?=(?:\d{3})*\b))", kO200kPattern}},
  };
  return all;
}

constexpr const char* kSteps = "pre_tokenizer";

/// How a tokenizer.json cuts words, as in the table.
struct Cuts {
  std::vector<std::string> cuts;
  bool gpt2 = false;
};

/// Line ends that an expression has as they are become escapes, as the table has them.
std::string escaped_line_ends(std::string_view expression) {
  std::string out;
  for (const char c : expression) {
    if (c == '\r' || c == '\n') {
      out += c == '\r' ? "\\r" : "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

/// Adds what a step does. False for one that no expression can do.
bool add_step(const json& step, Cuts& out) {
  const std::string type = step.value("type", "");
  if (type == "Sequence") {
    return std::ranges::all_of(step.value("pretokenizers", json::array()),
                               [&](const json& one) { return add_step(one, out); });
  }
  if (out.gpt2) return false;  // that is the last
  if (type == "ByteLevel") {
    out.gpt2 = bool_field(step, "use_regex", true, kSteps);
    return !bool_field(step, "add_prefix_space", true, kSteps);
  }
  if (type == "Digits" && bool_field(step, "individual_digits", false, kSteps)) {
    out.cuts.emplace_back(kDigit);
    return true;
  }
  if (type != "Split" || !step.value("pattern", json()).contains("Regex")) return false;
  const bool inverted = bool_field(step, "invert", false, kSteps);
  if (step.value("behavior", "") != (inverted ? "Removed" : "Isolated")) return false;
  out.cuts.push_back(escaped_line_ends(step["pattern"]["Regex"].get<std::string>()));
  return true;
}

/// What a "pre_tokenizer" does; nothing where no row of the table can do it.
std::optional<Cuts> cuts_of(const json& steps) {
  Cuts out;
  if (!steps.is_object() || !add_step(steps, out)) return std::nullopt;
  if (!out.gpt2 && !out.cuts.empty() && out.cuts.back() == kGpt2Pattern) {
    out.cuts.pop_back();
    out.gpt2 = true;
  }
  return out;
}

}  // namespace

GgufPretokenizer gguf_pretokenizer(const std::string& name, const std::string& path) {
  const auto family = std::ranges::find_if(families(), [&](const Family& one) {
    return std::ranges::find(one.names, name) != one.names.end();
  });
  if (family == families().end()) {
    fail("{}: tokenizer.ggml.pre '{}' is not supported; use the model's Hugging Face folder", path,
         io::printable(name));
  }
  json steps = json::array();
  for (const std::string_view cut : family->cuts) steps.push_back(split_step("Regex", cut));
  steps.push_back(byte_level_step(/*use_regex=*/family->gpt2));
  return {pretokenizer_sequence(std::move(steps)), family->nfc, family->ignore_merges,
          family->adds_bos};
}

std::vector<std::string> gguf_pretokenizer_names(const json& steps, const GgufPretokenizer& like) {
  const std::optional<Cuts> wanted = cuts_of(steps);
  if (!wanted) return {};
  std::vector<const Family*> same;
  for (const Family& family : families()) {
    if (family.gpt2 == wanted->gpt2 && std::ranges::equal(family.cuts, wanted->cuts)) {
      same.push_back(&family);
    }
  }
  const auto unlike = [&](const Family* family) {
    return 4 * (family->ignore_merges != like.ignore_merges) + 2 * (family->nfc != like.nfc) +
           (family->adds_bos != like.adds_bos);
  };
  std::ranges::stable_sort(same, {}, unlike);
  std::vector<std::string> names;
  for (const Family* family : same) {
    names.insert(names.end(), family->names.begin(), family->names.end());
  }
  return names;
}

}  // namespace tessera::launch
