// Rows of Parquet files are those that pyarrow gives, and what cannot be read is said in one line.
#include <gtest/gtest.h>

#include "launch/data/files/parquet_rows.h"
#include "runtime/core/shared_library.h"
#include "runtime/io/file.h"
#include "runtime/io/folder.h"
#include "tests/expect_error.h"
#include "tests/scratch_folder.h"

namespace tessera::launch {
namespace {

using tessera::testing::expect_error;

constexpr const char* kGolden = TESSERA_GOLDEN_DIR "/parquet/";

class ParquetRows : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!io::exists(module_beside_program("tessera_parquet.so"))) {
      GTEST_SKIP() << "no Parquet: this build found no Arrow library (pip install pyarrow)";
    }
  }

  std::vector<RowJson> rows_of(const std::string& path) {
    std::vector<RowJson> rows;
    for_each_parquet_row(path, [&](RowJson&& row, const std::string& where) {
      rows.push_back(std::move(row));
      EXPECT_EQ(where, fmt::format("{}: row {}", path, rows.size()));
      return true;
    });
    return rows;
  }
  void refuse(const std::string& name, const std::string& part) {
    expect_error([&] { rows_of(kGolden + name); }, name + ": row 2: the column \"extra\" holds ",
                 part);
  }
  std::string chat() {
    return tessera::testing::bytes_of_file(std::string(kGolden) + "chat.parquet");
  }

  tessera::testing::ScratchFolder folder_;
};

TEST_F(ParquetRows, AreThoseOfPyarrow) {
  const std::string path = std::string(kGolden) + "rows.json";
  const RowJson golden = RowJson::parse(io::read_file(path, 1 << 20));
  EXPECT_EQ(golden.size(), 7u);
  for (const auto& [name, expected] : golden.items()) {
    const std::vector<RowJson> rows = rows_of(kGolden + name + ".parquet");
    ASSERT_EQ(rows.size(), expected.size()) << name;
    // As text, which tells 1 from 1.0 and one order of the keys from another.
    for (size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(rows[i].dump(), expected[i].dump()) << name;
  }
}

TEST_F(ParquetRows, EndWhereTheVisitorStops) {
  int seen = 0;
  for_each_parquet_row(std::string(kGolden) + "chat.parquet",
                       [&](RowJson&&, const std::string&) { return ++seen < 3; });
  EXPECT_EQ(seen, 3);
}

TEST_F(ParquetRows, ValuesWithoutATextAreRefused) {
  refuse("refused_bytes.parquet", "bytes that are no UTF-8 text; write them as text, or drop");
  refuse("refused_duration.parquet", "values of the type duration[us], which is not read");
  refuse("refused_year.parquet", "a date outside of the years 1 to 9999");
  refuse("refused_uuid.parquet", "values of the type extension<arrow.uuid>, which is not read");
}

TEST_F(ParquetRows, DamageIsFound) {
  const std::string whole = chat();
  for (const size_t left : {size_t{0}, size_t{4}, whole.size() / 2, whole.size() - 1}) {
    const std::string path = folder_.write("cut.parquet", whole.substr(0, left));
    expect_error([&] { rows_of(path); }, "cut.parquet: cannot be read as a Parquet file: ");
  }
  // A page of the first column, which a checksum protects.
  std::string damaged = whole;
  damaged[100] ^= 1;
  const std::string path = folder_.write("damaged.parquet", damaged);
  expect_error([&] { rows_of(path); }, "damaged.parquet: row 1: ");
  expect_error([&] { rows_of(folder_.file("none.parquet")); }, "none.parquet: ", "No such file");
}

TEST(Parquet, SaysWhetherItIsRead) {
  const bool built = io::exists(module_beside_program("tessera_parquet.so"));
  EXPECT_TRUE(describe_parquet().starts_with(built ? "Arrow " : "not read: "))
      << describe_parquet();
}

}  // namespace
}  // namespace tessera::launch
