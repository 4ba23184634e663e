#include "machine_test.h"

namespace {
std::atomic<int> reports = 0;
}

// Called by TSan's runtime, which lets a program define them.
extern "C" void __tsan_on_report(const void*) { ++reports; }
extern "C" const char* __tsan_default_options() {
  return "exitcode=0:symbolize=0:report_thread_leaks=0:suppress_equal_stacks=0:suppress_equal_"
         "addresses=0";
}

namespace cuda_on_cpu {
int tsan_reports() { return reports; }
}  // namespace cuda_on_cpu
