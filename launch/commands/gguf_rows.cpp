#include "launch/commands/gguf_rows.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>

#include "runtime/core/error.h"
#include "runtime/io/gguf_encode.h"

namespace tessera::launch {
namespace {

/// Calls work(i) for i in [0, count) on several threads, and rethrows the first exception.
template <class Work>
void on_threads(int threads, int64_t count, Work&& work) {
  constexpr int64_t kAtOnce = 16;
  std::atomic<int64_t> next = 0;
  std::exception_ptr error;
  std::mutex mutex;
  const auto serve = [&] {
    try {
      for (int64_t begin; (begin = next.fetch_add(kAtOnce)) < count;) {
        for (int64_t i = begin; i < std::min(begin + kAtOnce, count); ++i) work(i);
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
      next = count;
    }
  };
  {
    std::vector<std::jthread> others;
    const int64_t most = std::min<int64_t>(threads, (count + kAtOnce - 1) / kAtOnce);
    for (int64_t i = 1; i < most; ++i) others.emplace_back(serve);
    serve();
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace

int64_t interleaved_row(int64_t row, int64_t rows, int64_t heads) {
  if (heads == 0) return row;
  const int64_t size = rows / heads, place = row % size;
  return row - place + (place % 2) * (size / 2) + place / 2;
}

void GgufRowWriter::write(const io::GgufEntry& entry, std::span<const float> values,
                          int64_t interleaved_heads) {
  // A bias has a value for each row of its matrix.
  const bool is_column = entry.shape.size() == 1 && interleaved_heads != 0;
  const int64_t columns = is_column ? 1 : entry.shape.back();
  const int64_t rows = int64_t(values.size()) / columns;
  const io::GgufBlock block = io::block_of(entry.type);
  const uint64_t row_bytes = uint64_t(columns) / block.elements * block.bytes;
  TESSERA_CHECK(row_bytes * uint64_t(rows) == entry.bytes);
  constexpr int64_t kValues = int64_t{1} << 22;  // encoded before they are written
  const int64_t piece = std::max<int64_t>(1, kValues / columns);
  for (int64_t first = 0; first < rows; first += piece) {
    const int64_t count = std::min(piece, rows - first);
    encoded_.resize(size_t(count) * row_bytes);
    on_threads(threads_, count, [&](int64_t i) {
      const int64_t from = interleaved_row(first + i, rows, interleaved_heads);
      io::encode(entry.type,
                 {.tensor = entry.name,
                  .first = size_t(from),
                  .columns = size_t(columns),
                  .values = values.subspan(size_t(from * columns), size_t(columns))},
                 std::span(encoded_).subspan(size_t(i) * row_bytes, row_bytes));
    });
    file_.write(entry.name, encoded_);
  }
}

}  // namespace tessera::launch
