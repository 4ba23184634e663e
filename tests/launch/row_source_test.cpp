// Rows of files: every form that is read gives the rows that Python finds in it, every other one is
// named, and files are found and cut as the datasets package does it.
#include "launch/data/files/row_source.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <vector>

#include "runtime/io/json.h"
#include "tests/expect_error.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

using tessera::testing::bytes_of_file;
using tessera::testing::expect_error;

struct Found {
  std::vector<RowJson> rows;
  std::vector<std::string> places;
};

Found read(const RowFiles& where) {
  Found found;
  RowSource(where).for_each([&](RowJson&& row, const std::string& place) {
    found.rows.push_back(std::move(row));
    found.places.push_back(place);
    return true;
  });
  return found;
}

class RowSourceTest : public ::testing::Test {
 protected:
  std::string write(const std::string& name, std::string_view content) {
    std::filesystem::create_directories(std::filesystem::path(folder_.file(name)).parent_path());
    return folder_.write(name, content);
  }
  Found read_text(const std::string& name, std::string_view content) {
    return read({.path = write(name, content)});
  }
  template <class... Parts>
  void refuse(const std::string& name, std::string_view content, Parts&&... parts) {
    expect_error([&] { read_text(name, content); }, name, parts...);
  }
  /// The numbers that the rows hold under "i", where rows are made by numbered().
  std::vector<int> numbers(const RowFiles& where) {
    std::vector<int> out;
    for (const RowJson& row : read(where).rows) out.push_back(row["i"]);
    return out;
  }
  static std::string numbered(int first, int count) {
    std::string text;
    for (int i = first; i < first + count; ++i) text += fmt::format("{{\"i\":{}}}\n", i);
    return text;
  }

  tessera::testing::ScratchFolder folder_;
};

using Numbers = std::vector<int>;
using Names = std::vector<std::string>;

TEST_F(RowSourceTest, EveryFormHasTheRowsThatPythonFinds) {
  const std::string folder = std::string(TESSERA_GOLDEN_DIR) + "/rows/";
  const RowJson golden = io::parse_ordered_json(bytes_of_file(folder + "rows.json"), "rows.json");
  ASSERT_EQ(golden.size(), 16u);
  for (const auto& [name, rows] : golden.items()) {
    const bool is_array = name.ends_with("array.json");
    const Found found = read({.path = folder + name});
    ASSERT_EQ(found.rows.size(), rows.size()) << name;
    for (size_t i = 0; i < rows.size(); ++i) {
      EXPECT_EQ(found.rows[i], rows[i][1]) << name;
      const std::string number = std::to_string(rows[i][0].get<int>());
      EXPECT_EQ(found.places[i], folder + name + (is_array ? ": row " : ":") + number);
    }
  }
}

TEST_F(RowSourceTest, WhatIsCutOffOrDamagedSaysHowFarItWent) {
  const std::string folder = std::string(TESSERA_GOLDEN_DIR) + "/rows/";
  for (const std::string name : {"lines.jsonl.gz", "lines.jsonl.zst"}) {
    const std::string whole = bytes_of_file(folder + name);
    const size_t padding = name.ends_with("gz") ? 100 : 0;
    const std::string format = name.ends_with("gz") ? "gzip" : "zstd";
    int refused = 0;
    for (size_t bytes = 20; bytes < whole.size() - padding; ++bytes) {
      const std::string path = write(name, whole.substr(0, bytes));
      try {
        read({.path = path});  // may end between two members
      } catch (const Error& error) {
        ++refused;
      }
    }
    EXPECT_GT(refused, int(whole.size() - padding) - 30);
    refuse(name, whole.substr(0, whole.size() - padding - 30), "the " + format + " file is cut off",
           "bytes were unpacked");
    std::string damaged = whole;
    damaged[60] = char(damaged[60] ^ 0x55);
    expect_error([&] { read_text(name, damaged); }, name);
  }
  refuse("a.gz", bytes_of_file(folder + "table.csv.gz") + "and more", "something else than gzip");
}

