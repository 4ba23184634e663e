// Rows under anybody's names, in our own columns: by the settings of their data set, and by the
// names that data sets commonly use.
#include "launch/data/row_mapping.h"

#include <gtest/gtest.h>

#include "launch/config/settings.h"
#include "launch/data/message_mapping.h"
#include "launch/data/row_types.h"
#include "runtime/io/file.h"
#include "runtime/io/json.h"
#include "tests/expect_error.h"
#include "tests/launch/byte_tokenizer.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

using tessera::testing::expect_error;

/// The settings of a data set, as a config has them inside braces.
DatasetConfig settings_of(const std::string& keys) {
  Faults faults;
  const std::string text = "datasets: [{path: d" + (keys.empty() ? "" : ", " + keys) + "}]";
  const Settings settings = read_settings(text, "F", {}, faults);
  Config config = resolve(settings, "F", faults);
  faults.raise();
  return config.datasets.at(0);
}

/// A row as people write it, with single quotes for double ones.
RowJson row_of(std::string text) {
  std::ranges::replace(text, '\'', '"');
  return io::parse_ordered_json(text, "row");
}

std::string mapped(const std::string& row, const std::string& keys = "") {
  std::string text = mapped_row(row_of(row), settings_of(keys), "d:1").dump();
  std::ranges::replace(text, '"', '\'');
  return text;
}

void refuse(const std::string& row, const std::string& keys, const std::string& part) {
  expect_error([&] { mapped(row, keys); }, "d:1: ", part);
}

std::string guessed(const std::string& row, const std::string& keys = "") {
  return columns_guessed(row_of(row), settings_of(keys));
}

TEST(RowMapping, WithoutSettingsOurOwnColumnsStayAsTheyAre) {
  for (const char* row :
       {"{'id':1,'messages':[{'role':'user','content':'a'}]}",
        "{'conversations':[{'from':'human','value':'a'}],'system':'s'}",
        "{'instruction':'a','input':'b','output':'c','question':'q','answer':'x'}",
        "{'prompt':'a','completion':'b'}", "{'text':'a'}", "{'input_ids':[1]}", "{'x':1}"}) {
    EXPECT_EQ(mapped(row), row);
    EXPECT_EQ(guessed(row), "") << row;
  }
}

TEST(RowMapping, ColumnsAreFoundUnderTheirNames) {
  EXPECT_EQ(mapped("{'story':'a','id':1}", "field: story"), "{'id':1,'text':'a'}");
  EXPECT_EQ(mapped("{'q':'a','more':'b','a':'c'}",
                   "field_instruction: q, field_input: more, field_output: a"),
            "{'instruction':'a','input':'b','output':'c'}");
  EXPECT_EQ(
      mapped("{'q':'a','a':'c'}", "type: prompt_completion, field_instruction: q, field_output: a"),
      "{'prompt':'a','completion':'c'}");
  EXPECT_EQ(mapped("{'chat':[],'fns':[],'sys':'s'}",
                   "field_messages: chat, field_tools: fns, field_system: sys"),
            "{'messages':[],'tools':[],'system':'s'}");
  // Two columns may change places, and one that is in the way is still named.
  EXPECT_EQ(mapped("{'input':'a','output':'b'}",
                   "type: alpaca, field_instruction: output, field_output: input"),
            "{'instruction':'b','output':'a'}");
  EXPECT_EQ(mapped("{'text':'a','body':'b'}", "field: body"),
            "{'text (as the file has it)':'a','text':'b'}");
  // A name that is ours already asks for nothing.
  EXPECT_EQ(mapped("{'instruction':'a','output':'b'}", "type: alpaca, field_input: input"),
            "{'instruction':'a','output':'b'}");
}

TEST(RowMapping, AMissingColumnIsAnErrorWithThoseThereAre) {
  refuse("{'question':'a','answer':'b'}", "field: story",
         "there is no column \"story\", which field names; the columns are question, answer");
  refuse("{}", "field_messages: chat", "the columns are none");
}

