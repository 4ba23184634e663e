// Hugging Face folders: the same values from every layout, and every broken one refused by name.
#include "lora/model/checkpoint.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "lora/model/families.h"
#include "runtime/io/safetensors.h"
#include "tests/expect_error.h"
#include "tests/scratch_folder.h"

namespace tessera::lora {
namespace {

namespace fs = std::filesystem;
using io::SafetensorsEntry;
using nlohmann::json;
using testing::expect_error;
using testing::ScratchFolder;

constexpr int64_t kHidden = 8, kFfn = 12, kHeads = 2, kKvHeads = 1, kHeadDim = 4, kVocab = 6;

json config() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"hidden_size", kHidden},
          {"intermediate_size", kFfn},
          {"num_hidden_layers", 1},
          {"num_attention_heads", kHeads},
          {"num_key_value_heads", kKvHeads},
          {"vocab_size", kVocab},
          {"tie_word_embeddings", false}};
}

std::vector<SafetensorsEntry> layout(std::string_view dtype = "F32") {
  const std::string layer = "model.layers.0.";
  std::vector<SafetensorsEntry> entries;
  const auto add = [&](const std::string& name, std::vector<int64_t> shape) {
    entries.push_back({.name = name, .dtype = std::string(dtype), .shape = std::move(shape)});
  };
  add("model.embed_tokens.weight", {kVocab, kHidden});
  add(layer + "input_layernorm.weight", {kHidden});
  add(layer + "self_attn.q_proj.weight", {kHeads * kHeadDim, kHidden});
  add(layer + "self_attn.k_proj.weight", {kKvHeads * kHeadDim, kHidden});
  add(layer + "self_attn.v_proj.weight", {kKvHeads * kHeadDim, kHidden});
  add(layer + "self_attn.o_proj.weight", {kHidden, kHeads * kHeadDim});
  add(layer + "post_attention_layernorm.weight", {kHidden});
  add(layer + "mlp.gate_proj.weight", {kFfn, kHidden});
  add(layer + "mlp.up_proj.weight", {kFfn, kHidden});
  add(layer + "mlp.down_proj.weight", {kHidden, kFfn});
  add("model.norm.weight", {kHidden});
  add("lm_head.weight", {kVocab, kHidden});
  return entries;
}

SafetensorsEntry& named(std::vector<SafetensorsEntry>& entries, std::string_view name) {
  return *std::find_if(entries.begin(), entries.end(),
                       [&](const SafetensorsEntry& entry) { return entry.name == name; });
}

/// Bytes that depend on the tensor's name and are no NaN in any of the dtypes.
std::vector<std::byte> bytes_for(const SafetensorsEntry& entry) {
  std::vector<std::byte> bytes(entry.bytes);
  size_t state = std::hash<std::string>()(entry.name);
  for (std::byte& byte : bytes) {
    state = state * 6364136223846793005u + 1;
    byte = std::byte(0x30 + ((state >> 33) & 0x0fu));
  }
  return bytes;
}

void write_file(const std::string& path, const std::vector<SafetensorsEntry>& entries,
                std::byte mask = std::byte{0}) {
  io::SafetensorsWriter writer(path, entries);
  for (const SafetensorsEntry& entry : writer.entries()) {
    std::vector<std::byte> bytes = bytes_for(entry);
    for (std::byte& byte : bytes) byte ^= mask;
    writer.write(entry.name, bytes);
  }
  writer.commit();
}

std::vector<float> values(const Checkpoint& checkpoint, const std::string& name) {
  std::vector<float> out(size_t(checkpoint.info(name).numel()));
  checkpoint.read_f32(name, out);
  return out;
}

class Folder : public ::testing::Test {
 protected:
  void write_config(const json& value = config()) { folder_.write("config.json", value.dump()); }
  void write_single(const std::vector<SafetensorsEntry>& entries = layout()) {
    write_file(folder_.file("model.safetensors"), entries);
  }
  Checkpoint open() const { return Checkpoint::open(folder_.path()); }
  template <class... Parts>
  void refuse(Parts&&... parts) {
    expect_error([&] { open(); }, folder_.path(), parts...);
  }

  /// Two shards, the second from entry `split` on, and their index.
  json write_shards(size_t split = 5) {
    const auto all = layout();
    const std::string a = "model-00001-of-00002.safetensors";
    const std::string b = "model-00002-of-00002.safetensors";
    write_file(folder_.file(a), {all.begin(), all.begin() + std::ptrdiff_t(split)});
    write_file(folder_.file(b), {all.begin() + std::ptrdiff_t(split), all.end()});
    json index = {{"metadata", {{"total_size", 1}}}, {"weight_map", json::object()}};
    for (size_t i = 0; i < all.size(); ++i) index["weight_map"][all[i].name] = i < split ? a : b;
    write_index(index);
    return index;
  }
  void write_index(const json& index) {
    folder_.write("model.safetensors.index.json", index.dump());
  }

