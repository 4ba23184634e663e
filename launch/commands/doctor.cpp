#include "launch/commands/doctor.h"

#include <fmt/format.h>
#include <gnu/libc-version.h>
#include <hwy/targets.h>
#include <unistd.h>
#include <utf8proc.h>
#include <xxhash.h>

#include <CLI/Version.hpp>
#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "launch/commands/arguments.h"
#include "launch/commands/command_line.h"
#include "launch/console/progress.h"
#include "launch/console/version.h"
#include "launch/data/files/parquet_rows.h"
#include "launch/hub/http.h"
#include "launch/machine/processors.h"
#include "launch/machine/rank_test.h"
#include "launch/machine/storage.h"
#include "launch/machine/surroundings.h"
#include "launch/machine/system_limits.h"
#include "launch/plan/device_profile.h"
#include "launch/run/loaded_model.h"
#include "parallel/load_mpi.h"
#include "parallel/nccl_communicator.h"
#include "runtime/core/cuda_runtime.h"
#include "runtime/core/error.h"
#include "runtime/core/has_cuda.h"
#include "runtime/io/json.h"
#include "runtime/io/printable.h"

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

using Grade = Finding::Grade;

/// What a library is; else why it cannot be used, and what brings it.
Finding look_for(const char* name, std::string (*describe)(), const std::string& cure) {
  try {
    return {name, describe()};
  } catch (const Error& error) {
    return {name, error.what(), Grade::kLacking, cure};
  }
}

Finding find_mpi() {
  Finding mpi{"ranks", "as many as mpirun or srun starts, by " + parallel::describe_mpi()};
  if (mpi.text.find("MPI cannot be loaded") == std::string::npos) return mpi;
  mpi.grade = Grade::kLacking;
  // The loader names the file that it does not find.
  mpi.cure = mpi.text.find("tessera_mpi.so: cannot open") == std::string::npos
                 ? "apt-get install openmpi-bin"
                 : "put the folder lib/tessera of the build beside the program";
  return mpi;
}

Finding find_parquet() {
  Finding parquet{"parquet", describe_parquet()};
  if (!parquet.text.starts_with("not read")) return parquet;
  parquet.grade = Grade::kLacking;
  parquet.cure =
      "python3 -m venv build/pyarrow && build/pyarrow/bin/pip install pyarrow && "
      "VIRTUAL_ENV=$PWD/build/pyarrow cmake --preset release && "
      "cmake --build build --target tessera";
  return parquet;
}

Finding find_hub() {
  const auto open = [] {
    const HubSettings settings;
    const Http http(settings);
    return std::string("models and data sets are fetched by libcurl");
  };
  return look_for("hub", open, "apt-get install libcurl4");
}

/// The libraries of a build with CUDA; nothing without.
std::vector<Finding> find_cuda(const Gpus& gpus) {
  std::vector<Finding> findings;
  if constexpr (kHasCuda) {
    findings.push_back(look_for("cuda", cuda::describe_runtime, "install NVIDIA's driver"));
    const bool twelve = findings.back().text.starts_with("CUDA 12");
    Finding products =
        look_for("", cuda::describe_cublas,
                 twelve ? "pip install nvidia-cublas-cu12" : "pip install nvidia-cublas");
    // Where its lack keeps GPUs from being used, their row has said why.
    const bool said = gpus.why_none.find(products.text) != std::string::npos;
    if (said) products.text = "no cuBLASLt";
    findings.push_back(products);
    findings.push_back(
        look_for("", parallel::describe_nccl,
                 twelve ? "pip install nvidia-nccl-cu12" : "pip install nvidia-nccl-cu13"));
  }
  return findings;
}

std::vector<Finding> find_gpu_rows(const Gpus& gpus) {
  std::vector<Finding> rows;
  if (gpus.usable.empty()) {
    rows.push_back({"gpu", "none: " + gpus.why_none});  // which names those left out
    return rows;
  }
  for (const cuda::GpuInfo& gpu : gpus.usable) rows.push_back({"gpu", describe_gpu(gpu)});
  for (const std::string& gpu : gpus.left_out) rows.push_back({"", "not used: " + gpu});
  return rows;
}

const char* state_of(Grade grade) {
  switch (grade) {
    case Grade::kFine:
      return "ok";
    case Grade::kLacking:
      return "lacking";
    case Grade::kBroken:
      return "broken";
  }
  return "";
}

constexpr auto kVariable = [](const char* name) -> const char* { return std::getenv(name); };

struct DoctorOptions {
  bool profile = false;
  bool json = false;
  bool report = false;
  bool rank_of_test = false;
  std::optional<std::string> output_dir = {};
};

constexpr int64_t kWritten = int64_t{256} << 20;
constexpr double kMostSeconds = 30;  // for two ranks; they take about one

std::vector<Finding> examine(const DoctorOptions& options) {
  std::vector<Finding> findings = find_here(find_gpus());
  const auto add = [&](const std::vector<Finding>& more) {
    findings.insert(findings.end(), more.begin(), more.end());
  };
  add({describe_system("/", kVariable)});
  add(check_storage(options.output_dir.value_or("."), kWritten, options.output_dir.has_value()));
  add({check_shared_memory("/dev/shm")});
  add(check_limits());
  add({check_locale(kVariable)});
  add({test_two_ranks(kMostSeconds)});
  return findings;
}

