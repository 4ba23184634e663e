// For tests: a call has to fail with an Error of one line that contains what the user needs.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "runtime/core/error.h"

namespace tessera::testing {

/// The message of the Error that `call` throws; a test failure when it throws none.
template <class Callable>
std::string error_of(Callable&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "no Error was thrown";
  return "";
}

/// `parts`: texts that the message has to contain.
template <class Callable, class... Parts>
void expect_error(Callable&& call, Parts&&... parts) {
  const std::string message = error_of(call);
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  for (const std::string_view part : {std::string_view(parts)...}) {
    EXPECT_NE(message.find(part), std::string::npos) << "'" << part << "' is not in: " << message;
  }
}

}  // namespace tessera::testing