  ScratchFolder folder_;
};

TEST_F(Folder, ListsAndReadsEveryTensor) {
  write_config();
  write_single();
  const Checkpoint checkpoint = open();
  EXPECT_EQ(checkpoint.path(), folder_.path());
  const auto expected = layout();
  ASSERT_EQ(checkpoint.tensors().size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    const TensorInfo& info = checkpoint.tensors()[i];
    EXPECT_EQ(info.name, expected[i].name);
    EXPECT_EQ(info.shape, expected[i].shape);
    SafetensorsEntry entry = expected[i];
    entry.bytes = info.bytes();
    std::vector<std::byte> bytes(info.bytes());
    checkpoint.read(info.name, bytes);
    EXPECT_EQ(bytes, bytes_for(entry)) << info.name;
    const std::vector<float> floats = values(checkpoint, info.name);
    EXPECT_EQ(std::memcmp(floats.data(), bytes.data(), bytes.size()), 0);
  }
  expect_error([&] { checkpoint.info("model.norm.bias"); }, "no tensor 'model.norm.bias'");
  std::vector<float> small(1);
  EXPECT_THROW(checkpoint.read_f32("model.norm.weight", small), std::logic_error);
}

TEST_F(Folder, WidensSixteenBitsExactly) {
  write_config();
  for (const std::string dtype : {"BF16", "F16"}) {
    write_single(layout(dtype));
    const Checkpoint checkpoint = open();
    EXPECT_EQ(checkpoint.spec().dtype, dtype == "F16" ? DType::kF16 : DType::kBF16);
    const std::string name = "model.layers.0.mlp.down_proj.weight";
    std::vector<uint16_t> stored(size_t(kHidden * kFfn));
    checkpoint.read(name, std::as_writable_bytes(std::span(stored)));
    const std::vector<float> wide = values(checkpoint, name);
    for (size_t i = 0; i < wide.size(); ++i) {
      EXPECT_EQ(wide[i], dtype == "F16" ? to_float(f16{stored[i]}) : to_float(bf16{stored[i]}));
    }
  }
}

TEST_F(Folder, ReadsShardsAsOneModel) {
  write_config();
  write_shards();
  const Checkpoint sharded = open();
  write_single();
  const Checkpoint single = open();
  for (const TensorInfo& info : single.tensors()) {
    EXPECT_EQ(values(single, info.name), values(sharded, info.name)) << info.name;
  }
}

TEST_F(Folder, FollowsLinksAsDownloadsHaveThem) {
  write_config();
  fs::create_directory(folder_.file("blobs"));
  write_file(folder_.file("blobs/0123"), layout());
  fs::create_symlink("blobs/0123", folder_.file("model.safetensors"));
  EXPECT_NO_THROW(open());
}

TEST_F(Folder, ResolvesATiedHeadFromEitherName) {
  json tied = config();
  tied["tie_word_embeddings"] = true;
  write_config(tied);
  for (const bool keep_head : {false, true}) {
    auto entries = layout();
    entries.erase(keep_head ? entries.begin() : entries.end() - 1);
    write_single(entries);
    const Checkpoint checkpoint = open();
    EXPECT_TRUE(checkpoint.spec().tied_head);
    EXPECT_EQ(checkpoint.tensors().size(), 11u);
    EXPECT_EQ(checkpoint.tensors().front().name, "model.embed_tokens.weight");
    EXPECT_EQ(values(checkpoint, "lm_head.weight"),
              values(checkpoint, "model.embed_tokens.weight"));
    SafetensorsEntry stored = keep_head ? entries.back() : entries.front();
    stored.bytes = size_t(kVocab * kHidden) * sizeof(float);
    std::vector<std::byte> bytes(stored.bytes);
    checkpoint.read("lm_head.weight", bytes);
    EXPECT_EQ(bytes, bytes_for(stored));
  }
  auto neither = layout();
  neither.erase(neither.begin());
  neither.pop_back();
  write_single(neither);
  refuse("neither 'model.embed_tokens.weight' nor 'lm_head.weight'");
}

