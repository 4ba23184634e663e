// How the readers of files hand over rows. Rows before a slice are counted, not parsed.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "launch/data/row_keys.h"
#include "runtime/core/function_ref.h"

namespace tessera::launch {

/// `where` is "file:line", or "file: row N" where rows have no lines. False: no more rows.
using RowVisitor = FunctionRef<bool(RowJson&& row, const std::string& where)>;

/// Counts rows, skips the first ones, and passes the others on.
class RowCounter {
 public:
  /// `visit` outlives this.
  RowCounter(int64_t skip, RowVisitor visit) : skip_(skip), visit_(visit) {}

  /// Takes the next row: `where()` gives its place and `parse(place)` the row. Neither is called
  /// for a row that is skipped. False: no more rows.
  template <class Parse, class Where>
  bool row(Parse&& parse, Where&& where) {
    if (count_++ < skip_) return true;
    const std::string place = where();
    return visit_(parse(place), place);
  }
  /// The number of rows so far, skipped ones included.
  int64_t count() const { return count_; }

 private:
  int64_t skip_;
  RowVisitor visit_;
  int64_t count_ = 0;
};

}  // namespace tessera::launch
