// Generated tokens against transformers, PEFT and an independent implementation; batches against
// single prompts.
#include "launch/config/options.h"
#include "launch/run/generation_config.h"
#include "launch/run/generator.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <numeric>

#include "lora/decoder/evaluation_pass.h"
#include "runtime/io/json.h"
#include "tests/expect_error.h"
#include "tests/launch/byte_tokenizer.h"
#include "tests/launch/loaded_model.h"
#include "tests/launch/program.h"
#include "tests/random_model.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

using nlohmann::json;
using testing::TestModel;
using Ids = std::vector<int32_t>;

const std::string kTiny = std::string(TESSERA_GOLDEN_DIR) + "/tiny_llama";
const std::string kShared = std::string(TESSERA_SHARED_DIR) + "/models";

struct Answers {
  std::vector<Ids> ids;
  std::vector<Finish> finish;
};

Answers answer(TestModel& model, const std::vector<Ids>& prompts, const GeneratorOptions& options) {
  Answers out{std::vector<Ids>(prompts.size()), std::vector<Finish>(prompts.size())};
  std::vector<int> finished(prompts.size(), 0);
  EXPECT_TRUE(generate_answers(model.decoder(), prompts, options,
                               {[&](size_t p, int32_t id) { out.ids[p].push_back(id); },
                                [&](size_t p, Finish f) {
                                  out.finish[p] = f;
                                  ++finished[p];
                                }}));
  for (int n : finished) EXPECT_EQ(n, 1);
  return out;
}

json golden() {
  return io::read_json_file(std::string(TESSERA_GOLDEN_DIR) + "/generate/tiny_llama.json", 1 << 20);
}

std::vector<Ids> golden_ids(const json& root, const std::string& key) {
  std::vector<Ids> all;
  for (const json& prompt : root.at("prompts")) all.push_back(prompt.at(key).get<Ids>());
  return all;
}

/// Greedy tokens equal transformers' and PEFT's, one by one and together.
void expect_golden(const std::optional<quant::Storage>& quantization, const std::string& kind) {
  const json root = golden();
  const std::vector<Ids> prompts = golden_ids(root, "ids");
  for (const char* with : {"base", "adapter"}) {
    std::optional<std::string> adapter;
    if (std::string(with) == "adapter") adapter = kTiny + "/adapter_out";
    TestModel model(kTiny, quantization, adapter);
    const std::vector<Ids> expected = golden_ids(root, kind + "_" + with);
    GeneratorOptions options;
    options.max_new_tokens = int64_t(expected.front().size());
    EXPECT_EQ(answer(model, prompts, options).ids, expected) << with;
    for (size_t i = 0; i < prompts.size(); ++i) {
      const Answers one = answer(model, {prompts[i]}, options);
      EXPECT_EQ(one.ids.front(), expected[i]) << with << " prompt " << i;
      EXPECT_EQ(one.finish.front(), Finish::kLength);
    }
  }
}

TEST(Generate, GreedyEqualsTransformersAndPeft) { expect_golden(std::nullopt, "original"); }

TEST(Generate, GreedyOver4BitEqualsTransformersAndPeft) {
  expect_golden(quant::Storage(), "dequantized");
}

/// Few places in the cache and a chunk size that cuts prompts: nothing an answer may depend on.
TEST(Generate, AnswersDoNotDependOnWhatRunsBeside) {
  const std::vector<Ids> prompts = golden_ids(golden(), "ids");
  for (double temperature : {0.0, 1.0}) {
    TestModel model(kTiny);
    GeneratorOptions options;
    options.max_new_tokens = 24;
    options.sampler.temperature = temperature;
    options.stop_ids = {32, 107, 5};  // so that answers end at different times
    const Answers reference = answer(model, prompts, options);
    options.most_together = 3;
    options.prefill_tokens = 5;
    const Answers cut = answer(model, prompts, options);
    EXPECT_EQ(cut.ids, reference.ids);
    EXPECT_EQ(cut.finish, reference.finish);
  }
}

TEST(Generate, EqualPromptsDrawDifferently) {
  TestModel model(kTiny);
  GeneratorOptions options;
  options.max_new_tokens = 16;
  options.sampler.temperature = 1;
  const Answers a = answer(model, {{1, 7}, {1, 7}}, options);
  EXPECT_NE(a.ids[0], a.ids[1]);
  options.sampler.seed = 43;
  EXPECT_NE(answer(model, {{1, 7}}, options).ids[0], a.ids[0]);
}

TEST(Generate, StopTokensEndAnAnswerAndAreNotPartOfIt) {
  TestModel model(kTiny);
  const json root = golden();
  const std::vector<Ids> prompts = golden_ids(root, "ids");
  const Ids expected = golden_ids(root, "original_base").front();
  GeneratorOptions options;
  options.stop_ids = {-1, expected[5]};
  ASSERT_EQ(std::count(expected.begin(), expected.begin() + 5, expected[5]), 0);
  const Answers a = answer(model, {prompts[0]}, options);
  EXPECT_EQ(a.ids[0], Ids(expected.begin(), expected.begin() + 5));
  EXPECT_EQ(a.finish[0], Finish::kStop);
}

