// The deterministic functions against the 64-bit-mantissa functions of the C library, and the
// bits they must give everywhere.
#include "runtime/core/det_math.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace tessera {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

double relative_error(double value, long double truth) {
  return truth == 0 ? std::abs(value) : double(std::abs((value - truth) / truth));
}

TEST(DetMath, ExpAndLogAreAccurate) {
  std::mt19937_64 rng(1);
  std::uniform_real_distribution<double> exponent(-708, 709);
  double exp_error = 0, log_error = 0;
  for (int i = 0; i < 200000; ++i) {
    const double x = exponent(rng);
    exp_error = std::max(exp_error, relative_error(det_exp(x), std::exp((long double)x)));
    const double y = i % 2 == 0 ? std::exp(x) : 1 + x / 1024;
    if (y > 0)
      log_error = std::max(log_error, relative_error(det_log(y), std::log((long double)y)));
  }
  EXPECT_LT(exp_error, 2e-16);
  EXPECT_LT(log_error, 2e-16);
}

TEST(DetMath, PowIsAccurate) {
  std::mt19937_64 rng(2);
  std::uniform_real_distribution<double> theta(2, 1e7), exponent(-1, 1), decay(0.5, 1.0);
  std::uniform_int_distribution<int> step(1, 1000);
  double near_error = 0, far_error = 0;
  const auto measure = [&](double x, double y) {
    const long double truth = std::pow((long double)x, (long double)y);
    double& error = truth > 1e-9 && truth < 1e9 ? near_error : far_error;
    error = std::max(error, relative_error(det_pow(x, y), truth));
  };
  for (int i = 0; i < 100000; ++i) {
    measure(theta(rng), exponent(rng));
    measure(decay(rng), step(rng));
  }
  EXPECT_LT(near_error, 2e-16);
  EXPECT_LT(far_error, 3e-15);
}

TEST(DetMath, SinAndCosAreAccurate) {
  std::mt19937_64 rng(3);
  double error = 0;
  for (double limit : {1.0, 100.0, 1e6, 2.6e8}) {
    std::uniform_real_distribution<double> angle(-limit, limit);
    for (int i = 0; i < 100000; ++i) {
      // Angles near multiples of half pi lose most digits in the reduction.
      double x = angle(rng);
      if (i % 2 == 0) x = double(float(std::nearbyint(x / M_PI_2) * M_PI_2));
      error = std::max(error, double(std::abs(det_sin(x) - std::sin((long double)x))));
      error = std::max(error, double(std::abs(det_cos(x) - std::cos((long double)x))));
    }
  }
  EXPECT_LT(error, 3e-16);
}

TEST(DetMath, EdgesOfTheRange) {
  EXPECT_EQ(det_exp(0), 1);
  EXPECT_EQ(det_exp(-kInfinity), 0);
  EXPECT_EQ(det_exp(1000), kInfinity);
  EXPECT_EQ(det_exp(-1000), 0);
  EXPECT_EQ(det_exp(709.7), std::exp(709.7));
  EXPECT_NEAR(det_exp(-740), std::exp(-740), 1e-323);  // subnormal
  EXPECT_TRUE(std::isnan(det_exp(kNaN)));
  EXPECT_EQ(det_log(1), 0);
  EXPECT_EQ(det_log(0), -kInfinity);
  EXPECT_EQ(det_log(kInfinity), kInfinity);
  EXPECT_NEAR(det_log(5e-324), std::log(5e-324), 1e-13);
  EXPECT_TRUE(std::isnan(det_log(-1)));
  EXPECT_TRUE(std::isnan(det_log(kNaN)));
  EXPECT_EQ(det_pow(0, 2), 0);
  EXPECT_EQ(det_pow(0, -2), kInfinity);
  EXPECT_EQ(det_pow(kInfinity, -1), 0);
  EXPECT_EQ(det_pow(7, 0), 1);
  EXPECT_EQ(det_pow(10, 3), 1000);
  EXPECT_EQ(det_pow(1e300, 1e300), kInfinity);
  EXPECT_EQ(det_pow(1e300, -1e300), 0);
  EXPECT_TRUE(std::isnan(det_pow(-1, 2)));
  EXPECT_EQ(det_sin(0), 0);
  EXPECT_EQ(det_cos(0), 1);
  EXPECT_TRUE(std::isnan(det_sin(kNaN)));
  EXPECT_THROW(det_cos(kInfinity), std::logic_error);
}

TEST(DetMath, BitsAreThoseOfEveryMachine) {
  // The correctly rounded values (from 60-digit decimal arithmetic).
  EXPECT_EQ(det_exp(1), 0x1.5bf0a8b145769p+1);
  EXPECT_EQ(det_log(10), 0x1.26bb1bbb55516p+1);
  EXPECT_EQ(det_sin(1), 0x1.aed548f090ceep-1);
  EXPECT_EQ(det_cos(1), 0x1.14a280fb5068cp-1);
  EXPECT_EQ(det_pow(10000, 0.125), 0x1.94c583ada5b53p+1);
}

}  // namespace
}  // namespace tessera