TEST_F(RowSourceTest, ChunksCutNothing) {
  // Letters of two bytes, so that the end of a chunk falls into one, at every odd place.
  const std::string letters = [] {
    std::string text;
    for (int i = 0; i < 5000; ++i) text += "ä";
    return text;
  }();
  std::string lines, array = "[", table = "i,text\r\n";
  for (int i = 0; i < 200; ++i) {
    const std::string text = letters.substr(0, size_t(2 * (i * 37 % 5000))) + "x";
    lines += fmt::format("{{\"i\":\"{}\",\"text\":\"{}\"}}\n", i, text);
    array += fmt::format("{}\n{{\"i\":\"{}\",\"text\":\"{}\"}}", i ? "," : "", i, text);
    table += fmt::format("{},\"{}\"\r\n", i, text);
  }
  ASSERT_GT(lines.size(), size_t{3} << 18);  // three chunks
  const Found of_lines = read_text("a.jsonl", lines);
  ASSERT_EQ(of_lines.rows.size(), 200u);
  EXPECT_EQ(of_lines.places[199].substr(of_lines.places[199].rfind(':')), ":200");
  EXPECT_EQ(of_lines.rows[7]["text"].get<std::string>().size(), 2u * 259 + 1);
  EXPECT_EQ(read_text("a.json", array + "\n]").rows, of_lines.rows);
  EXPECT_EQ(read_text("a.csv", table).rows, of_lines.rows);
  std::string wide = "\xff\xfe";
  for (size_t i = 0; i < lines.size(); ++i) {
    const bool umlaut = lines[i] == '\xc3';
    wide += {umlaut ? '\xe4' : lines[i], '\0'};
    i += umlaut;
  }
  EXPECT_EQ(read_text("wide.jsonl", wide).rows, of_lines.rows);
}

TEST_F(RowSourceTest, ARowMayHave64MiB) {
  const std::string letters(size_t{64} << 20, 'a');
  EXPECT_EQ(read_text("a.txt", "b\n" + letters).rows.size(), 2u);
  refuse("a.txt", "b\na" + letters, "a.txt:2: the line is longer than 64 MiB");
  refuse("a.csv", "a,b\n1,\"" + letters + "\n", "a.csv:2: the row is longer", "a quote left open?");
  refuse("a.json", "[1, \"" + letters + "\"]", "a.json: row 2: the row is longer than 64 MiB");
}

TEST_F(RowSourceTest, OtherFormatsAreNamed) {
  const std::string good = R"({"text":"ab"})";
  refuse("a.parquet", "PAR1xx", "a Parquet file");
  refuse("a.zip", "PK\x03\x04", "a zip archive");
  refuse("a.jsonl", "BZh9", "is compressed by bzip2");
  refuse("a.jsonl.xz", std::string("\xfd\x37zXZ\0", 6), "is compressed by xz");
  refuse("a.arrow", "ARROW1", "an Arrow file");
  refuse("a.db", "SQLite format 3", "an SQLite database");
  refuse("a.jsonl", "GGUF", "a GGUF model");
  refuse("a.tar", std::string(257, 'a') + "ustar", "is a tar archive");
  refuse("a.jsonl", std::string("\xff\xfe\0\0a\0\0\0", 8), "text in UTF-32; save it as UTF-8");
  refuse("a.jsonl", "text,label\nab,1\n", "is no JSON", "it looks like CSV", "ds_type: csv");
  refuse("a.jsonl", "text\tlabel\nab\t1\n", "it looks like TSV");
  refuse("a.jsonl", "Once upon a time\n", "is no JSON: expected one JSON object on each line");
  refuse("a.json", "{\n\"data\": [\n" + good + "]}", "its rows in \"data\"");
  refuse("a.json", "{\n\"a\": {\"b\": [{}]},\n\"rows\": [" + good + "]}", "in \"rows\"");
  refuse("a.json", "{\n\"text\":\n\"a\"}", "one JSON object over several lines");
  refuse("a.json", "{\n\"messages\":[{\"role\":\"user\"}]}", "one JSON object over several lines");
  refuse("py.jsonl", "{'text': 'a'}", "py.jsonl:1: ", "a Python literal?");
  refuse("two.jsonl", good + good, "two objects on one line?");
  for (const char* name : {"a.jsonl", "a.csv", "a.txt", "a.json"}) {
    refuse(name, "", "the file is empty");
    refuse(name, "\r\n\n", "the file is empty");
  }
  expect_error([&] { read({.path = "tatsu-lab/alpaca"}); }, "no such file; a data set of the hub");
}

