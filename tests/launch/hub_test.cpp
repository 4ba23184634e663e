#include "launch/hub/hub.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <map>

#include "launch/hub/cache.h"
#include "launch/hub/digest.h"
#include "launch/hub/http.h"
#include "launch/hub/listing.h"
#include "launch/hub/model_files.h"
#include "launch/hub/response_head.h"
#include "launch/hub/settings.h"
#include "tests/expect_error.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

using tessera::testing::error_of;
using tessera::testing::expect_error;
using tessera::testing::ScratchFolder;

const std::string kCommit(40, 'c');
const std::string kSha256(64, '5');

/// "id revision file", or "path".
std::string read(std::string_view text, HubKind kind = HubKind::kModel) {
  const auto name = hub_name(text, kind);
  return name ? fmt::format("{} {} {}", name->id, name->revision, name->file) : "path";
}

TEST(HubNames, NamesOfRepositories) {
  EXPECT_EQ(read("org/name"), "org/name main ");
  EXPECT_EQ(read("Qwen/Qwen2.5-0.5B_x"), "Qwen/Qwen2.5-0.5B_x main ");
  EXPECT_EQ(read("org/name@v1.0"), "org/name v1.0 ");
  EXPECT_EQ(read("org/name@refs/pr/12"), "org/name refs/pr/12 ");
  EXPECT_EQ(read("org/name@" + kCommit), "org/name " + kCommit + " ");
  EXPECT_EQ(read("hf:gpt2"), "gpt2 main ");
  EXPECT_EQ(read("hf:org/name.json"), "org/name.json main ");
  EXPECT_EQ(read("org/name/q4/m.gguf"), "org/name main q4/m.gguf");
  EXPECT_EQ(read("org/name/m.gguf@dev"), "org/name dev m.gguf");
  EXPECT_EQ(describe({HubKind::kModel, "org/name"}), "model org/name");
  EXPECT_EQ(describe({HubKind::kDataset, "org/name", "v1"}), "data set org/name@v1");
}

TEST(HubNames, AllElseIsAPath) {
  for (const char* text : {"",
                           "name",
                           "gpt2",
                           "/org/name",
                           "./org/name",
                           "../name",
                           "~/name",
                           "org/name/",
                           "org//name",
                           "org/name/more",
                           "org/na me",
                           "org/-name",
                           "org/name-",
                           ".org/name",
                           "org/na..me",
                           "org/na--me",
                           "org/name.git",
                           "org/name@",
                           "org/name@..",
                           "org/name@a/../b",
                           "org/name@/x",
                           "org/name@a b",
                           "org/name@a@b",
                           "hf:",
                           "hf:/name",
                           "hf:a/b/c",
                           "hf:../x",
                           "data/train.jsonl",
                           "data/train.parquet",
                           "models/m.gguf",
                           "runs/model.safetensors",
                           "a/b.yml",
                           "a\\b/c",
                           "org/name/../x.gguf",
                           "org/näme"}) {
    EXPECT_EQ(read(text), "path") << text;
  }
  EXPECT_EQ(read("org/name/m.gguf", HubKind::kDataset), "path");
  EXPECT_EQ(read("org/" + std::string(93, 'n')), "path");
  EXPECT_NE(read("org/" + std::string(92, 'n')), "path");
  EXPECT_EQ(read(std::string_view("org/na\0me", 9)), "path");
}

TEST(HubNames, WhatIsHereIsAPath) {
  const ScratchFolder folder;
  const std::string before = std::filesystem::current_path().string();
  std::filesystem::create_directories(folder.file("org/name"));
  ASSERT_EQ(::chdir(folder.path().c_str()), 0);
  EXPECT_EQ(read("org/name"), "path");
  EXPECT_EQ(read("hf:org/name"), "org/name main ");
  EXPECT_EQ(read("org/other"), "org/other main ");
  ASSERT_EQ(::chdir(before.c_str()), 0);
}

std::string digest_of(Digest::Kind kind, std::string_view text, size_t step) {
  Digest digest(kind);
  for (size_t i = 0; i < text.size(); i += step) {
    const std::string_view piece = text.substr(i, step);
    digest.update(std::as_bytes(std::span(piece.data(), piece.size())));
  }
  return digest.finish();
}

