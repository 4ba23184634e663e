// The shared object behind parquet_rows.h.
#include "launch/data/files/parquet_module.h"

#include <arrow/config.h>
#include <arrow/io/file.h>
#include <arrow/memory_pool.h>
#include <arrow/record_batch.h>
#include <arrow/util/utf8.h>
#include <parquet/arrow/reader.h>
#include <parquet/file_reader.h>
#include <parquet/metadata.h>

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "launch/data/files/parquet_module_values.h"

namespace tessera::launch {
namespace {

constexpr size_t kMaxRowBytes = size_t{64} << 20;
// What of the rows is held at once: of short rows many, of rows with images in them one.
constexpr int64_t kMaxBatchRows = 256;
constexpr int64_t kBatchBytes = 4 << 20;

void check(const arrow::Status& status) {
  if (status.ok()) return;
  std::string message = status.message();
  // The system's own words, such as "Permission denied".
  if (status.detail()) message += ": " + status.detail()->ToString();
  throw std::runtime_error(message);
}
template <class Value>
Value taken(arrow::Result<Value> result) {
  check(result.status());
  return std::move(result).ValueUnsafe();
}

int64_t rows_in_batch(const parquet::FileMetaData& file) {
  int64_t rows = kMaxBatchRows;
  for (int group = 0; group < file.num_row_groups(); ++group) {
    const auto part = file.RowGroup(group);
    const int64_t bytes = std::max<int64_t>(part->total_byte_size(), 1);
    const double of_row = double(bytes) / double(std::max<int64_t>(part->num_rows(), 1));
    rows = std::min(rows, std::max<int64_t>(1, int64_t(double(kBatchBytes) / of_row)));
  }
  return rows;
}

/// The batches of one row group. Arrow of before version 21 gives them by another function.
template <class Reader>
std::unique_ptr<arrow::RecordBatchReader> batches_of(Reader& reader, int group) {
  const std::vector<int> groups = {group};
  if constexpr (requires { reader.GetRecordBatchReader(groups); }) {
    return taken(reader.GetRecordBatchReader(groups));
  } else {
    std::unique_ptr<arrow::RecordBatchReader> batches;
    check(reader.GetRecordBatchReader(groups, &batches));
    return batches;
  }
}

/// The rows of one file.
class Rows {
 public:
  explicit Rows(const std::string& path) {
    // Arrow's own pools would keep for themselves what was read.
    arrow::MemoryPool* const pool = arrow::system_memory_pool();
    // A column is read through a buffer, page after page, rather than whole.
    parquet::ReaderProperties pages(pool);
    pages.enable_buffered_stream();
    pages.set_page_checksum_verification(true);
    parquet::arrow::FileReaderBuilder builder;
    check(builder.Open(taken(arrow::io::ReadableFile::Open(path)), pages));
    const auto file = builder.raw_reader()->metadata();
    total_ = file->num_rows();
    groups_ = file->num_row_groups();
    parquet::ArrowReaderProperties batches(/*use_threads=*/false);
    batches.set_pre_buffer(false);
    batches.set_batch_size(rows_in_batch(*file));
    check(builder.memory_pool(pool)->properties(batches)->Build(&reader_));
    std::shared_ptr<arrow::Schema> schema;
    check(reader_->GetSchema(&schema));
    for (const std::string& name : schema->field_names()) {
      append_string(name, names_.emplace_back());
    }
  }

  /// The next row's text, or null after the last.
  const std::string* next() {
    while (!batch_ || row_ == batch_->num_rows()) {
      if (!next_batch()) return end();
    }
    write_row();
    ++row_, ++read_;
    return &text_;
  }

 private:
  /// Whether there is one more. Row groups are read one after another: Arrow reads nested columns
  /// of some types only where a batch does not reach over two of them.
  bool next_batch() {
    row_ = 0;
    for (; group_ < groups_; ++group_, batches_ = nullptr) {
      if (!batches_) batches_ = batches_of(*reader_, group_);
      check(batches_->ReadNext(&batch_));
      if (batch_) return true;
    }
    return false;
  }

  const std::string* end() const {
    if (read_ == total_) return nullptr;
    throw std::runtime_error("the rows end here, but the file says that it has " +
                             std::to_string(total_));
  }

  void write_row() {
    text_ = "{";
    for (int column = 0; column < batch_->num_columns(); ++column) {
      if (column > 0) text_ += ',';
      text_ += names_[size_t(column)];
      text_ += ':';
      try {
        append_value(*batch_->column(column), row_, text_);
      } catch (const std::exception& error) {
        throw std::runtime_error("the column " + names_[size_t(column)] + " holds " + error.what());
      }
      if (text_.size() > kMaxRowBytes) throw std::runtime_error("the row is longer than 64 MiB");
    }
    text_ += '}';
  }

  std::unique_ptr<parquet::arrow::FileReader> reader_;  // which the batches need
  std::unique_ptr<arrow::RecordBatchReader> batches_;
  std::shared_ptr<arrow::RecordBatch> batch_;
  std::vector<std::string> names_;  // as JSON
  int groups_ = 0;                  // of the file
  int group_ = 0;                   // that is read
  int64_t row_ = 0;                 // of the batch
  int64_t read_ = 0;                // of the file
  int64_t total_ = 0;
  std::string text_;
};

/// Puts the first line of `text` into a message.
void say(std::string_view text, char* message) {
  text = text.substr(0, std::min(text.find('\n'), kParquetMessage - 1));
  message[text.copy(message, text.size())] = '\0';
}

/// Calls `work`; where it throws, the message is said and `failed` returned.
template <class Result, class Work>
Result guarded(char* message, Result failed, const Work& work) {
  try {
    return work();
  } catch (const std::exception& error) {
    say(error.what(), message);
  } catch (...) {
    say("an unknown error", message);
  }
  return failed;
}

void* open(const char* path, char* message) {
  return guarded(message, static_cast<void*>(nullptr), [&]() -> void* {
    arrow::util::InitializeUTF8();
    return std::make_unique<Rows>(path).release();
  });
}

int next(void* file, const char** json, size_t* length, char* message) {
  return guarded(message, -1, [&] {
    const std::string* row = static_cast<Rows*>(file)->next();
    if (!row) return 0;
    *json = row->data();
    *length = row->size();
    return 1;
  });
}

void close(void* file) { std::unique_ptr<Rows>(static_cast<Rows*>(file)).reset(); }

const char* version() { return arrow::GetBuildInfo().version_string.c_str(); }

}  // namespace

extern "C" const ParquetModule tessera_parquet_module = {open, next, close, version};

}  // namespace tessera::launch
