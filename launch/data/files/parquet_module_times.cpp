#include "launch/data/files/parquet_module_times.h"

#include <arrow/vendored/datetime.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <stdexcept>

namespace tessera::launch {
namespace {

constexpr int64_t kSecondsOfDay = 86'400;
constexpr int64_t kFirstDay = -719'162;  // January 1st of the year 1
constexpr int64_t kLastDay = 2'932'896;  // December 31st of 9999

/// A count of units as seconds, rounded down, and the nanoseconds that are left.
struct Moment {
  int64_t seconds;
  int64_t nanoseconds;
};

Moment moment_of(int64_t count, arrow::TimeUnit::type unit) {
  int64_t per_second = 1;
  if (unit == arrow::TimeUnit::MILLI) per_second = 1'000;
  if (unit == arrow::TimeUnit::MICRO) per_second = 1'000'000;
  if (unit == arrow::TimeUnit::NANO) per_second = 1'000'000'000;
  int64_t seconds = count / per_second, rest = count % per_second;
  if (rest < 0) rest += per_second, --seconds;
  return {seconds, rest * (1'000'000'000 / per_second)};
}

template <class... Numbers>
void append_numbers(std::string& text, const char* format, Numbers... numbers) {
  std::array<char, 64> line;
  const int length = std::snprintf(line.data(), line.size(), format, (long long)(numbers)...);
  text.append(line.data(), size_t(length));
}

/// Appends the hour, of a second of the day.
void append_hour(int64_t second, int64_t nanoseconds, std::string& text) {
  append_numbers(text, "%02lld:%02lld:%02lld", second / 3600, second / 60 % 60, second % 60);
  if (nanoseconds == 0) return;
  if (nanoseconds % 1000 != 0) return append_numbers(text, ".%09lld", nanoseconds);
  append_numbers(text, ".%06lld", nanoseconds / 1000);
}

void require_year(int64_t day) {
  if (day < kFirstDay || day > kLastDay) {
    throw std::runtime_error("a date outside of the years 1 to 9999");
  }
}

/// Seconds that a zone is ahead of UTC at a moment.
int64_t offset_of(const std::string& zone, int64_t seconds) {
  // What every machine knows; its table of zones may be missing.
  if (zone == "UTC") return 0;
  char sign = 0, end = 0;
  int hours = 0, minutes = 0;
  if (std::sscanf(zone.c_str(), "%c%2d:%2d%c", &sign, &hours, &minutes, &end) == 3 &&
      (sign == '+' || sign == '-')) {
    const int64_t offset = int64_t{hours} * 3600 + int64_t{minutes} * 60;
    return sign == '-' ? -offset : offset;
  }
  using arrow_vendored::date::sys_seconds;
  const auto* rules = arrow_vendored::date::locate_zone(zone);
  return rules->get_info(sys_seconds(std::chrono::seconds(seconds))).offset.count();
}

}  // namespace

void append_date(int64_t days_since_1970, std::string& text) {
  require_year(days_since_1970);
  const std::chrono::year_month_day date{std::chrono::sys_days(std::chrono::days(days_since_1970))};
  append_numbers(text, "%04lld-%02lld-%02lld", int(date.year()), unsigned(date.month()),
                 unsigned(date.day()));
}

void append_time(int64_t count, arrow::TimeUnit::type unit, std::string& text) {
  const auto [seconds, nanoseconds] = moment_of(count, unit);
  if (seconds < 0 || seconds >= kSecondsOfDay) {
    throw std::runtime_error("a time outside of the 24 hours of a day");
  }
  append_hour(seconds, nanoseconds, text);
}

void append_timestamp(int64_t count, arrow::TimeUnit::type unit, const std::string& zone,
                      std::string& text) {
  const auto [utc, nanoseconds] = moment_of(count, unit);
  require_year(utc / kSecondsOfDay);  // before a zone is asked about it
  const int64_t offset = zone.empty() ? 0 : offset_of(zone, utc);
  const int64_t here = utc + offset;
  const int64_t second = (here % kSecondsOfDay + kSecondsOfDay) % kSecondsOfDay;
  append_date((here - second) / kSecondsOfDay, text);
  text += ' ';
  append_hour(second, nanoseconds, text);
  if (zone.empty()) return;
  const int64_t ahead = offset < 0 ? -offset : offset;
  text += offset < 0 ? '-' : '+';
  append_numbers(text, "%02lld:%02lld", ahead / 3600, ahead / 60 % 60);
  if (ahead % 60 != 0) append_numbers(text, ":%02lld", ahead % 60);
}

}  // namespace tessera::launch
