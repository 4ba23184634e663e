// The special_tokens of a config must be the tokenizer's.
#include "launch/data/special_tokens.h"

#include <gtest/gtest.h>

#include "tests/expect_error.h"
#include "tests/launch/byte_tokenizer.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

TEST(SpecialTokens, OfAConfigAreThoseOfTheTokenizerOrAnError) {
  const testing::ScratchFolder folder;
  testing::write_byte_tokenizer(folder.path());
  const Tokenizer tokenizer = Tokenizer::load(folder.path());
  const std::string eos = tokenizer.named_tokens().at("eos_token");
  Config config;
  config.source = "run.yml";
  config.base_model = "m";
  EXPECT_NO_THROW(require_special_tokens(config, tokenizer));
  config.special_tokens = {{"eos_token", eos}};
  EXPECT_NO_THROW(require_special_tokens(config, tokenizer));
  config.special_tokens = {{"eos_token", eos + "x"}, {"unk_token", "<unk>"}};
  EXPECT_EQ(testing::error_of([&] { require_special_tokens(config, tokenizer); }),
            "run.yml: special_tokens.eos_token: " + eos +
                "x is asked for, but the tokenizer of m has " + eos +
                "; leave it out to use that, or change it in the checkpoint's "
                "tokenizer_config.json\n"
                "run.yml: special_tokens.unk_token: <unk> is asked for, but the tokenizer of m has "
                "none; leave it out to use that, or change it in the checkpoint's "
                "tokenizer_config.json");
}

}  // namespace
}  // namespace tessera::launch