/// The last row.
Finding verdict_of(const std::vector<Finding>& findings) {
  if (!missing_cpu_features().empty()) {
    return {"verdict", "this machine cannot run Tessera: it needs AVX2 and FMA"};
  }
  return {"verdict",
          can_train(findings) ? "this machine can run Tessera" : "training cannot run: see above"};
}

int run_doctor(const DoctorOptions& options) {
  if (options.rank_of_test) return run_rank_of_test();
  if (options.profile) {
    require_cpu();
    write_stdout(profile_json(measure_profile(thread_count(std::nullopt))));
    return 0;
  }
  const std::vector<Finding> findings = examine(options);
  if (options.json) {
    write_stdout(to_json(findings) + "\n");
  } else if (options.report) {
    write_stdout(to_report(findings));
  } else {
    write_stdout(to_text(findings) + to_text({verdict_of(findings)}));
  }
  return can_train(findings) ? 0 : 1;
}

}  // namespace

std::vector<Finding> find_here(const Gpus& gpus) {
  const std::string missing = missing_cpu_features();
  const int64_t pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  std::vector<Finding> findings;
  const auto row = [&](const char* name, const std::string& value) {
    findings.push_back({name, value});
  };
  row("tessera", fmt::format("{}, {}g++ {}", kVersion, kHasCuda ? "with CUDA, " : "", __VERSION__));
  row("cpu", cpu_name());
  if (missing.empty()) {
    row("simd", simd_level());
  } else {
    findings.push_back({"simd", "not usable: lacks " + missing, Grade::kBroken,
                        "use a machine whose processor has AVX2 and FMA"});
  }
  row("cores", fmt::format("{} usable, {} online{}", thread_count(std::nullopt),
                           sysconf(_SC_NPROCESSORS_ONLN), describe_quota()));
  row("memory", format_bytes(pages * page) + describe_free(node_memory("/")));
  if (const auto process = process_memory("/")) row("", "a process" + describe_free(*process));
  for (const Finding& gpu : find_gpu_rows(gpus)) findings.push_back(gpu);
  findings.push_back(find_mpi());
  findings.push_back(find_parquet());
  findings.push_back(find_hub());
  for (const Finding& library : find_cuda(gpus)) findings.push_back(library);
  row("libraries", library_versions());
  return findings;
}

std::string diagnose(const Gpus& gpus) { return to_text(find_here(gpus)); }

bool can_train(const std::vector<Finding>& findings) {
  return std::ranges::count(findings, Grade::kBroken, &Finding::grade) == 0;
}

std::string to_text(const std::vector<Finding>& findings) {
  std::string text;
  for (const Finding& finding : findings) {
    text += fmt::format("{:<10} {}\n", finding.name, finding.text);
    if (!finding.cure.empty()) text += fmt::format("{:<10} -> {}\n", "", finding.cure);
  }
  return text;
}

std::string to_json(const std::vector<Finding>& findings) {
  using nlohmann::ordered_json;
  ordered_json checks = ordered_json::array();
  std::string name;
  for (const Finding& finding : findings) {
    if (!finding.name.empty()) name = finding.name;
    ordered_json check = {
        {"name", name}, {"text", finding.text}, {"state", state_of(finding.grade)}};
    if (!finding.cure.empty()) check["cure"] = finding.cure;
    checks.push_back(std::move(check));
  }
  const ordered_json all = {
      {"version", kVersion}, {"can_train", can_train(findings)}, {"checks", checks}};
  return io::json_text(all, 2);
}

std::string to_report(const std::vector<Finding>& findings) {
  const std::vector<PrivateName> names = private_names();
  std::string text = "```\n";
  for (const Finding& finding : findings) {
    text += fmt::format("{:<10} {}\n", finding.name, without_names(finding.text, names));
  }
  for (const std::string_view name : report_variables()) {
    const char* value = std::getenv(std::string(name).c_str());
    if (value) text += fmt::format("{:<10} {}={}\n", "variable", name, io::printable(value, 40));
  }
  return text + "```\n";
}

void declare_doctor(CLI::App* command, int& exit_code) {
  auto options = std::make_shared<DoctorOptions>();
  CLI::Option* folder = add_path(command, "--output_dir", options->output_dir,
                                 "Folder in which runs would write; default: this one")
                            ->type_name("DIR");
  CLI::Option* report = command->add_flag(
      "--report", options->report, "A block for a bug report, without names, paths and secrets");
  CLI::Option* json =
      command->add_flag("--json", options->json, "The same as JSON")->excludes(report);
  command
      ->add_flag("--profile", options->profile,
                 "Measure how fast it is, as JSON for `tessera plan --profile FILE`")
      ->excludes(folder)
      ->excludes(report)
      ->excludes(json);
  command->add_flag(kRankOfTest, options->rank_of_test)->group("");
  command->footer(
      "\nA line that begins with -> says what brings the thing that the line above lacks. Writes "
      "256 MiB to\nthe disk of the folder, which are gone afterwards, and starts two ranks by "
      "mpirun. The exit code is 0\nwhere training can run, else 1.\n\n"
      "Example: tessera doctor --output_dir runs");
  command->callback([options, &exit_code] { exit_code = run_doctor(*options); });
}

}  // namespace tessera::launch