TEST(Generate, EndsWhereTheModelsPositionsEnd) {
  TestModel model(kTiny);
  GeneratorOptions options;
  const int64_t positions = model.spec().max_position;
  const Ids prompt(size_t(positions - 3), 9), full(size_t(positions), 9);
  const Answers a = answer(model, {prompt, full}, options);
  // The last position still gives a token; it is not fed any more.
  EXPECT_EQ(a.ids[0].size(), 4u);
  EXPECT_EQ(a.ids[1].size(), 1u);
  EXPECT_EQ(a.finish[0], Finish::kContext);
}

/// As transformers, which recomputes the base of a dynamic scaling for any length.
TEST(Generate, ADynamicScalingGoesOnPastTheModelsPositions) {
  const tessera::testing::ScratchFolder folder;
  tessera::testing::write_random_model(folder, {.layers = 1});
  json config = io::read_json_file(folder.file("config.json"), 1 << 20);
  config["max_position_embeddings"] = 8;
  config["rope_scaling"] = {{"rope_type", "dynamic"}, {"factor", 2.0}};
  folder.write("config.json", config.dump());
  TestModel model(folder.path());
  EXPECT_EQ(position_limit(model.spec()), lora::SpecLimits::kPosition);
  GeneratorOptions options;
  options.max_new_tokens = 6;
  const Answers a = answer(model, {Ids(6, 9), Ids(12, 9)}, options);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(a.ids[i].size(), 6u);
    EXPECT_EQ(a.finish[i], Finish::kLength);
  }
}

/// Each prompt alone, with a cache of its own.
std::vector<Ids> fresh_answers(TestModel& model, const std::vector<Ids>& prompts,
                               const GeneratorOptions& options) {
  std::vector<Ids> out;
  for (const Ids& prompt : prompts) out.push_back(answer(model, {prompt}, options).ids[0]);
  return out;
}

/// Prompts that begin alike, one after another in one place of the cache.
std::vector<Ids> prompts_alike(int32_t vocab, int longest) {
  tessera::testing::RandomNumbers random(3);
  Ids all;
  for (int i = 0; i < longest; ++i) all.push_back(int32_t(random.bits() % uint32_t(vocab)));
  std::vector<Ids> prompts;
  for (const int tokens : {longest / 2, longest, longest - 1, 5}) {
    prompts.emplace_back(all.begin(), all.begin() + tokens);
  }
  prompts[2].back() ^= 1;
  return prompts;
}

void expect_answers_of_fresh_caches(const std::string& path, int longest) {
  SCOPED_TRACE(path);
  TestModel model(path);
  const std::vector<Ids> prompts = prompts_alike(int32_t(model.spec().vocab), longest);
  GeneratorOptions options;
  options.max_new_tokens = 7;
  options.prefill_tokens = 64;
  const std::vector<Ids> expected = fresh_answers(model, prompts, options);
  options.most_together = 1;
  EXPECT_EQ(answer(model, prompts, options).ids, expected);
  options.most_together = 2;
  options.prefill_tokens = 60;
  EXPECT_EQ(answer(model, prompts, options).ids, expected);
}

TEST(Generate, RowsOfAnEarlierPromptServeTheNext) {
  const std::string families = std::string(TESSERA_GOLDEN_DIR) + "/families/";
  expect_answers_of_fresh_caches(kTiny, 100);
  // Its layers drop rows that are out of their windows.
  expect_answers_of_fresh_caches(families + "gemma3", 700);
  // The length of a prompt and its answer chooses its rotary base.
  expect_answers_of_fresh_caches(families + "llama_dynamic", 60);
}

TEST(Generate, EndsWhereItIsToldTo) {
  TestModel model(kTiny);
  int tokens = 0;
  std::vector<Finish> finishes;
  const std::vector<Ids> prompts = {{1, 7}};
  EXPECT_TRUE(generate_answers(model.decoder(), prompts, GeneratorOptions(),
                               {[&](uint64_t, int32_t) { ++tokens; },
                                [&](uint64_t, Finish finish) { finishes.push_back(finish); },
                                [&](uint64_t) { return tokens == 3; }}));
  EXPECT_EQ(tokens, 3);
  EXPECT_EQ(finishes, std::vector<Finish>{Finish::kStopText});
}

