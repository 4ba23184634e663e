// Python's arithmetic on values: numbers, and what + * % mean for strings and lists.
#pragma once

#include "launch/text/jinja/failure.h"
#include "launch/text/jinja/value.h"

namespace tessera::launch::jinja {

enum class Arithmetic { kAdd, kSubtract, kMultiply, kDivide, kFloorDivide, kModulo, kPower };
/// Failure for integers beyond 64 bits, too.
Value compute(Value a, Arithmetic operation, const Value& b, Budget& budget);
Value negate(const Value& value);

}  // namespace tessera::launch::jinja
