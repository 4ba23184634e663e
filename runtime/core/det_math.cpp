#include "runtime/core/det_math.h"

#include <array>
#include <bit>
#include <cstdint>
#include <limits>

#include "runtime/core/error.h"

namespace tessera {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// ln 2 in two parts; the first has 42 bits, so that its product with an exponent is exact.
constexpr double kLn2High = 0x1.62e42fefa38p-1;
constexpr double kLn2Low = 0x1.ef35793c7673p-45;
constexpr double kLog2E = 0x1.71547652b82fep+0;

// Half pi in three parts of 24 bits, whose products with a multiple below 2^29 are exact, and a
// rest.
constexpr double kHalfPi[] = {0x1.921fb4p+0, 0x1.4442dp-24, 0x1.846988p-48, 0x1.8cc51701b839ap-72};
constexpr double kTwoOverPi = 0x1.45f306dc9c883p-1;

constexpr int kTerms = 20;
constexpr std::array<double, kTerms> inverse_factorials() {
  std::array<double, kTerms> inverse{};
  double factorial = 1;  // exact up to 18!
  for (int n = 0; n < kTerms; ++n) {
    factorial *= n == 0 ? 1 : n;
    inverse[size_t(n)] = 1 / factorial;
  }
  return inverse;
}
constexpr std::array<double, kTerms> kInverseFactorial = inverse_factorials();

/// An unevaluated sum: low is what rounding took from high.
struct Pair {
  double high;
  double low;
};

Pair two_sum(double a, double b) {
  const double sum = a + b;
  const double b_seen = sum - a;
  return {sum, (a - (sum - b_seen)) + (b - b_seen)};
}

/// Dekker's exact product, by splitting each factor into two halves of 26 bits.
Pair two_product(double a, double b) {
  constexpr double kSplit = 0x1p27 + 1;
  const double a_scaled = kSplit * a, b_scaled = kSplit * b;
  const double a_high = a_scaled - (a_scaled - a), a_low = a - a_high;
  const double b_high = b_scaled - (b_scaled - b), b_low = b - b_high;
  const double product = a * b;
  return {product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low};
}

int64_t nearest(double x) { return int64_t(x < 0 ? x - 0.5 : x + 0.5); }

/// 2^e for -1022 <= e <= 1023.
double power_of_two(int64_t e) { return std::bit_cast<double>(uint64_t(e + 1023) << 52); }

/// log(x) for finite x > 0. With x = m 2^k and s = (m-1)/(m+1):
/// log(m) = 2 artanh(s) = 2s + 2s (s^2/3 + s^4/5 + ...), |s| < 0.172.
Pair log_pair(double x) {
  int64_t k = 0;
  if (x < std::numeric_limits<double>::min()) {
    x *= 0x1p54;
    k = -54;
  }
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  k += int64_t(bits >> 52) - 1023;
  double m = std::bit_cast<double>((bits & 0x000fffffffffffffu) | 0x3ff0000000000000u);
  if (m > 0x1.6a09e667f3bcdp+0) {  // keep m between 1/sqrt(2) and sqrt(2)
    m *= 0.5;
    ++k;
  }
  const double f = m - 1;
  const Pair d = two_sum(1, m);
  const double s = f / d.high;
  const Pair back = two_product(s, d.high);
  const double s_low = (((f - back.high) - back.low) - s * d.low) / d.high;
  const double z = s * s;
  double series = 0;
  for (int n = 25; n >= 3; n -= 2) series = series * z + 2.0 / n;
  const Pair log_m = two_sum(2 * s, 2 * s_low + s * (z * series));
  const Pair sum = two_sum(double(k) * kLn2High, log_m.high);
  return two_sum(sum.high, sum.low + (log_m.low + double(k) * kLn2Low));
}

/// e^(high + low) for |low| far below |high|.
double exp_pair(Pair x) {
  if (x.high > 710) return kInfinity;
  if (x.high < -746) return 0;
  const int64_t k = nearest(x.high * kLog2E);
  const Pair r = two_sum(x.high - double(k) * kLn2High, x.low - double(k) * kLn2Low);
  double series = 0;
  for (size_t n = 14; n >= 2; --n) series = series * r.high + kInverseFactorial[n];
  const Pair start = two_sum(1, r.high);
  const double value = start.high + (start.low + (r.low + r.high * r.high * series));
  // In two steps, because 2^k itself may lie outside the normal range.
  return value * power_of_two(k / 2) * power_of_two(k - k / 2);
}

double sin_series(double r) {
  const double z = r * r;
  double series = 0;
  for (size_t n = 17; n >= 3; n -= 2) series = kInverseFactorial[n] - z * series;
  return r - r * z * series;
}

double cos_series(double r) {
  const double z = r * r;
  double series = 0;
  for (size_t n = 18; n >= 4; n -= 2) series = kInverseFactorial[n] - z * series;
  return 1 - (0.5 * z - z * z * series);
}

/// sin(x + quarter * pi/2).
double sin_shifted(double x, int64_t quarter) {
  if (x != x) return x;
  TESSERA_CHECK(-kMaxAngle <= x && x <= kMaxAngle);
  const int64_t n = nearest(x * kTwoOverPi);
  double r = x;
  for (double part : kHalfPi) r -= double(n) * part;
  switch ((n + quarter) & 3) {
    case 0:
      return sin_series(r);
    case 1:
      return cos_series(r);
    case 2:
      return -sin_series(r);
    default:
      return -cos_series(r);
  }
}

}  // namespace

double det_exp(double x) { return x != x ? x : exp_pair({x, 0}); }

double det_log(double x) {
  if (x == 0) return -kInfinity;
  if (!(x > 0)) return kNaN;
  return x == kInfinity ? x : log_pair(x).high;
}

double det_pow(double x, double y) {
  if (x != x || y != y || x < 0) return kNaN;
  if (y == 0 || x == 1) return 1;
  if (x == 0 || x == kInfinity) return (x == 0) == (y > 0) ? 0 : kInfinity;
  const Pair l = log_pair(x);
  // Far outside the range of exp; also keeps infinities out of the exact product.
  if (!(-800 < y * l.high && y * l.high < 800)) return exp_pair({y * l.high, 0});
  const Pair product = two_product(y, l.high);
  return exp_pair({product.high, product.low + y * l.low});
}

double det_sin(double x) { return sin_shifted(x, 0); }
double det_cos(double x) { return sin_shifted(x, 1); }

}  // namespace tessera