TEST(RowMapping, FormatsMakePromptsAsAxolotlDoes) {
  const std::string keys =
      "type: {system_format: \"S: {system}\\n\", format: \"Q: {instruction} {input}\\nA:\", "
      "no_input_format: \"Q: {instruction}\\nA:\"}";
  EXPECT_EQ(mapped("{'instruction':'a','input':'b','output':'c','id':1}", keys),
            "{'id':1,'prompt':'Q: a b\\nA:','completion':'c'}");
  EXPECT_EQ(mapped("{'instruction':'a','input':'','output':'c','system':'s'}", keys),
            "{'prompt':'S: s\\nQ: a\\nA:','completion':'c'}");
  EXPECT_EQ(mapped("{'q':'{input}','a':'c'}",
                   "type: {field_instruction: q, field_output: a, system_prompt: Hm., "
                   "format: '{{{instruction}}}'}"),
            "{'prompt':'Hm.{{input}}','completion':'c'}");
  EXPECT_EQ(mapped("{'question':'a','response':'c','system_prompt':'s'}",
                   "type: alpaca_w_system.load_open_orca"),
            "{'prompt':'### System:\\ns\\n### Human:\\na\\n### Assistant:\\n','completion':'c'}");
  refuse("{'q':'a','output':'c'}", "type: {format: '{instruction}'}",
         "format needs a column \"instruction\"; the columns are q, output; field_instruction "
         "names another one");
  refuse("{'instruction':1,'output':'c'}", "type: {format: '{instruction}'}", "must be a string");
}

TEST(RowMapping, KeysAndRolesOfMessagesAreMapped) {
  const std::string keys =
      "field_messages: chat, message_property_mappings: {role: who, content: said}";
  EXPECT_EQ(mapped("{'chat':[{'who':'human','said':'a'},{'who':'gpt','said':'b'}]}", keys),
            "{'messages':[{'role':'user','content':'a'},{'role':'assistant','content':'b'}]}");
  EXPECT_EQ(mapped("{'conversations':[{'from':'person','value':'a'},{'from':'critic','value':'b'},"
                   "{'from':'observation','value':'c'}]}",
                   "roles: {user: [person], assistant: critic}"),
            "{'conversations':[{'role':'user','content':'a'},{'role':'assistant','content':'b'},"
            "{'role':'observation','content':'c'}]}");
  EXPECT_EQ(mapped("{'messages':[{'role':'user','content':'a','learn':0,'thoughts':'t'}]}",
                   "message_field_training: learn, field_thinking: thoughts"),
            "{'messages':[{'role':'user','content':'a','train':0,'reasoning_content':'t'}]}");
  // A message without the mapped key may have ours.
  EXPECT_EQ(mapped("{'messages':[{'role':'user','said':'a'}]}",
                   "message_property_mappings: {role: who, content: said}"),
            "{'messages':[{'role':'user','content':'a'}]}");
  refuse("{'messages':[{'role':null,'speaker':'user','content':'a'}]}",
         "message_property_mappings: {role: who}",
         "a message has no \"who\", which its role should be in; it has role, speaker, content");
  refuse("{'messages':['a']}", "roles: {user: x}", "every message must be an object");
  refuse("{'messages':'a'}", "roles: {user: x}", "must be an array");
}

TEST(RowMapping, SystemTextsAreDroppedOrAdded) {
  const std::string turn = "{'role':'user','content':'a'}";
  const std::string system = "{'role':'system','content':'s'}";
  EXPECT_EQ(mapped("{'system':'x','messages':[" + system + "," + turn + "]}",
                   "drop_system_message: true"),
            "{'messages':[" + turn + "]}");
  EXPECT_EQ(mapped("{'messages':[" + turn + "]}", "system_prompt: s"),
            "{'messages':[" + turn + "],'system':'s'}");
  for (const std::string& row :
       {"{'messages':[" + system + "," + turn + "]}", "{'system':'x','messages':[" + turn + "]}"}) {
    EXPECT_EQ(mapped(row, "system_prompt: s"), row);
  }
  EXPECT_EQ(mapped("{'instruction':'a','output':'b'}", "type: alpaca, system_prompt: s"),
            "{'instruction':'a','output':'b','system':'s'}");
}

