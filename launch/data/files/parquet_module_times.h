// Dates and times of Parquet's columns as Python's str() writes those that pyarrow makes of them.
#pragma once

#include <arrow/type.h>

#include <cstdint>
#include <string>

namespace tessera::launch {

/// Appends "2024-01-31". Throws std::runtime_error outside of the years 1 to 9999.
void append_date(int64_t days_since_1970, std::string& text);

/// Appends "23:59:59", with 6 or 9 digits of a fraction where it has one.
void append_time(int64_t count, arrow::TimeUnit::type unit, std::string& text);

/// Appends "2024-01-31 23:59:59", with a fraction as above and, where `zone` is not empty, with the
/// hour of the zone ("Europe/Berlin", "+05:30") and its distance to UTC: "+01:00". Throws
/// std::runtime_error outside of the years 1 to 9999, and for a zone that nobody knows here.
void append_timestamp(int64_t count, arrow::TimeUnit::type unit, const std::string& zone,
                      std::string& text);

}  // namespace tessera::launch
