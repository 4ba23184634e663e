// Values of Arrow's arrays as JSON: the text that Python's json.dumps makes of pyarrow's
// to_pylist(), with dates, times and decimals as str() writes them.
#pragma once

#include <arrow/array.h>

#include <string>
#include <string_view>

namespace tessera::launch {

/// Appends a string of JSON. `text` has to be UTF-8.
void append_string(std::string_view text, std::string& json);

/// Appends the value at place `i` of an array. A float is the shortest text that reads back as the
/// same double; one that JSON lacks (NaN, an infinity) is null. Binary values have to be UTF-8
/// text; those of a struct of `bytes` and `path`, which is how an image or a sound is stored, are
/// null. A map is a list of pairs. Throws std::runtime_error, without the name of the column, for a
/// type that has no text, and for text that is not UTF-8.
void append_value(const arrow::Array& array, int64_t i, std::string& json);

}  // namespace tessera::launch