TEST_F(Folder, ComparesATiedHeadThatIsStoredTwice) {
  json tied = config();
  tied["tie_word_embeddings"] = true;
  write_config(tied);
  write_single();  // with different values, which transformers does not tie
  {
    const Checkpoint checkpoint = open();
    EXPECT_FALSE(checkpoint.spec().tied_head);
    EXPECT_TRUE(checkpoint.spec().head_differs);
    EXPECT_EQ(checkpoint.tensors().size(), 12u);
    EXPECT_NE(values(checkpoint, "lm_head.weight"),
              values(checkpoint, "model.embed_tokens.weight"));
    ASSERT_EQ(checkpoint.notes().size(), 1u);
    EXPECT_NE(checkpoint.notes()[0].find("tie_word_embeddings is true"), std::string::npos);
  }
  io::SafetensorsWriter writer(folder_.file("model.safetensors"), layout());
  for (const SafetensorsEntry& entry : writer.entries()) {
    SafetensorsEntry source = entry;
    if (source.name == "lm_head.weight") source.name = "model.embed_tokens.weight";
    writer.write(entry.name, bytes_for(source));
  }
  writer.commit();
  const Checkpoint checkpoint = open();
  EXPECT_EQ(checkpoint.tensors().size(), 11u);
  EXPECT_FALSE(checkpoint.spec().head_differs);
  EXPECT_EQ(values(checkpoint, "lm_head.weight"), values(checkpoint, "model.embed_tokens.weight"));
}

TEST_F(Folder, NamesMissingAndForeignTensors) {
  write_config();
  for (const SafetensorsEntry& lost : layout()) {
    auto entries = layout();
    std::erase_if(entries, [&](const auto& entry) { return entry.name == lost.name; });
    write_single(entries);
    refuse(lost.name, "is missing");
  }
  auto entries = layout();
  entries.push_back({.name = "model.layers.0.self_attn.q_proj.bias", .dtype = "F32", .shape = {8}});
  write_single(entries);
  refuse("'model.layers.0.self_attn.q_proj.bias' does not belong");
  entries.back() = {
      .name = "model.layers.0.self_attn.rotary_emb.inv_freq", .dtype = "F32", .shape = {2}};
  write_single(entries);
  EXPECT_NO_THROW(open());
}

TEST_F(Folder, ChecksEveryShape) {
  write_config();
  for (const SafetensorsEntry& entry : layout()) {
    auto entries = layout();
    named(entries, entry.name).shape.back() += 1;
    write_single(entries);
    std::string expected = fmt::format("asks for [{}]", fmt::join(entry.shape, ", "));
    refuse(entry.name, "has shape [", expected);
  }
  auto entries = layout();
  named(entries, "model.norm.weight").shape = {1, kHidden};
  write_single(entries);
  refuse("'model.norm.weight' has shape [1, 8], the config asks for [8]");
}

TEST_F(Folder, RefusesOtherDtypes) {
  write_config();
  auto entries = layout();
  named(entries, "model.norm.weight").dtype = "F64";
  write_single(entries);
  refuse("'model.norm.weight' is F64", "F32, BF16 or F16");
  named(entries, "model.norm.weight").dtype = "U8";
  write_single(entries);
  refuse("is U8");
}

TEST_F(Folder, NamesWhatIsNotThere) {
  expect_error([&] { Checkpoint::open(folder_.file("absent")); }, "no such file or folder");
  refuse("neither config.json nor a .gguf");
  write_config();
  refuse("holds neither model.safetensors nor model.safetensors.index.json");
  folder_.write("config.json", "{");
  refuse("config.json: invalid JSON");
  fs::remove(folder_.file("config.json"));
  folder_.write("adapter_config.json", "{}");
  refuse("a LoRA adapter", "lora_model_dir");
}

TEST_F(Folder, RefusesPickles) {
  write_config();
  folder_.write("pytorch_model.bin", "PK");
  refuse("pytorch_model.bin", "pickle", "save_pretrained");
  const std::string zip("PK\x03\x04\x00\x00\x08\x08 and so on", 18);
  folder_.write("model.safetensors", zip);
  refuse("model.safetensors", "pickle");
  expect_error([&] { Checkpoint::open(folder_.file("pytorch_model.bin")); }, "pickle");
  expect_error([&] { Checkpoint::open(folder_.write("renamed", zip)); }, "pickle");
  expect_error([&] { Checkpoint::open(folder_.write("text.txt", "hello")); }, "give the folder");
}

TEST_F(Folder, RefusesAFolderInPlaceOfAFile) {
  write_config();
  fs::create_directory(folder_.file("d"));
  fs::create_directory_symlink(folder_.file("d"), folder_.file("model.safetensors"));
  refuse("not a regular file");
}

