#include "launch/data/files/parquet_rows.h"

#include <dlfcn.h>

#include <array>
#include <memory>

#include "launch/data/files/parquet_module.h"
#include "runtime/core/error.h"
#include "runtime/core/shared_library.h"
#include "runtime/io/folder.h"
#include "runtime/io/json.h"
#include "runtime/io/printable.h"

namespace tessera::launch {
namespace {

constexpr const char* kFile = "tessera_parquet.so";
constexpr const char* kBuildAgain = "`tessera doctor` says how to build one that does";

/// Error with the loader's words where it cannot be loaded. Stays loaded.
const ParquetModule& load_parquet() {
  static const ParquetModule& module = []() -> const ParquetModule& {
    void* const library = dlopen(module_beside_program(kFile).c_str(), RTLD_NOW | RTLD_LOCAL);
    const void* const found = library ? dlsym(library, kParquetModule) : nullptr;
    if (!found) fail("{}", io::printable(dlerror(), 500));
    return *static_cast<const ParquetModule*>(found);
  }();
  return module;
}

/// The same; an error says how else `path` can be read.
const ParquetModule& load_parquet_for(const std::string& path) {
  if (!io::exists(module_beside_program(kFile))) {
    fail(
        "{}: is a Parquet file, and this build reads none: {}, or write it as JSON lines: python3 "
        "-c 'import json, pyarrow.parquet as p, sys; [print(json.dumps(row, default=str)) for row "
        "in p.read_table(sys.argv[1]).to_pylist()]' FILE.parquet > FILE.jsonl",
        path, kBuildAgain);
  }
  try {
    return load_parquet();
  } catch (const Error& error) {
    fail("{}: is a Parquet file, and what reads them cannot be loaded: {}: {}", path, error.what(),
         kBuildAgain);
  }
}

}  // namespace

void for_each_parquet_row(const std::string& path,
                          FunctionRef<bool(RowJson&& row, const std::string& where)> visit) {
  const ParquetModule& module = load_parquet_for(path);
  std::array<char, kParquetMessage> message{};
  const auto said = [&] { return io::printable(message.data(), 500); };
  const std::unique_ptr<void, void (*)(void*)> file(module.open(path.c_str(), message.data()),
                                                    module.close);
  if (!file) fail("{}: cannot be read as a Parquet file: {}", path, said());
  for (int64_t row = 1;; ++row) {
    const std::string where = fmt::format("{}: row {}", path, row);
    const char* json = nullptr;
    size_t length = 0;
    const int got = module.next(file.get(), &json, &length, message.data());
    if (got < 0) fail("{}: {}", where, said());
    if (got == 0 || !visit(io::parse_ordered_json({json, length}, where), where)) return;
  }
}

std::string describe_parquet() {
  if (!io::exists(module_beside_program(kFile))) {
    return fmt::format("not read: this build has no {}", kFile);
  }
  try {
    return fmt::format("Arrow {}", load_parquet().version());
  } catch (const Error& error) {
    return fmt::format("not read: {}", error.what());
  }
}

}  // namespace tessera::launch
