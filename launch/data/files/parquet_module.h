// Rows of Parquet files are read by Arrow's library, which is in a shared object of its own: a
// program that reads none needs no Arrow. Only C crosses between the two, and no exception does, so
// that Arrow may have been built by another compiler. parquet_rows.h is for the rest of the
// program.
#pragma once

#include <cstddef>

namespace tessera::launch {

/// Room for a message: one line that ends with a NUL.
inline constexpr size_t kParquetMessage = 1024;

/// What the shared object exports.
struct ParquetModule {
  /// A file that is read from its first row on; null and a message where it cannot be.
  void* (*open)(const char* path, char* message);
  /// 1 and the next row as JSON, an object of the columns in the file's order, which stays until
  /// the next call; 0 after the last row; -1 and a message, after which there are no more rows.
  int (*next)(void* file, const char** json, size_t* length, char* message);
  void (*close)(void* file);
  /// Of Arrow: "26.0.1".
  const char* (*version)();
};
inline constexpr const char* kParquetModule = "tessera_parquet_module";

}  // namespace tessera::launch