TEST(RowMapping, QuestionsAndAnswersAreGuessed) {
  const std::string turns =
      "{'messages':[{'role':'user','content':'a'},{'role':'assistant','content':'b'}]}";
  EXPECT_EQ(mapped("{'question':'a','answer':'b'}"), turns);
  EXPECT_EQ(guessed("{'question':'a','answer':'b'}"),
            "question is read as user, answer as assistant");
  EXPECT_EQ(mapped("{'query':'c','response':'d','system':'s','history':[['a','b']]}"),
            "{'system':'s','messages':[{'role':'user','content':'a'},{'role':'assistant',"
            "'content':'b'},{'role':'user','content':'c'},{'role':'assistant','content':'d'}]}");
  EXPECT_EQ(mapped("{'instruction':'a','response':'b'}"), "{'instruction':'a','output':'b'}");
  EXPECT_EQ(mapped("{'prompt':'a','answer':'b'}"), "{'prompt':'a','completion':'b'}");
  EXPECT_EQ(mapped("{'conversation':[{'human':'a','assistant':'b'}]}"), turns);
  EXPECT_EQ(mapped("{'conversation':" + turns.substr(12), ""), turns);
  EXPECT_EQ(guessed("{'conversation':[]}"), "conversation is read as messages");
  // By a type that is said.
  EXPECT_EQ(mapped("{'question':'a','answer':'b'}", "type: prompt_completion"),
            "{'prompt':'a','completion':'b'}");
  EXPECT_EQ(mapped("{'question':'a','answer':'b'}", "type: alpaca"),
            "{'instruction':'a','output':'b'}");
  EXPECT_EQ(mapped("{'prompt':'a','completion':'b'}", "type: chat_template"), turns);
}

TEST(RowMapping, NothingIsGuessedWhereMoreThanOneReadingFits) {
  for (const char* row :
       {"{'prompt':'a','response':'b','answer':'c'}", "{'question':'a','answer':'b','context':''}",
        "{'question':'a','answer':['b']}", "{'question':'a'}",
        "{'question':'a','answer':'b','query':'a','response':'b'}"}) {
    EXPECT_EQ(mapped(row), row);
    EXPECT_EQ(guessed(row), "");
    expect_error([&] { infer_row_type(row_of(row), "d:1"); }, "d:1: the columns fit no known type",
                 "they are ", "field_instruction");
  }
  // The setting says what belongs where.
  EXPECT_EQ(mapped("{'question':'a','answer':'b','context':'c'}",
                   "type: alpaca, field_instruction: question, field_input: context, "
                   "field_output: answer"),
            "{'instruction':'a','input':'c','output':'b'}");
}

TEST(RowMapping, AlpacaColumnsCanBeAConversation) {
  EXPECT_EQ(mapped("{'instruction':'a','input':'b','output':'c','id':1}", "formatting: alpaca"),
            "{'id':1,'messages':[{'role':'user','content':'a\\nb'},{'role':'assistant','content':"
            "'c'}]}");
  EXPECT_EQ(mapped("{'q':'a','a':'c','messages':[]}",
                   "formatting: alpaca, columns: {prompt: q, response: a}"),
            "{'messages (as the file has it)':[],'messages':[{'role':'user','content':'a'},"
            "{'role':'assistant','content':'c'}]}");
  refuse("{'query':'a','response':'b','history':[['q']]}", "", "pairs of texts");
  refuse("{'x':'a'}", "type: chat_template, field_instruction: instruction, field_output: output",
         "there is no column \"instruction\" to make a conversation of; the columns are x");
  refuse("{'q':'a'}", "formatting: alpaca, columns: {prompt: q, response: r}",
         "there is no column \"r\"");
}

