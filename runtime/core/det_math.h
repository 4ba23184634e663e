// Double-precision exp, log, pow, sin and cos that give the same bits on every machine: only
// additions, multiplications and divisions of IEEE doubles, in one fixed order, no libm. For
// tables, schedules and per-row scalars; kernels use their own vector code.
#pragma once

namespace tessera {

/// e^x; relative error below 2e-16, 0 and infinity beyond the range of double, NaN for NaN.
double det_exp(double x);

/// Natural logarithm; relative error below 2e-16. -infinity for 0, NaN for negative x and NaN.
double det_log(double x);

/// x^y for x >= 0; relative error below 2e-16 for results within 1e-9 and 1e9, 3e-15 beyond.
/// 1 for y = 0, NaN for negative x and NaN.
double det_pow(double x, double y);

/// x in radians, |x| <= kMaxAngle (larger ones are refused as a bug); absolute error below 3e-16.
/// NaN for NaN.
inline constexpr double kMaxAngle = 0x1p28;
double det_sin(double x);
double det_cos(double x);

}  // namespace tessera