TEST_F(RowSourceTest, BrokenTextIsAnErrorWithItsLine) {
  refuse("a.jsonl", "{\"a\":1}\n{\"a\":\"\xff\"}\n", "a.jsonl:2: this is not valid UTF-8");
  refuse("a.csv", "a,b\n\n1,\xc3\x28\n", "a.csv:3: this is not valid UTF-8");
  refuse("a.txt", "a\nb\n\xe2\x82", "a.txt:3: the text ends inside a letter");
  refuse("a.txt", std::string("a\nb and more\0", 13), "a.txt:2: a NUL byte");
  const std::string half("\xff\xfe\n\0\x3d\xd8g\0", 8);
  refuse("a.txt", half, "a.txt:2: this is not valid UTF-16");
  refuse("a.txt", half.substr(0, 5), "the text ends inside a letter");
}

TEST_F(RowSourceTest, AnArrayIsReadElementByElement) {
  EXPECT_EQ(read_text("a.json", "\n [ {\"a\": [1, \"],{\\\"\"]} , {} ] \n").rows,
            (std::vector<RowJson>{{{"a", {1, "],{\""}}}, RowJson::object()}));
  refuse("a.json", "[]", "a.json: the array holds no rows");
  refuse("a.json", "[{},]", "a.json: row 2: a row is missing");
  refuse("a.json", "[,{}]", "a.json: row 1: a row is missing");
  refuse("a.json", "[{}, {]", "a.json: row 2: the file ends inside the array");
  refuse("a.json", "[{}, {} {}]", "a.json: row 2: invalid JSON");
  refuse("a.json", "[{}}", "a.json: row 1: a '}' closes what no '{' opened");
  refuse("a.json", "[{}] []", "something follows the end of the array");
  refuse("a.json", "[{\"a\": [1}]", "row 1: the file ends inside the array");
  refuse("a.json", "[" + std::string(65, '[') + std::string(65, ']') + "]", "deeper than 64");
}