// The examples of FIPS 180-4.
TEST(HubDigest, KnownValues) {
  const std::string two = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
  const std::string million(1'000'000, 'a');
  for (const size_t step : {1, 3, 64, 100, 1'000'000}) {
    const auto sha256 = [&](std::string_view text) {
      return digest_of(Digest::Kind::kSha256, text, step);
    };
    EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    EXPECT_EQ(sha256(two), "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    EXPECT_EQ(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    EXPECT_EQ(sha256(million), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    const auto sha1 = [&](std::string_view text) {
      return digest_of(Digest::Kind::kSha1, text, step);
    };
    EXPECT_EQ(sha1("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
    EXPECT_EQ(sha1(two), "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
    EXPECT_EQ(sha1(""), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    EXPECT_EQ(sha1(million), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
  }
}

TEST(HubListings, WhatTheHubAnswers) {
  const HubListing listing =
      parse_listing(fmt::format(R"({{"sha": "{}", "gated": "manual", "siblings": [
        {{"rfilename": "a.json", "size": 7, "blobId": "{}"}},
        {{"rfilename": "d/w.bin", "size": 9, "blobId": "{}",
          "lfs": {{"sha256": "{}", "size": 9, "pointerSize": 130}}}},
        {{"rfilename": "bare"}}, {{"rfilename": "odd", "size": null, "blobId": "../x"}}]}})",
                                kCommit, kCommit, kCommit, kSha256),
                    "x");
  EXPECT_EQ(listing.commit, kCommit);
  EXPECT_EQ(listing.names(), (std::vector<std::string>{"a.json", "d/w.bin", "bare", "odd"}));
  const HubFile& small = listing.files[0];
  EXPECT_TRUE(small.hash == HubFile::Hash::kGit && small.blob == kCommit && small.size == 7u);
  const HubFile& large = listing.files[1];
  EXPECT_TRUE(large.hash == HubFile::Hash::kSha256 && large.blob == kSha256 && large.size == 9u);
  EXPECT_FALSE(listing.files[2].is_known() || listing.files[3].is_known() || listing.is_known());
}

TEST(HubListings, AreKeptAndReadAgain) {
  HubListing listing{kCommit, {}};
  listing.files.push_back({"b/ü \"x\".json", 12, std::string(40, 'a'), HubFile::Hash::kGit});
  listing.files.push_back({"a.safetensors", 1u << 31, kSha256, HubFile::Hash::kSha256});
  const HubListing again = parse_kept_listing(text_of_listing(listing), "x", kCommit);
  ASSERT_EQ(again.files.size(), 2u);
  for (const HubFile& file : again.files) {
    const HubFile& before = listing.files[file.name == listing.files[0].name ? 0 : 1];
    EXPECT_EQ(file.name, before.name);
    EXPECT_TRUE(file.size == before.size && file.blob == before.blob && file.hash == before.hash);
  }
  expect_error([] { parse_kept_listing(R"({"format_version": 2, "files": {}})", "f", kCommit); },
               "f: expected a list of files in format 1");
  expect_error(
      [] {
        parse_kept_listing(R"({"format_version": 1, "files": {"../x": {"size": 1}}})", "f",
                           kCommit);
      },
      "'../x' cannot be the name of a file here");
}

TEST(HubListings, NamesThatAreSafe) {
  for (const char* name : {"a", "a/b.c", ".gitattributes", "a/...", "ü ' $(x)", "-x"}) {
    EXPECT_TRUE(is_safe_file_name(name)) << name;
  }
  for (const char* name : {"", "/", "/a", "a/", "a//b", ".", "..", "a/..", "./a", "a\\b", "a\nb"}) {
    EXPECT_FALSE(is_safe_file_name(name)) << name;
  }
  EXPECT_TRUE(is_safe_blob_name("0aZ-_.x"));
  for (const char* name : {"", ".", "..", ".x", "a/b", "a b", "\"a\""}) {
    EXPECT_FALSE(is_safe_blob_name(name)) << name;
  }
}

TEST(HubHeads, Headers) {
  ResponseHead head;
  for (const char* line : {"HTTP/1.1 302 Found\r\n", "Location: /elsewhere\r\n", "HTTP/2 206\r\n",
                           "x-linked-ETAG: \"abc\"\r\n", "ETag: W/\"def\"\r\n",
                           "X-Linked-Size: 12\r\n", "content-length:  7 \r\n",
                           "Content-Range: bytes 5-11/12\r\n", "X-Error-Code: GatedRepo\r\n",
                           "RateLimit: \"api\";r=0;t=155;q=1\r\n", "no header\r\n", "\r\n"}) {
    head.take_line(line);
  }
  EXPECT_EQ(head.status(), 206);
  EXPECT_TRUE(head.is_content() && !head.is_redirect());
  EXPECT_EQ(head.linked_etag(), "abc");
  EXPECT_EQ(head.etag(), "def");
  EXPECT_EQ(head.linked_size(), 12u);
  EXPECT_EQ(head.content_length(), 7u);
  EXPECT_EQ(head.range_begin(), 5u);
  EXPECT_EQ(head.range_total(), 12u);
  EXPECT_EQ(head.retry_after(), 155u);
  EXPECT_EQ(head.error_code(), "GatedRepo");
  head.take_line("Retry-After: 3");
  head.take_line("X-Linked-Size: -1");
  head.take_line("Content-Length: 99999999999999999999999");
  head.take_line("Content-Range: bytes */12");
  EXPECT_EQ(head.retry_after(), 3u);
  EXPECT_FALSE(head.linked_size() || head.content_length() || head.range_begin());
  head.take_line("X-Filler: " + std::string(70'000, 'x'));
  head.take_line("ETag: \"late\"");
  EXPECT_EQ(head.etag(), "def");
}

// Values of huggingface_hub 2.4's _normalize_etag().
TEST(HubHeads, EtagsAsPythonHasThem) {
  for (const auto& [etag, plain] : std::map<std::string, std::string>{{"\"a\"", "a"},
                                                                      {"W/\"a\"", "a"},
                                                                      {"a", "a"},
                                                                      {"W/a", "a"},
                                                                      {"\"\"", ""},
                                                                      {"", ""},
                                                                      {"WW//a", "a"}}) {
    EXPECT_EQ(plain_etag(etag), plain) << etag;
  }
}

TEST(HubUrls, PartsAndOrigins) {
  EXPECT_EQ(url_part("a b/ü%?#", true), "a%20b/%C3%BC%25%3F%23");
  EXPECT_EQ(url_part("refs/pr/1", false), "refs%2Fpr%2F1");
  EXPECT_EQ(origin_of("https://host:1/a?b"), "https://host:1");
  EXPECT_EQ(origin_of("https://host?x"), "https://host");
  EXPECT_EQ(origin_of("https://hub@evil/x"), "https://hub@evil");
  EXPECT_EQ(origin_of("nothing"), "");
}

TEST(HubSettings, WhatTheEnvironmentSays) {
  std::map<std::string, std::string> set = {{"HF_HOME", "/h"},
                                            {"HF_ENDPOINT", "http://mirror/x//"}};
  const auto read = [&] {
    return read_hub_settings([&](const char* name) {
      const auto found = set.find(name);
      return found == set.end() ? nullptr : found->second.c_str();
    });
  };
  EXPECT_EQ(read().cache, "/h/hub");
  EXPECT_EQ(read().endpoint, "http://mirror/x");
  EXPECT_EQ(read().offline, "");
  set["TRANSFORMERS_OFFLINE"] = "True";
  EXPECT_EQ(read().offline, "TRANSFORMERS_OFFLINE");
  set["HF_HUB_OFFLINE"] = "0";
  EXPECT_EQ(read().offline, "");
  set["HF_TOKEN"] = "hf_x\n";
  EXPECT_EQ(read().token, "hf_x");
  EXPECT_EQ(read().without_token("a hf_x, hf_xhf_x"), "a ..., ......");
  set["HF_HUB_DOWNLOAD_TIMEOUT"] = "soon";
  expect_error(read, "HF_HUB_DOWNLOAD_TIMEOUT: expected a number of seconds, got 'soon'");
}

TEST(HubModels, FilesThatAreNeeded) {
  const HubName name{HubKind::kModel, "org/name"};
  const auto chosen = files_of_model(
      name, {"a.safetensors", "consolidated.safetensors", "config.json", "x/config.json",
             "pytorch_model.bin.index.json", "model.safetensors.index.json", "x.bin", "t.jinja"});
  EXPECT_EQ(chosen, (std::vector<std::string>{"a.safetensors", "config.json",
                                              "model.safetensors.index.json", "t.jinja"}));
  expect_error(
      [&] {
        files_of_model(name, {"a.gguf", "config.json"});
      },
      "name one of them: org/name/a.gguf");
  const HubName part{HubKind::kModel, "org/name", "main", "m-00002-of-00003.gguf"};
  EXPECT_EQ(files_of_model(part, {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m.gguf",
                                  "n-00003-of-00003.gguf", "m-00003-of-00003.gguf"})
                .size(),
            3u);
}

TEST(HubCache, RefsThatAreNoCommits) {
  const ScratchFolder folder;
  const HubName name{HubKind::kModel, "org/name"};
  const CachedRepository cached(folder.path(), name);
  EXPECT_EQ(cached.folder(), folder.file("models--org--name"));
  EXPECT_EQ(cached.commit_of(kCommit), kCommit);
  EXPECT_EQ(cached.commit_of("main"), std::nullopt);
  cached.write_ref("refs/pr/1", kCommit);
  EXPECT_EQ(cached.commit_of("refs/pr/1"), kCommit);
  folder.write("models--org--name/refs/main", "../../../x");
  EXPECT_EQ(cached.commit_of("main"), std::nullopt);
  EXPECT_FALSE(cached.kept_listing(kCommit));
  EXPECT_TRUE(cached.present_files(kCommit).files.empty());
}

}  // namespace
}  // namespace tessera::launch