TEST_F(Folder, RefusesShardNamesThatLeaveTheFolder) {
  write_config();
  json index = write_shards();
  for (const std::string name :
       {"../model.safetensors", "/etc/model.safetensors", "a/b.safetensors", "a\\b.safetensors",
        "..", ".", "", ".safetensors", "..safetensors", "model", "a b.safetensors",
        "a\nb.safetensors", "model.safetensors/", "~.safetensors"}) {
    index["weight_map"]["model.norm.weight"] = name;
    write_index(index);
    refuse("'model.norm.weight'", "not a plain file name");
  }
  index["weight_map"]["model.norm.weight"] = "pytorch_model-00001.bin";
  write_index(index);
  refuse("pickle");
  for (const json& bad : {json(7), json(nullptr), json::array()}) {
    index["weight_map"]["model.norm.weight"] = bad;
    write_index(index);
    refuse("'model.norm.weight' is not a string");
  }
}

TEST_F(Folder, RefusesBrokenIndexes) {
  write_config();
  const json index = write_shards();
  for (const json& bad : {json::array(), json::object(), json{{"weight_map", json::object()}},
                          json{{"weight_map", json::array()}}, json("text")}) {
    write_index(bad);
    refuse("weight_map is missing or empty");
  }
  folder_.write("model.safetensors.index.json",
                R"({"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}})");
  refuse("'a' appears twice");

  json wrong = {{"weight_map", json::object()}};
  for (int i = 0; i < 600; ++i) {
    wrong["weight_map"][std::to_string(i)] = fmt::format("{}.safetensors", i);
  }
  write_index(wrong);
  refuse("names 600 files");

  write_index(index);
  EXPECT_NO_THROW(open());
  fs::resize_file(folder_.file("model-00002-of-00002.safetensors"), 900);
  refuse("model-00002-of-00002.safetensors", "cut short");
  fs::remove(folder_.file("model-00002-of-00002.safetensors"));
  refuse("the shard", "model-00002-of-00002.safetensors is missing");
}

/// As in transformers it only says which files there are.
TEST_F(Folder, TakesTensorsFromAnotherShardThanTheIndexSays) {
  write_config();
  const json index = write_shards();
  json other = index;
  other["weight_map"]["model.norm.weight"] = "model-00001-of-00002.safetensors";
  other["weight_map"]["invented"] = "model-00001-of-00002.safetensors";
  other["weight_map"].erase("lm_head.weight");
  write_index(other);
  const Checkpoint checkpoint = open();
  write_index(index);
  const Checkpoint expected = open();
  for (const TensorInfo& info : expected.tensors()) {
    EXPECT_EQ(values(checkpoint, info.name), values(expected, info.name)) << info.name;
  }
}

TEST_F(Folder, RefusesATensorThatIsInTwoShards) {
  write_config();
  json index = write_shards();
  auto first = layout();
  first.erase(first.begin() + 5, first.end());
  first.push_back({.name = "model.norm.weight", .dtype = "F32", .shape = {kHidden}});
  write_file(folder_.file("model-00001-of-00002.safetensors"), first);
  refuse("model-00001-of-00002.safetensors: tensor 'model.norm.weight' is not listed for this");
}

/// The names of the layout under another prefix and with another name of the head.
std::vector<SafetensorsEntry> renamed(const std::string& prefix, const std::string& head) {
  std::vector<SafetensorsEntry> entries = layout();
  for (SafetensorsEntry& entry : entries) {
    const bool is_head = entry.name == "lm_head.weight";
    entry.name = is_head ? head : prefix + entry.name.substr(std::string("model.").size());
  }
  return entries;
}

TEST_F(Folder, FindsATextModelUnderEveryPublishedPrefix) {
  for (const std::string own : {"model.", "model.language_model."}) {
    ModelSpec spec = parse_config(config().dump(), "config.json");
    spec.prefix = own;
    for (const std::string prefix :
         {"model.", "model.language_model.", "language_model.model.", "language_model.", ""}) {
      for (const std::string head : {"lm_head.weight", "language_model.lm_head.weight"}) {
        const auto entries = renamed(prefix, head);
        write_single(entries);
        const Checkpoint checkpoint = Checkpoint::open(folder_.path(), spec);
        ASSERT_EQ(checkpoint.tensors().size(), entries.size());
        for (size_t i = 0; i < entries.size(); ++i) {
          const TensorInfo& info = checkpoint.tensors()[i];
          EXPECT_EQ(checkpoint.stored_name(info.name), entries[i].name);
          SafetensorsEntry stored = entries[i];
          stored.bytes = info.bytes();
          std::vector<std::byte> bytes(info.bytes());
          checkpoint.read(info.name, bytes);
          EXPECT_EQ(bytes, bytes_for(stored)) << info.name;
        }
        EXPECT_EQ(checkpoint.tensors().front().name, own + "embed_tokens.weight");
        EXPECT_TRUE(checkpoint.others().empty() && checkpoint.notes().empty());
      }
    }
  }
}