TEST(Generate, RefusesPromptsTheModelCannotTake) {
  TestModel model(kTiny);
  const auto run = [&](const std::vector<Ids>& prompts, int64_t tokens = 4) {
    GeneratorOptions options;
    options.max_new_tokens = tokens;
    generate_answers(model.decoder(), prompts, options,
                     {[](size_t, int32_t) {}, [](size_t, Finish) {}});
  };
  tessera::testing::expect_error([&] { run({{}}); }, "the prompt is empty");
  tessera::testing::expect_error([&] { run({{1}, {}}); }, "prompt 2 is empty");
  tessera::testing::expect_error([&] { run({{1, 256}}); }, "token 256", "256");
  tessera::testing::expect_error([&] { run({{1, -1}}); }, "token -1");
  tessera::testing::expect_error([&] { run({Ids(257, 1)}); }, "257 tokens", "256 positions");
  tessera::testing::expect_error([&] { run({{1}}, 0); }, "--max_new_tokens is 0");
}

TEST(Generate, NamesTheKeysOfItsConfigThatItDoesNotUse) {
  const tessera::testing::ScratchFolder folder;
  EXPECT_TRUE(read_generation_config(folder.path()).stop_ids.empty());
  const std::string path =
      folder.write("generation_config.json",
                   R"({"eos_token_id": [7, null, 9], "bos_token_id": 1, "transformers_version": "5",
          "do_sample": true, "top_k": null, "temperature": 0.6, "renormalize_logits": false})");
  const GenerationConfig config = read_generation_config(folder.path());
  EXPECT_EQ(config.stop_ids, (Ids{7, 9}));
  EXPECT_EQ(
      config.notes,
      (std::vector<std::string>{path + ": not used: do_sample, temperature; the options of the "
                                       "command say how to sample"}));
  folder.write("generation_config.json", R"({"eos_token_id": 7, "do_sample": false})");
  EXPECT_TRUE(read_generation_config(folder.path()).notes.empty());
  folder.write("generation_config.json", R"({"eos_token_id": "</s>"})");
  tessera::testing::expect_error([&] { read_generation_config(folder.path()); },
                                 path + ": eos_token_id: a token id must be an integer");
}

TEST(Generate, SpecialTokensThatStayLettersAreCounted) {
  const tessera::testing::ScratchFolder folder;
  const std::string base = folder.file("base");
  tessera::testing::write_byte_tokenizer(base);
  tessera::testing::write_random_model(tessera::testing::Folder(base),
                                       {.layers = 1, .vocab = tessera::testing::kByteVocab});
  folder.write("base/generation_config.json", R"({"temperature": 0.6})");
  const std::string chat =
      folder.write("chat.json", R"([{"role": "user", "content": "<|im_end|>"}])");
  const tessera::testing::Outcome o = tessera::testing::run_program(
      {"generate", "--base_model", base, "--messages", chat, "--chat_template", "chatml",
       "--max_new_tokens", "4", "--threads", "1"});
  EXPECT_EQ(o.code, 0) << o.err;
  for (const char* line : {"generation_config.json: not used: temperature; ",
                           "special tokens inside messages, taken as letters: <|im_end|> (1)\n"}) {
    EXPECT_NE(o.err.find(line), std::string::npos) << o.err;
  }
}

/// Continuations and mean losses by an independent float32 forward pass.
TEST(Generate, EqualsAnIndependentImplementation) {
  if (!std::filesystem::exists(kShared + "/reference.json")) {
    GTEST_SKIP() << "needs the models in " << kShared;
  }
  const json root = io::read_json_file(kShared + "/reference.json", 1 << 24);
  for (const auto& [name, folder] : {std::pair("stories260K", "stories260K-hf"),
                                     std::pair("TinyStories-656K", "TinyStories-656K")}) {
    SCOPED_TRACE(name);
    TestModel model(kShared + "/" + folder);
    const Ids expected = root[name]["greedy_from_bos_ids"].get<Ids>();
    GeneratorOptions options;
    options.max_new_tokens = int64_t(expected.size()) - 1;
    EXPECT_EQ(answer(model, {{expected[0]}}, options).ids[0],
              Ids(expected.begin() + 1, expected.end()));

    lora::Batch batch;
    batch.starts.push_back(0);
    for (const Ids& ids : root[name]["sample_ids"].get<std::vector<Ids>>()) {
      batch.ids.insert(batch.ids.end(), ids.begin(), ids.end());
      batch.targets.insert(batch.targets.end(), ids.begin() + 1, ids.end());
      batch.targets.push_back(lora::Batch::kUnsupervised);
      batch.positions.resize(batch.ids.size());
      std::iota(batch.positions.end() - int64_t(ids.size()), batch.positions.end(), 0);
      batch.starts.push_back(int32_t(batch.ids.size()));
    }
    lora::EvaluationPass pass(model.decoder(), lora::default_loss());
    pass.plan(batch.tokens());
    model.decoder().allocate();
    const double loss = pass.loss(batch, nullptr) / double(batch.supervised());
    const auto text = root[name]["nll_tinystories_sample"].get<std::string>();
    EXPECT_EQ(
        fmt::format("tokens {} nll {:.5f} ppl {:.3f}", batch.supervised(), loss, std::exp(loss)),
        text);
  }
}

}  // namespace
}  // namespace tessera::launch
