#include "launch/commands/doctor.h"

#include <fmt/format.h>
#include <gnu/libc-version.h>
#include <hwy/targets.h>
#include <unistd.h>
#include <utf8proc.h>
#include <xxhash.h>

#include <CLI/Version.hpp>
#include <nlohmann/json.hpp>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "launch/commands/arguments.h"
#include "launch/commands/command_line.h"
#include "launch/console/progress.h"
#include "launch/data/files/parquet_rows.h"
#include "launch/machine/processors.h"
#include "launch/machine/system_limits.h"
#include "launch/plan/device_profile.h"
#include "launch/run/loaded_model.h"
#include "parallel/load_mpi.h"
#include "parallel/nccl_communicator.h"
#include "runtime/core/cuda_runtime.h"
#include "runtime/core/error.h"
#include "runtime/core/has_cuda.h"

namespace tessera::launch {
namespace {

/// The instruction set that the operators dispatch to here.
std::string simd_level() {
  const int64_t usable = hwy::SupportedTargets() & HWY_TARGETS;
  const int64_t best = usable & -usable;  // better targets have lower bits
  return best == HWY_AVX3 ? "AVX-512" : hwy::TargetName(best);
}

std::string library_versions() {
  return fmt::format(
      "fmt {}.{}.{}, nlohmann-json {}.{}.{}, CLI11 {}, PCRE2 {}.{}, utf8proc {}, "
      "xxHash {}.{}.{}, glibc {}",
      FMT_VERSION / 10000, FMT_VERSION / 100 % 100, FMT_VERSION % 100, NLOHMANN_JSON_VERSION_MAJOR,
      NLOHMANN_JSON_VERSION_MINOR, NLOHMANN_JSON_VERSION_PATCH, CLI11_VERSION, PCRE2_MAJOR,
      PCRE2_MINOR, utf8proc_version(), XXH_VERSION_MAJOR, XXH_VERSION_MINOR, XXH_VERSION_RELEASE,
      gnu_get_libc_version());
}

std::string describe_quota() {
  const std::optional<double> quota = processor_quota("/");
  return quota ? fmt::format(", of which the container may use {:.3g}", *quota) : "";
}

std::string describe_free(const FreeMemory& free) {
  const std::string bytes = format_bytes(free.bytes);
  if (free.limit.empty()) return fmt::format(", {} free", bytes);
  return fmt::format(", {} free of the {} that {} allows", bytes, format_bytes(free.limit_bytes),
                     free.limit);
}

/// What a library is, or why it cannot be used.
std::string said(std::string (*describe)()) {
  try {
    return describe();
  } catch (const Error& error) {
    return error.what();
  }
}

}  // namespace

std::string diagnose(const Gpus& gpus) {
  const std::string missing = missing_cpu_features();
  const int64_t pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  std::string text;
  const auto row = [&](const char* name, const std::string& value) {
    text += fmt::format("{:<10} {}\n", name, value);
  };
  row("tessera", kVersion);
  row("cpu", cpu_name());
  row("simd", missing.empty() ? simd_level() : "not usable: lacks " + missing);
  row("cores", fmt::format("{} usable, {} online{}", thread_count(std::nullopt),
                           sysconf(_SC_NPROCESSORS_ONLN), describe_quota()));
  row("memory", format_bytes(pages * page) + describe_free(node_memory("/")));
  if (const auto process = process_memory("/")) row("", "a process" + describe_free(*process));
  if (gpus.usable.empty()) {
    row("gpu", "none: " + gpus.why_none);  // which names those left out
  } else {
    for (const cuda::GpuInfo& gpu : gpus.usable) row("gpu", describe_gpu(gpu));
    for (const std::string& gpu : gpus.left_out) row("", "not used: " + gpu);
  }
  row("ranks", "as many as mpirun or srun starts, by " + parallel::describe_mpi());
  row("parquet", describe_parquet());
  if constexpr (kHasCuda) {
    row("cuda", said(cuda::describe_runtime));
    // Where its lack keeps GPUs from being used, their row has said so.
    const std::string products = said(cuda::describe_cublas);
    if (gpus.why_none.find(products) == std::string::npos) row("", products);
    row("", said(parallel::describe_nccl));
  }
  row("libraries", library_versions());
  row("verdict", missing.empty() ? "this machine can run Tessera"
                                 : "this machine cannot run Tessera: it needs AVX2 and FMA");
  return text;
}

void declare_doctor(CLI::App* command, int& exit_code) {
  auto profile = std::make_shared<bool>(false);
  command->add_flag("--profile", *profile,
                    "Measure it instead, as JSON for `tessera plan --profile FILE`");
  command->callback([profile, &exit_code] {
    if (*profile) {
      require_cpu();
      return write_stdout(profile_json(measure_profile(thread_count(std::nullopt))));
    }
    write_stdout(diagnose(find_gpus()));
    exit_code = missing_cpu_features().empty() ? 0 : 1;
  });
}

}  // namespace tessera::launch