TEST_F(Folder, LeavesWhatIsNotTextAlone) {
  ModelSpec spec = parse_config(config().dump(), "config.json");
  auto entries = renamed("language_model.model.", "language_model.lm_head.weight");
  for (const char* name : {"vision_tower.a.weight", "vision_tower.b.weight",
                           "multi_modal_projector.linear_1.weight"}) {
    entries.push_back({.name = name, .dtype = "BF16", .shape = {3, 2}});
  }
  write_single(entries);
  // Of a model of text alone they would be another model's.
  expect_error([&] { Checkpoint::open(folder_.path(), spec); }, "does not belong");
  spec.prefix = "model.language_model.";
  const Checkpoint checkpoint = Checkpoint::open(folder_.path(), spec);
  ASSERT_EQ(checkpoint.others().size(), 3u);
  EXPECT_EQ(checkpoint.notes(),
            (std::vector<std::string>{"left alone: multi_modal_projector (1 tensor), "
                                      "vision_tower (2)"}));
  for (const OtherTensor& other : checkpoint.others()) {
    EXPECT_EQ(other.dtype, "BF16");
    EXPECT_EQ(other.shape, (std::vector<int64_t>{3, 2}));
    SafetensorsEntry stored{.name = other.name, .dtype = "BF16", .shape = {3, 2}, .bytes = 12};
    std::vector<std::byte> bytes(5);
    checkpoint.read_other(other, 7, bytes);
    const auto expected = bytes_for(stored);
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), expected.begin() + 7)) << other.name;
  }
  // A text tensor that the model does not have is a fault here, too.
  entries.push_back(
      {.name = "language_model.model.layers.0.mlp.up_proj.bias", .dtype = "F32", .shape = {kFfn}});
  write_single(entries);
  expect_error([&] { Checkpoint::open(folder_.path(), spec); }, "up_proj.bias", "does not belong");
}

/// Where the config tells of them.
TEST_F(Folder, LeavesOutLayersBehindTheLast) {
  json told = config();
  told["num_nextn_predict_layers"] = 12;
  write_config(told);
  auto entries = layout();
  for (const char* name : {"model.layers.1.eh_proj.weight", "model.layers.12.enorm.weight",
                           "mtp.fc.weight", "model.mtp.norm.weight"}) {
    entries.push_back({.name = name, .dtype = "F32", .shape = {2}});
  }
  write_single(entries);
  const Checkpoint checkpoint = open();
  EXPECT_EQ(checkpoint.tensors().size(), 12u);
  EXPECT_TRUE(checkpoint.others().empty());
  ASSERT_EQ(checkpoint.notes().size(), 1u);
  EXPECT_NE(checkpoint.notes()[0].find("4 tensors of layers beyond the model's 1"),
            std::string::npos);
  told["num_nextn_predict_layers"] = 11;
  write_config(told);
  refuse("'model.layers.12.enorm.weight' does not belong");
  write_config();
  refuse("'model.layers.1.eh_proj.weight' does not belong");
}

TEST(RealModels, OpenFromTheirFolders) {
  const std::string folder = TESSERA_SHARED_DIR "/models/";
  if (!fs::exists(folder)) GTEST_SKIP() << folder << " is not there";
  const Checkpoint tiny = Checkpoint::open(folder + "TinyStories-656K");
  EXPECT_EQ(tiny.tensors().size(), 20u);  // only lm_head is stored, and tied
  EXPECT_TRUE(tiny.spec().tied_head);
  EXPECT_EQ(tiny.info("model.embed_tokens.weight").shape, (std::vector<int64_t>{2048, 128}));
  const Checkpoint stories = Checkpoint::open(folder + "stories260K-hf");
  EXPECT_EQ(stories.spec().layers.front().mlp.width, 172);
  for (const Checkpoint* model : {&tiny, &stories}) {
    for (const TensorInfo& info : model->tensors()) {
      for (const float value : values(*model, info.name)) ASSERT_TRUE(std::isfinite(value));
    }
  }
}

}  // namespace
}  // namespace tessera::lora