TEST(RowMapping, ListsInCellsAreParsed) {
  const RowJson row = {{"messages", R"([{"role": "user", "content": "a"}])"}};
  EXPECT_EQ(mapped_row(row, {}, "d:1").dump(), R"({"messages":[{"role":"user","content":"a"}]})");
  expect_error(
      [&] {
        mapped_row({{"messages", "[{'role': 1}]"}}, {}, "d:1");
      },
      "d:1: \"messages\"");
}

TEST(RowMapping, PreferencesAreRefusedByName) {
  expect_error([&] { infer_row_type(row_of("{'prompt':'a','chosen':'b','rejected':'c'}"), "d:1"); },
               "d:1: the row holds a preference", "field_output: chosen");
  EXPECT_EQ(mapped("{'prompt':'a','chosen':'b','rejected':'c'}",
                   "type: prompt_completion, field_instruction: prompt, field_output: chosen"),
            "{'prompt':'a','rejected (as the file has it)':'c','completion':'b'}");
}

TEST(RowMapping, RolesToTrainGoByTheNamesOfTheDataSet) {
  EXPECT_EQ(our_roles({"gpt", "judge", "human", "function_call", "x"},
                      settings_of("roles: {assistant: [judge]}")),
            (std::vector<std::string>{"assistant", "assistant", "user", "assistant", "x"}));
}

/// Rows on their whole way to tokens.
class MappedRows : public ::testing::Test {
 protected:
  void SetUp() override {
    tessera::testing::write_byte_tokenizer(folder_.path());
    tokenizer_ = Tokenizer::load(folder_.path());
    chat_ = ChatTemplate::resolve("chatml", *tokenizer_);
  }

  Sample encode(const RowJson& row, const DatasetConfig& dataset) {
    const RowJson own = mapped_row(row, dataset, "d:1");
    const RowType type = dataset.type ? *dataset.type : infer_row_type(own, "d:1");
    return encode_row(own, type, config_, {&*tokenizer_, &*chat_, tessera::testing::kByteVocab},
                      "d:1", remarks_)
        .at(0);
  }
  std::string learned(const Sample& sample) {
    std::vector<int32_t> ids;
    for (size_t i = 0; i < sample.ids.size(); ++i) {
      if (sample.labels[i] != Sample::kIgnore) ids.push_back(sample.ids[i]);
    }
    return tokenizer_->decode(ids, false);
  }
  std::string learned(const std::string& row, const std::string& keys = "") {
    return learned(encode(row_of(row), settings_of(keys)));
  }

  tessera::testing::ScratchFolder folder_;
  std::optional<Tokenizer> tokenizer_;
  std::optional<ChatTemplate> chat_;
  Config config_;
  RowRemarks remarks_;
};

/// By TRL's tokenize_fn: tests/golden/make_prompt_messages_golden.py. It learns the template's line
/// break behind the last message, too, which nobody has to say.
TEST_F(MappedRows, PromptAndCompletionMessagesAreLearnedAsTrlDoes) {
  const std::string path = std::string(TESSERA_GOLDEN_DIR) + "/prompt_messages.json";
  const RowJson golden = io::parse_ordered_json(io::read_file(path, 1 << 20), path);
  ASSERT_GE(golden.size(), 5u);
  for (const RowJson& one : golden) {
    const Sample sample = encode(one.at("row"), {});
    EXPECT_EQ(tokenizer_->decode(sample.ids, false), one.at("text")) << one.dump();
    EXPECT_EQ(learned(sample), one.at("learned")) << one.dump();
  }
}

TEST_F(MappedRows, PromptsOfMessagesFollowTrainOnInputs) {
  const std::string row =
      "{'prompt':[{'role':'user','content':'a'}],'completion':[{'role':'assistant','content':'b'}]"
      "}";
  EXPECT_EQ(learned(row), "b<|im_end|>");
  EXPECT_EQ(learned(row, "type: prompt_completion"), "b<|im_end|>");
  EXPECT_EQ(learned(row, "type: chat_template"), "b<|im_end|>");
  config_.train_on_inputs = true;
  EXPECT_NE(learned(row).find("user\na"), std::string::npos);
  expect_error([&] { learned("{'prompt':[{'role':'user','content':'a'}],'completion':'b'}"); },
               "d:1: prompt and completion must both be");
}