TEST_F(RowSourceTest, TablesThatDoNotAddUpAreRefused) {
  refuse("a.csv", "a,b\n1,2\n\n\"x\ny\",2,3\n", "a.csv:4: 3 cells in a row", "has 2 columns");
  refuse("a.csv", "a;b\n1\n", "a.csv:2: 1 cells in a row", "hold ';'");
  refuse("a.csv", "a,b,a\n1,2,3\n", "a.csv:1: two columns are called 'a'");
  refuse("a.csv", ",b\n0,2\n", "a.csv:1: column 1 has no name in the header",
         "to_csv(index=False)");
  refuse("a.csv", "a,b\n", "a.csv: the table has a header, but no rows");
  refuse("a.csv", "a,b\n\"1\"2,3\n", "a.csv:2: a quote closes cell 1, but more than a delimiter");
  refuse("a.csv", "a,b\n1,\"2\n3", "a.csv:2: the file ends inside the quotes of cell 2");
  refuse("a.csv", std::string(10'001, ','), "a.csv:1: 10002 columns, more than the 10000");
  const RowJson row = {{"a", "1"}, {"b", ""}};
  EXPECT_EQ(read_text("a.csv", "a,b\n1,").rows, std::vector<RowJson>{row});
  EXPECT_EQ(read_text("a.tsv", "a\tb\n1\t").rows, std::vector<RowJson>{row});
  const std::vector<RowJson> only = {{{"a", "1"}}};
  EXPECT_EQ(read_text("a.csv", "a\n1\n").rows, only);
}

TEST_F(RowSourceTest, NamesAndContentTellTheKind) {
  const std::vector<RowJson> json = {{{"a", "1"}}};
  const std::vector<RowJson> text = {{{"text", "a;b"}}, {{"text", "1;2"}}};
  const std::vector<RowJson> table = {{{"a", "1"}, {"b", "2"}}};
  // JSON lines are JSON lines whatever they are called.
  for (const char* name : {"a", "a.jsonl", "a.txt", "a.CSV", "a.data"}) {
    EXPECT_EQ(read_text(name, "\n{\"a\": \"1\"}").rows, json) << name;
  }
  EXPECT_EQ(read_text("a.md", "a;b\n1;2").rows, text);
  EXPECT_EQ(read_text("a.csv", "a;b\n1;2").rows, table);
  const std::string path = write("a.data", "a;b\n1;2");
  EXPECT_EQ(read({.path = path, .ds_type = "csv"}).rows, table);
  EXPECT_EQ(read({.path = path, .ds_type = "text"}).rows, text);
  expect_error([&] { read({.path = path, .ds_type = "json"}); }, "a.data: is no JSON");
  expect_error([&] { read({.path = path, .ds_type = "tables"}); }, "expected json, csv, text or");
  const std::string lines = write("b.txt", "{\"a\": \"1\"}");
  EXPECT_EQ(read({.path = lines, .ds_type = "text"}).rows[0]["text"], "{\"a\": \"1\"}");
}

TEST_F(RowSourceTest, SlicesAreThoseOfDatasets) {
  const std::string path = write("n.jsonl", numbered(0, 10));
  const std::vector<std::pair<std::string, Numbers>> cases = {
      {"train[:2]", {0, 1}},
      {"train[8:]", {8, 9}},
      {"train[8:100]", {8, 9}},
      {"train[-2:]", {8, 9}},
      {"train[2:-6]", {2, 3}},
      {"train[:25%]", {0, 1}},  // 2.5 is rounded to the even number
      {"train[35%:45%]", {}},   // 3.5 and 4.5 both become 4
      {"train[-20%:]", {8, 9}},
      {"train[1_0%:20%]", {1}},
      {" train[:1] + train[-1:]", {0, 9}},
  };
  for (const auto& [split, expected] : cases) {
    const RowFiles where = {.path = path, .split = split};
    if (expected.empty()) {
      expect_error([&] { read(where); }, "holds none of the rows in", "n.jsonl");
    } else {
      EXPECT_EQ(numbers(where), expected) << split;
    }
  }
  const auto refuse_split = [&](const std::string& split, const std::string& why) {
    expect_error([&] { read({.path = path, .split = split}); }, "split: ", why);
  };
  refuse_split("train[5]", "has no slice");
  refuse_split("train[:5", "has no slice");
  refuse_split("train[", "has no slice");
  refuse_split("train[:x]", "no whole number");
  refuse_split("train[:101%]", "beyond 100%");
  refuse_split("train[10%:5]", "from rows to per cents");
  refuse_split("train+", "does not begin with the name");
  refuse_split("train[10:12]", "holds none of the rows");
  expect_error([&] { read({.path = path, .split = "test"}); }, "has no split test; there is train");
}

TEST_F(RowSourceTest, SlicesGoOnOverFiles) {
  write("d/a.jsonl", numbered(0, 3));
  write("d/b.jsonl", numbered(3, 3));
  write("d/c.jsonl", numbered(6, 3));
  EXPECT_EQ(numbers({.path = folder_.file("d"), .split = "train[2:7]"}), (Numbers{2, 3, 4, 5, 6}));
  EXPECT_EQ(numbers({.path = folder_.file("d"), .split = "train[50%:]"}), (Numbers{4, 5, 6, 7, 8}));
  EXPECT_EQ(numbers({.path = folder_.file("d"), .split = "train[:3]+train[-1:]"}),
            (Numbers{0, 1, 2, 8}));
  // A file behind the slice is not looked into.
  write("d/c.jsonl", "broken");
  EXPECT_EQ(numbers({.path = folder_.file("d"), .split = "train[:6]"}).size(), 6u);
  expect_error([&] { read({.path = folder_.file("d"), .split = "train[:7]"}); }, "c.jsonl: is no");
  // Rows before the slice are counted, not parsed.
  write("d/a.jsonl", "{\"i\":0}\n{broken}\n{\"i\":2}\n");
  EXPECT_EQ(numbers({.path = folder_.file("d"), .split = "train[2:4]"}), (Numbers{2, 3}));
}

TEST_F(RowSourceTest, AVisitorMayStop) {
  write("d/a.jsonl", numbered(0, 3));
  write("d/b.jsonl", "broken");
  for (const int most : {1, 3}) {
    int seen = 0;
    RowSource({.path = folder_.file("d")}).for_each([&](RowJson&&, const std::string&) {
      return ++seen < most;
    });
    EXPECT_EQ(seen, most);
  }
}

TEST_F(RowSourceTest, SelectionTellsSlicesApart) {
  const std::string path = write("n.jsonl", numbered(0, 10));
  const auto selection = [&](const std::string& split, const std::string& type = "") {
    return RowSource({.path = path, .split = split, .ds_type = type}).selection();
  };
  EXPECT_EQ(selection(""), selection("train"));
  EXPECT_NE(selection("train[:5]"), selection("train[:5%]"));
  EXPECT_NE(selection("train[:5]"), selection("train[5:]"));
  EXPECT_NE(selection("train"), selection("train+train"));
  EXPECT_NE(selection(""), selection("", "text"));
  write("m.jsonl", numbered(0, 1));
  const auto of_files = [&](const Names& names) {
    return RowSource({.path = folder_.path(), .data_files = names}).selection();
  };
  EXPECT_NE(of_files({"m.jsonl", "n.jsonl", "m.jsonl"}),
            of_files({"m.jsonl", "n.jsonl", "n.jsonl"}));
}

TEST_F(RowSourceTest, FoldersHaveSplitsByTheirNames) {
  struct Case {
    Names files;
    std::map<std::string, Names> splits;
  };
  const std::vector<Case> cases = {
      {{"b.jsonl", "a.jsonl", ".hidden.jsonl", "__pycache__/c.jsonl", "dataset_infos.json"},
       {{"train", {"a.jsonl", "b.jsonl"}}}},
      {{"train.jsonl", "my-dev.jsonl", "testing_1.jsonl", "latest.jsonl"},
       {{"train", {"train.jsonl"}},
        {"validation", {"my-dev.jsonl"}},
        {"test", {"testing_1.jsonl"}}}},
      {{"x/train/1.jsonl", "x/train/2/3.jsonl", "val set/1.jsonl", "test.jsonl"},
       {{"train", {"x/train/1.jsonl", "x/train/2/3.jsonl"}}, {"validation", {"val set/1.jsonl"}}}},
      {{"data/train-00000-of-00002.jsonl", "data/train-00001-of-00002.jsonl",
        "data/extra-00000-of-00001-abc.jsonl", "test.jsonl"},
       {{"train", {"data/train-00000-of-00002.jsonl", "data/train-00001-of-00002.jsonl"}},
        {"extra", {"data/extra-00000-of-00001-abc.jsonl"}}}},
      {{"notes.txt", "a.jsonl"}, {{"train", {"a.jsonl"}}}},
      {{"notes.txt", "other.md"}, {{"train", {"notes.txt"}}}},
  };
  for (size_t i = 0; i < cases.size(); ++i) {
    const std::string root = fmt::format("case{}/", i);
    write(root + "README.md", "# A data set\n");
    for (const std::string& file : cases[i].files) write(root + file, "{\"i\":1}\n");
    for (const auto& [split, names] : cases[i].splits) {
      Names expected;
      for (const std::string& name : names) expected.push_back(folder_.file(root + name));
      EXPECT_EQ(RowSource({.path = folder_.file(root), .split = split}).files(), expected) << i;
    }
  }
  expect_error([&] { read({.path = folder_.file("case1"), .split = "dev"}); },
               "has no split dev; there is train, validation, test");
  write("only/test.jsonl", "{}");
  expect_error([&] { read({.path = folder_.file("only")}); }, "has no split train; there is test");
}

TEST_F(RowSourceTest, FoldersWithoutRowsOrWithMoreThanOneKindAreRefused) {
  write("d/a.jsonl", "{\"i\":1}");
  write("d/a.csv", "i\n2\n");
  const RowFiles both = {.path = folder_.file("d")};
  expect_error([&] { read(both); }, "holds rows as csv and as json", "ds_type or data_files");
  EXPECT_EQ(read({.path = folder_.file("d"), .ds_type = "csv"}).rows[0]["i"], "2");
  write("arrow/data-00000-of-00001.arrow", "");
  expect_error([&] { read({.path = folder_.file("arrow")}); }, "is a folder without files",
               "data-00000-of-00001.arrow");
  std::filesystem::create_directories(folder_.file("circle"));
  std::filesystem::create_directory_symlink("..", folder_.file("circle/up"));
  expect_error([&] { read({.path = folder_.file("circle")}); }, "nested more than 32 deep");
}

TEST_F(RowSourceTest, DataFilesAndGlobsNameFiles) {
  write("d/test.jsonl", numbered(0, 1));
  write("d/x/a1.jsonl", numbered(1, 1));
  write("d/x/a2.jsonl", numbered(2, 1));
  write("d/x/y/bö.jsonl", numbered(3, 1));
  write("d/x/notes.txt", "");
  const auto glob = [&](const std::string& pattern) {
    return numbers({.path = folder_.file("d/" + pattern)});
  };
  EXPECT_EQ(glob("*.jsonl"), Numbers{0});
  EXPECT_EQ(glob("**/*.jsonl"), (Numbers{0, 1, 2, 3}));
  EXPECT_EQ(glob("x/**/*.jsonl"), (Numbers{1, 2, 3}));
  EXPECT_EQ(glob("*/a[1-9].jsonl"), (Numbers{1, 2}));
  EXPECT_EQ(glob("x/a[!1].jsonl"), Numbers{2});
  EXPECT_EQ(glob("x/*/b?.jsonl"), Numbers{3});
  EXPECT_EQ(glob("x/y/b[ä-ü].jsonl"), Numbers{3});
  expect_error([&] { glob("*.csv"); }, "d/*.csv: no file is called like that");
  expect_error([&] { glob("z/*.csv"); }, "no such folder");
  const auto named = [&](const Names& names, const std::string& path) {
    return numbers({.path = path, .data_files = names});
  };
  EXPECT_EQ(named({"x/a2.jsonl", "x/*.jsonl"}, folder_.file("d")), (Numbers{2, 1, 2}));
  EXPECT_EQ(named({folder_.file("d/test.jsonl")}, "json"), Numbers{0});
  expect_error([&] { named({"x"}, folder_.file("d")); }, "d/x: is a folder; name the files in it");
  expect_error([&] { named({"z.jsonl"}, folder_.file("d")); }, "d/z.jsonl: no such file");
  expect_error([&] { named({"z"}, folder_.file("d/test.jsonl")); }, "is no folder");
  expect_error([&] { read({.path = "json"}); }, "give data_files");
}

TEST_F(RowSourceTest, AReadmeListsConfigs) {
  for (const char* name : {"a", "b", "c"}) write(fmt::format("d/{}.jsonl", name), "{\"i\":1}");
  write("d/extra/train.jsonl", "{\"i\":1}");
  const auto files = [&](const std::string& header, const RowFiles& more) {
    write("d/README.md", "---\nlicense: mit\n" + header + "dataset_info: &x {}\n---\n# Data\n");
    RowFiles where = more;
    where.path = folder_.file("d");
    Names names;
    const RowSource source(where);
    for (const std::string& file : source.files()) {
      names.push_back(file.substr(where.path.size() + 1));
    }
    return names;
  };
  const std::string one =
      "configs:\n- config_name: first\n  data_files:\n  - split: train\n    path: [b.jsonl, "
      "a.jsonl]\n  - split: test\n    path: c*\n";
  const std::string two = one + "- config_name: more\n  data_dir: extra\n";
  EXPECT_EQ(files("", {}), Names{"extra/train.jsonl"});
  EXPECT_EQ(files(one, {}), (Names{"b.jsonl", "a.jsonl"}));
  EXPECT_EQ(files(one, {.path = {}, .split = "test"}), Names{"c.jsonl"});
  EXPECT_EQ(files(two, {.path = {}, .name = "more"}), Names{"extra/train.jsonl"});
  EXPECT_EQ(files(two + "  default: true\n", {}), Names{"extra/train.jsonl"});
  EXPECT_EQ(files("configs:\n- config_name: default\n  data_files: \"[ab].jsonl\"\n", {}),
            (Names{"a.jsonl", "b.jsonl"}));
  // A split that is not asked for need not be there.
  const std::string absent = one + "  - split: validation\n    path: absent.jsonl\n";
  EXPECT_EQ(files(absent, {}), (Names{"b.jsonl", "a.jsonl"}));
  expect_error([&] { files(absent, {.path = {}, .split = "validation"}); },
               "d/absent.jsonl: no such");
  expect_error([&] { files(two, {}); }, "lists several configs; choose one by name: first, more");
  expect_error([&] { files(two, {.path = {}, .name = "third"}); },
               "no config 'third'; there is first, more");
  expect_error([&] { files("", {.path = {}, .name = "first"}); },
               "there is none that lists configs");
  expect_error([&] { files("configs: 1\n", {}); }, "README.md:3: expected a list of configs");
  expect_error([&] { files("configs:\n- data_files: a\n", {}); }, "README.md:4: expected a config");
  for (const char* path : {"../a.jsonl", "/etc/passwd"}) {
    expect_error(
        [&] { files(fmt::format("configs:\n- {{config_name: a, data_files: {}}}\n", path), {}); },
        "README.md:4: ", "leads out of the folder");
  }
  expect_error([&] { files("configs:\n- {config_name: a, sep: ;}\n", {}); },
               "sep says how files are read");
}

}  // namespace
}  // namespace tessera::launch