TEST_F(MappedRows, RolesOfAnyNameAreLearned) {
  for (const char* role : {"gpt", "model", "bot", "chatbot"}) {
    const std::string turns =
        std::string("[{'role':'human','content':'a'},{'role':'") + role + "','content':'b'}]";
    EXPECT_EQ(learned("{'messages':" + turns + "}"), "b<|im_end|>") << role;
  }
  EXPECT_EQ(learned("{'messages':[{'role':'ipython','content':'a'},{'role':'assistant',"
                    "'content':'b'}]}"),
            "b<|im_end|>");
  expect_error([&] { learned("{'messages':[{'role':'wizard','content':'a'}]}"); },
               "unknown role \"wizard\"", "`roles` of the data set");
  EXPECT_EQ(learned("{'messages':[{'role':'wizard','content':'a'}]}", "roles: {assistant: wizard}"),
            "a<|im_end|>");
}

TEST_F(MappedRows, TextPartsMayHoldTheirTextAsValue) {
  EXPECT_EQ(learned("{'messages':[{'role':'user','content':[{'type':'text','value':'a'}]},"
                    "{'role':'assistant','content':[{'type':'text','value':'b'}]}]}"),
            "b<|im_end|>");
}

TEST_F(MappedRows, SegmentsSayWhatIsLearned) {
  const std::string row =
      "{'segments':[{'label':false,'text':'<|im_start|>a'},{'label':true,'text':'b<|im_end|>'}]}";
  const Sample sample = encode(row_of(row), {});
  EXPECT_EQ(sample.ids,
            (std::vector<int32_t>{tessera::testing::kImStart, 'a', 'b', tessera::testing::kImEnd}));
  EXPECT_EQ(learned(sample), "b<|im_end|>");
  EXPECT_EQ(learned(row, "type: input_output, train_on_inputs: true"), "b<|im_end|>");
  config_.train_on_inputs = true;
  EXPECT_EQ(learned(row), "<|im_start|>ab<|im_end|>");
  for (const char* bad : {"{'segments':'a'}", "{'segments':[{'label':1,'text':'a'}]}",
                          "{'segments':[{'label':true}]}", "{'segments':['a']}"}) {
    expect_error([&] { learned(bad); }, "d:1: ", "segment");
  }
}

TEST_F(MappedRows, FormattedPromptsKeepTheirTokens) {
  EXPECT_EQ(learned("{'q':'a','a':'b'}",
                    "type: {field_instruction: q, field_output: a, format: "
                    "\"Q: {instruction}\\nA: \"}"),
            "b<|im_end|>");
}

/// The first row of each public data set, where it is here.
TEST_F(MappedRows, PublicDataSetsAreRead) {
  const std::string folder = std::string(TESSERA_SHARED_DIR) + "/datasets/";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no " << folder;
  const auto first = [&](const std::string& file) {
    const std::string text = io::read_file(folder + file, 64 << 20);
    return io::parse_ordered_json(text.substr(0, text.find('\n')), file);
  };
  for (const char* file :
       {"gsm8k/train.jsonl", "wikisql/train.jsonl", "formats/alpaca.jsonl", "formats/chatml.jsonl",
        "formats/conversations.jsonl", "formats/sharegpt.jsonl", "formats/swift_multi.jsonl",
        "formats/swift_single.jsonl", "chat/lf_v1_sft_demo.jsonl"}) {
    EXPECT_FALSE(learned(encode(first(file), {})).empty()) << file;
  }
  const RowJson question = first("gsm8k/train.jsonl");
  EXPECT_EQ(learned(encode(question, {})), question.at("answer").get<std::string>() + "<|im_end|>");
}

}  // namespace
}  // namespace tessera::launch
